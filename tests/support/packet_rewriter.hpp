// Replaces values inside of a packet, at any depth, with every checksum adjusted and ESP sealed again.
//
// The golden player uses it to put the port that our gateway chose where a recorded answer names the port
// that Linux chose; the comparator's own tests use it to make packets that differ in one value only. A
// checksum that was right stays right, a wrong one stays wrong (RFC 1624). Lengths do not change.
#pragma once

#include <functional>

#include "tests/support/packet_decoder.hpp"

namespace espalier::test {

// Asked for every IP id, port and ICMP query id: the value to have instead, or nothing to keep it. `scope` is
// as in Field.
using Substitute = std::function<std::optional<uint16_t>(FieldKind kind, const Bytes& scope, uint16_t value)>;

// An Ethernet frame with an IPv4 or IPv6 packet; other frames come back as they are. ESP that no key opens is
// kept.
Bytes rewrite_frame(ByteView frame, const KeyRing& keys, const Substitute& substitute);

// Flips the bits of `mask` in the byte at `offset` of the innermost part (the IP packet, or the transport
// packet of transport mode, inside of all ESP, GRE and IP-in-IP layers), then makes its checksums right and
// seals the layers again. False if `offset` lies beyond it.
bool flip_innermost(Bytes& frame, const KeyRing& keys, size_t offset, uint8_t mask);

}  // namespace espalier::test
