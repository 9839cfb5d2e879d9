// The gateway's host, as far as scenarios see it: UDP sockets that listen, and what its kernel answers where
// none does.
#pragma once

#include "tests/golden/scenario.hpp"

namespace espalier::test {

// The UDP datagram in an IPv4 or IPv6 packet; nothing for other packets and for fragments.
std::optional<Datagram> datagram_of(ByteView packet);

// ICMP port unreachable about an IPv4 packet, as Linux sends it (RFC 1812 section 4.3.2.3: up to 576 bytes);
// nothing for IPv6.
std::optional<Bytes> port_unreachable(ByteView packet);

}  // namespace espalier::test
