// NAT detection (RFC 7296 section 2.23): each side sends hashes of the addresses and ports as it sees them;
// what does not match what the other sees was changed on the way. And what follows from it for ports and ESP.
//
//   NAT_DETECTION_SOURCE_IP       SHA-1(SPIi | SPIr | sender's address | port)      one or several
//   NAT_DETECTION_DESTINATION_IP  SHA-1(SPIi | SPIr | receiver's address | port)    one
//
// Pure functions but for the random bytes of forced encapsulation; errors are OpenSSL's. Any thread.
#pragma once

#include <chrono>

#include "control/shared/error.hpp"
#include "ike/core.hpp"

namespace espalier::ike {

using NatHash = std::array<uint8_t, 20>;

// SPIs as in the header of the message that carries the hash: the responder's is 0 in the first request.
Result<NatHash> nat_hash(uint64_t initiator_spi, uint64_t responder_spi, const Endpoint& endpoint);
// The two notifications of a message from `local` to `remote`. `force_encapsulation`: the source hash is
// random, so that the peer finds us behind a NAT and encapsulates ESP in UDP.
Result<std::vector<Notify>> nat_notifies(uint64_t initiator_spi, uint64_t responder_spi,
                                         const Endpoint& local, const Endpoint& remote,
                                         bool force_encapsulation);

struct NatFindings {
  bool supported = false;  // the peer sent both kinds; else the others say nothing
  bool local = false;      // we are behind a NAT
  bool remote = false;     // the peer is
  friend bool operator==(const NatFindings&, const NatFindings&) = default;
};
// Of an IKE_SA_INIT message that came from `remote` to `local`: the hashes with the SPIs of its own header.
Result<NatFindings> detect_nat(const Message& message, const Endpoint& local, const Endpoint& remote);

inline constexpr uint16_t kIkePort = 500, kNatPort = 4500;
// RFC 3948 sections 2.3 and 4: the whole datagram, and when it is due where nothing else was sent.
inline constexpr uint8_t kNatKeepalive = 0xff;
inline constexpr std::chrono::seconds kKeepaliveInterval{20};

// What an IKE SA does because of it.
struct NatPlan {
  bool float_port = false;   // the initiator goes on from and to port 4500, the responder expects it
  bool encapsulate = false;  // ESP in UDP (RFC 3948)
  bool keepalive = false;    // we have to keep a mapping, or a firewall's state, alive
  bool follow_peer =
      false;  // authentic messages and ESP from elsewhere move the peer's address and port; never
              // behind a NAT ourselves (section 2.23: it would open us to a denial of service)
  friend bool operator==(const NatPlan&, const NatPlan&) = default;
};
// `forced` without the peer's support cannot be done and plans nothing: the caller has to refuse or report
// it.
NatPlan plan_nat(const NatFindings& findings, bool forced);
// Where the initiator sends IKE_AUTH: 500 becomes 4500 where the plan floats; a port that already is another
// stays.
Endpoint floated(Endpoint endpoint, const NatPlan& plan);

}  // namespace espalier::ike
