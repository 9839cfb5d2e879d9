// The addresses that IPv6 makes of others: link-local addresses of MAC addresses, solicited-node groups of
// addresses, and the MAC addresses that groups of both families are sent to.
#pragma once

#include "control/shared/types.hpp"

namespace espalier::dataplane {

// Network order, as people read it: ff02::1 is ipv6(0xff02'0000'0000'0000, 1).
constexpr IpAddress ipv6(uint64_t high, uint64_t low) {
  return {be64::from_host(high), be64::from_host(low)};
}

inline constexpr uint64_t kLinkLocalHigh = 0xfe80'0000'0000'0000, kLinkGroupHigh = 0xff02'0000'0000'0000;
inline constexpr IpAddress kAllNodes = ipv6(kLinkGroupHigh, 1);       // RFC 4291 section 2.7.1
inline constexpr IpAddress kAllRouters = ipv6(kLinkGroupHigh, 2);     // the same
inline constexpr IpAddress kMldRouters = ipv6(kLinkGroupHigh, 0x16);  // RFC 3810 section 5.2.14
inline constexpr uint8_t kLinkLocalLength = 64;

// fe80::/64 with the modified EUI-64 of `mac` (RFC 4291 appendix A).
constexpr IpAddress eui64_link_local(const MacAddress& mac) {
  uint64_t id = 0;
  for (size_t i = 0; i < mac.size(); ++i) {
    id = id << 8 | mac[i];
    if (i == 2) id = id << 16 | 0xfffe;
  }
  return ipv6(kLinkLocalHigh, id ^ 0x0200'0000'0000'0000);
}

// The group that neighbours ask for `address` in (RFC 4291 section 2.7.1).
constexpr IpAddress solicited_node(IpAddress address) {
  return ipv6(kLinkGroupHigh, 0x1'ff00'0000 | (address.low.host() & 0xff'ffff));
}

// Where frames for a group go (RFC 1112 section 6.4, RFC 2464 section 7).
constexpr MacAddress multicast_mac(IpAddress group) {
  const auto low = static_cast<uint32_t>(group.low.host());
  const auto byte = [&](unsigned shift) { return static_cast<uint8_t>(low >> shift); };
  if (group.is_v4()) return {0x01, 0x00, 0x5e, static_cast<uint8_t>(byte(16) & 0x7f), byte(8), byte(0)};
  return {0x33, 0x33, byte(24), byte(16), byte(8), byte(0)};
}

}  // namespace espalier::dataplane
