// The gateway's host, as far as scenarios see it: UDP sockets that listen, and what its kernel answers where
// none does.
#pragma once

#include "tests/golden/scenario.hpp"

namespace espalier::test {

// The UDP datagram in an IPv4 or IPv6 packet; nothing for other packets and for fragments.
std::optional<Datagram> datagram_of(ByteView packet);

// What Linux answers to IPv4 packets for ports that nobody listens on: ICMP port unreachable (RFC 1812
// section 4.3.2.3: up to 576 bytes), with this identification, or a TCP reset; nothing for others and for
// IPv6.
std::optional<Bytes> refusal_of(ByteView packet, uint16_t ip_id);

}  // namespace espalier::test
