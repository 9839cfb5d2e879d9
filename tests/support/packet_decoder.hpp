// A packet as a list of named values, so that two packets are compared field by field and never as text.
//
// IPv4 and IPv6, both under "ip". The decoder opens ESP, bare or in UDP, with the given keys and goes on
// inside (tunnel or transport mode, nested), likewise inside of GRE and of IP in IP, and reads what an ICMP
// error quotes the same way. Field paths are stable names ("ip.esp.ip.udp.source_port"); deviation lists and
// messages use them. Checksums are judged, not shown, where all that they cover is there; the truncated
// packet in a quote shows the raw number. Malformed packets decode as far as they go: the remaining bytes
// become one field.
#pragma once

#include <variant>

#include "tests/support/esp_codec.hpp"

namespace espalier::test {

// What kind of value a field is, for those that a gateway may choose freely (packet-level randomness).
enum class FieldKind : uint8_t {
  kPlain,
  kIpId,        // scope: source, destination, protocol (RFC 6864 section 4.2: unique among these)
  kAtomicIpId,  // of a packet with DF that is no fragment: means nothing (RFC 6864 section 4.1)
  kFragmentId,  // IPv6; scope as of kIpId
  kFlowLabel,   // IPv6
  kPort,        // TCP and UDP; scope: both addresses and the other port, in either direction
  kIcmpId,      // of queries
  kSequence,    // of ESP; scope: SPI
  kNonce,       // ESP IV; scope: SPI. Must never come twice
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

// Whether the bytes that fragments carry are fields: not where they are compared after reassembly, because
// ciphertext differs by its IV. Fragments of ESP never show theirs.
enum class FragmentContent : uint8_t { kShown, kHidden };

// An Ethernet frame, with the bytes behind the IP packet as "ethernet.trailer".
Fields decode_frame(ByteView frame, const KeyRing& keys, FragmentContent content = FragmentContent::kShown);
// An IPv4 or IPv6 packet; paths start with "ip".
Fields decode_ip(ByteView packet, const KeyRing& keys);

// The number at `path`; throws std::out_of_range if there is no such field or it is not a number.
uint64_t number_at(const Fields& fields, std::string_view path);
const Field* find_field(const Fields& fields, std::string_view path);

// "12", "0xc0a80101" for addresses, hexadecimal for bytes.
std::string describe(const Field& field);
// One line for a test's message: protocols, addresses, ports, sizes.
std::string describe(const Fields& fields);

}  // namespace espalier::test
