// How much a packet may measure on its way out: what the interface bears, or what a tunnel leaves of that.
#pragma once

#include "dataplane/decision.hpp"

namespace espalier::dataplane {

// A way out as the first-packet stages and flow entries know it.
struct WayOut {
  InterfaceIndex out = kNoInterface;
  PolicyIndex policy = kNoPolicy;      // that protects the packet; kNoPolicy: none
  PolicyIndex gre_policy = kNoPolicy;  // `out` is a gre interface: that protects the GRE packet
  InterfaceIndex gre_out = kNoInterface;
};

WayOut way_of(const Decision& d);

// The interface that source NAT takes the packet for leaving by: where a policy protects it, the outermost
// tunnel's own one, which the inner route need not lead to (Linux: the device of the XFRM bundle).
InterfaceIndex interface_for_nat(const Context& ctx, const Decision& d);

// Whether the policy protects at all, or lets pass in clear.
bool protects(const Context& ctx, PolicyIndex policy);

// The SA of the policy's first template from `at` on that has one; `at` becomes its place. kNoSa: `at` is
// behind the last template, or stands where an SA is required and missing.
SaIndex next_sa(const Context& ctx, const PolicyRecord& policy, uint8_t& at);

// The largest packet whose ESP packets, the outermost at last, fit: `out_mtu_bytes` is that of the way of a
// packet in transport mode; in tunnel mode the SA has one of its own. 0: an SA is missing. Worker, main
// lcore.
uint32_t protected_mtu(const Context& ctx, const PolicyRecord& policy, Family family, uint32_t out_mtu_bytes);

// The largest packet of `family` that may leave by the way unfragmented; 0: an SA of `policy` is missing.
uint32_t mtu_of(const Context& ctx, const WayOut& way, Family family);

}  // namespace espalier::dataplane
