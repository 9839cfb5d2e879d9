// The gateway's host, as far as scenarios see it: UDP sockets that listen, and what its kernel answers where
// none does.
#pragma once

#include "tests/golden/scenario.hpp"

namespace espalier::test {

// The UDP datagram in an IPv4 or IPv6 packet; nothing for other packets and for fragments.
std::optional<Datagram> datagram_of(ByteView packet);

// What Linux answers to packets for ports that nobody listens on: to UDP ICMP port unreachable, of up to 576
// bytes (RFC 1812 section 4.3.2.3), of IPv6 up to 1280; to TCP over IPv4 a reset. Nothing for others. `ip_id`
// is the answer's, if it is ICMP.
std::optional<Bytes> refusal_of(ByteView packet, uint16_t ip_id);

}  // namespace espalier::test
