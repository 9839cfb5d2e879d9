// A packet as a list of named values, so that two packets are compared field by field and never as text.
//
// The decoder opens ESP with the given keys and goes on inside, and reads what an ICMP error quotes the same
// way. Field paths are stable names ("ip.esp.ip.udp.source_port"); deviation lists and messages use them.
// Checksums are judged, not shown, where all that they cover is there; the truncated packet in a quote shows
// the raw number. Malformed packets decode as far as they go: the remaining bytes become one field.
#pragma once

#include <variant>

#include "tests/support/esp_codec.hpp"

namespace espalier::test {

// What kind of value a field is, for those that a gateway may choose freely (packet-level randomness).
enum class FieldKind : uint8_t {
  kPlain,
  kIpId,    // scope: source, destination, protocol (RFC 6864 section 4.2: unique among these)
  kPort,    // TCP and UDP
  kIcmpId,  // of queries
  kNonce,   // ESP IV; scope: SPI. Must never come twice
};

enum class Checksum : uint8_t { kWrong = 0, kRight = 1, kNone = 2 };  // kNone: a UDP checksum of zero

using FieldValue = std::variant<uint64_t, Bytes>;

struct Field {
  std::string path;
  FieldValue value;
  FieldKind kind = FieldKind::kPlain;
  Bytes scope = {};
};
using Fields = std::vector<Field>;

// An Ethernet frame, with the bytes behind the IP packet as "ethernet.trailer".
Fields decode_frame(ByteView frame, const KeyRing& keys);
// An IPv4 packet; paths start with "ip".
Fields decode_ip(ByteView packet, const KeyRing& keys);

// The number at `path`; throws std::out_of_range if there is no such field or it is not a number.
uint64_t number_at(const Fields& fields, std::string_view path);
const Field* find_field(const Fields& fields, std::string_view path);

// "12", "0xc0a80101" for addresses, hexadecimal for bytes.
std::string describe(const Field& field);
// One line for a test's message: protocols, addresses, ports, sizes.
std::string describe(const Fields& fields);

}  // namespace espalier::test
