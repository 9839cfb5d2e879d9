// Internet checksums (RFC 1071) and their incremental update (RFC 1624).
//
// One's-complement sums do not depend on byte order, so everything here works on words as they lie in memory:
// a "raw" checksum is what a header's field holds, loaded without a swap. An update never repairs and never
// hides a checksum that was wrong before.
//
// Of an IPv4 address the sums here take all 16 bytes of its IpAddress: the constant ones among them, 0xffff,
// are zero in one's complement.
#pragma once

#include <cstring>
#include <span>

#include "control/shared/types.hpp"

namespace espalier::nat {

// Folds a sum of 16-bit words to 16 bits (one's-complement addition is associative, RFC 1071 section 2).
constexpr uint16_t fold(uint64_t sum) {
  sum = (sum & 0xffff'ffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

constexpr uint16_t sum_of(IpAddress address) {
  return fold(uint64_t{fold(address.high.raw())} + fold(address.low.raw()));
}

// What changing some words adds to a sum over them; two bytes, made once per flow, applied to every packet.
class ChecksumDelta {
 public:
  constexpr ChecksumDelta() = default;

  constexpr ChecksumDelta& change(uint16_t from_raw, uint16_t to_raw) {
    sum_ = fold(uint64_t{sum_} + static_cast<uint16_t>(~from_raw) + to_raw);
    return *this;
  }
  constexpr ChecksumDelta& change(be16 from, be16 to) { return change(from.raw(), to.raw()); }
  constexpr ChecksumDelta& change(be32 from, be32 to) {
    change(static_cast<uint16_t>(from.raw()), static_cast<uint16_t>(to.raw()));
    return change(static_cast<uint16_t>(from.raw() >> 16), static_cast<uint16_t>(to.raw() >> 16));
  }
  constexpr ChecksumDelta& change(IpAddress from, IpAddress to) { return change(sum_of(from), sum_of(to)); }

  // The checksum after the change: HC' = ~(~HC + ~m + m'), RFC 1624 equation 3.
  constexpr uint16_t apply(uint16_t checksum_raw) const {
    return static_cast<uint16_t>(~fold(uint64_t{static_cast<uint16_t>(~checksum_raw)} + sum_));
  }
  // For UDP, where 0 means "none" and stays, also in IPv6 where a host will refuse it (RFC 8200 section 8.1);
  // a computed 0 is written as 0xffff (RFC 768).
  constexpr uint16_t apply_udp(uint16_t checksum_raw) const {
    if (checksum_raw == 0) return 0;
    const uint16_t updated = apply(checksum_raw);
    return updated == 0 ? 0xffff : updated;
  }

 private:
  uint16_t sum_ = 0;
};
static_assert(sizeof(ChecksumDelta) == 2);

// The unfolded sum over `bytes`, an odd last byte padded with zero; at most 64 KB, so it cannot overflow.
inline uint64_t sum_of(std::span<const uint8_t> bytes) {
  uint64_t sum = 0;
  size_t i = 0;
  for (; i + 4 <= bytes.size(); i += 4) {
    uint32_t word;
    std::memcpy(&word, &bytes[i], sizeof word);
    sum += word;
  }
  uint32_t rest = 0;
  if (i < bytes.size()) std::memcpy(&rest, &bytes[i], bytes.size() - i);
  return sum + rest;
}

// The checksum of `bytes`, raw; its own field must be zero in them. An IPv4 header, or an ICMP message (not
// ICMPv6).
inline uint16_t checksum(std::span<const uint8_t> bytes) {
  return static_cast<uint16_t>(~fold(sum_of(bytes)));
}

// The sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1); `l4_bytes` at most 65535. ICMP
// has none, ICMPv6 has (RFC 4443 section 2.3).
inline uint64_t pseudo_header_sum(IpAddress source, IpAddress destination, uint8_t protocol,
                                  size_t l4_bytes) {
  if (protocol == kProtoIcmp) return 0;
  return uint64_t{sum_of(source)} + sum_of(destination) + be16::from_host(protocol).raw() +
         be16::from_host(static_cast<uint16_t>(l4_bytes)).raw();
}

// The checksum of a whole TCP, UDP, ICMP or ICMPv6 message, raw; its own field must be zero in `l4`. Both
// addresses are of one family. Never 0 for UDP, which would mean "none".
inline uint16_t l4_checksum(IpAddress source, IpAddress destination, uint8_t protocol,
                            std::span<const uint8_t> l4) {
  const auto sum = pseudo_header_sum(source, destination, protocol, l4.size()) + sum_of(l4);
  const auto result = static_cast<uint16_t>(~fold(sum));
  return protocol == kProtoUdp && result == 0 ? 0xffff : result;
}

// Whether the checksum inside a whole TCP, UDP, ICMP or ICMPv6 message is right. A UDP checksum of 0 is wrong
// here: that it means "none" in IPv4, and nothing good in IPv6 (RFC 8200 section 8.1), is the caller's to
// know.
inline bool l4_checksum_is_right(IpAddress source, IpAddress destination, uint8_t protocol,
                                 std::span<const uint8_t> l4) {
  return fold(pseudo_header_sum(source, destination, protocol, l4.size()) + sum_of(l4)) == 0xffff;
}

}  // namespace espalier::nat
