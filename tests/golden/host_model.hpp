// The gateway's host, as far as scenarios see it: UDP sockets that listen, and what its kernel answers where
// none does.
#pragma once

#include "tests/golden/scenario.hpp"

namespace espalier::test {

// The UDP datagram in an IPv4 or IPv6 packet; nothing for other packets and for fragments.
std::optional<Datagram> datagram_of(ByteView packet);

// ICMP port unreachable about a packet, as Linux sends it: up to 576 bytes (RFC 1812 section 4.3.2.3), of
// IPv6 up to 1280; nothing for what is no packet. `ip_id` is the answer's, if it is of IPv4.
std::optional<Bytes> port_unreachable(ByteView packet, uint16_t ip_id);

}  // namespace espalier::test
