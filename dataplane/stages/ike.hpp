// IKE for the gateway (RFC 7296), as the stages that meet it see it: what comes to the gateway's ports 500
// and 4500 is for the IKE process where one is configured (SettingsRecord::ike), and for nobody else.
//
// As IKE daemons on Linux put a bypass policy on their sockets (IP_XFRM_POLICY), policies are not asked about
// it: a policy that protects everything between two gateways would leave them no way to negotiate its SAs.
#pragma once

#include "dataplane/context.hpp"

namespace espalier::dataplane {

inline constexpr uint16_t kIkePort = 500;
inline constexpr uint16_t kIkeNatPort = 4500;  // RFC 3948: behind a non-ESP marker, beside ESP in UDP
inline constexpr uint32_t kNonEspMarkerBytes = 4;

// Whether a packet that is routed as `to` is for the gateway's IKE process: UDP to one of the two ports of an
// own address, whole, and no ESP in UDP. Keepalives and what is no IKE after all count as well.
bool is_ike(const Context& ctx, rte_mbuf* mbuf, const Tuple& to);

// The IKE message in a packet that is_ike() was true of, without UDP header and marker; empty where there is
// none: shorter than an IKE header, no marker on port 4500, from port 0, a length or checksum of UDP that is
// wrong.
std::span<const uint8_t> ike_message(rte_mbuf* mbuf);

}  // namespace espalier::dataplane
