// Addresses, prefixes and ranges of both families as the configuration writes them, and what is asked about
// them before they become records. The values themselves are the packet path's (control/shared/types.hpp);
// an address that was not given is the unspecified one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "control/shared/error.hpp"
#include "control/shared/text.hpp"
#include "control/shared/types.hpp"

namespace espalier::config {

// Whether it can be the address of one host.
inline bool is_unicast(const IpAddress& a) {
  return !a.is_unspecified() && !a.is_multicast() && !a.is_loopback() && !a.is_broadcast();
}

inline IpPrefix network_of(const IpPrefix& p) {
  return {p.network(), p.length};
}
inline bool contains(const IpPrefix& outer, const IpPrefix& inner) {
  return outer.family() == inner.family() && outer.length <= inner.length && outer.contains(inner.address);
}
// RFC 3021: a /31 has no broadcast address; nor has IPv6.
inline bool has_broadcast(const IpPrefix& p) {
  return p.is_v4() && p.written_length() < 31;
}
// Whether no host of the network can have `a`: it is the network's own or its broadcast address.
inline bool reserves(const IpPrefix& p, const IpAddress& a) {
  return has_broadcast(p) && (a == p.network() || a == p.last());
}
// For sorting: by address, then the shorter prefix.
inline auto order_of(const IpPrefix& p) {
  return std::pair(p.address, p.length);
}
struct PrefixLess {
  bool operator()(const IpPrefix& a, const IpPrefix& b) const { return order_of(a) < order_of(b); }
};

// Inclusive; both ends of one family. `negate` turns it inside out (VyOS's "!192.0.2.0/24").
struct AddressRange {
  IpAddress low;
  IpAddress high;
  bool negate = false;

  static AddressRange of(const IpPrefix& p) { return {p.network(), p.last()}; }
  static AddressRange any(Family family) { return of(IpPrefix::any(family)); }
  Family family() const { return low.family(); }
  bool is_host() const { return low == high; }
  friend bool operator==(const AddressRange&, const AddressRange&) = default;
};
// The range as a prefix of 128 bits' length; nothing if it is none.
std::optional<IpPrefix> prefix_of(const AddressRange& r);

using espalier::to_text;
std::string to_text(const AddressRange& r);  // "192.0.2.1", "!192.0.2.0/24", "192.0.2.1-192.0.2.9"
std::string_view name_of(Family family);     // "IPv4"

// Each says in its error what is expected, without repeating `text`. IPv4 addresses inside of IPv6
// (::ffff:192.0.2.1) are refused: they would silently become IPv4.
Result<IpAddress> parse_address(std::string_view text);
Result<IpPrefix> parse_interface_address(
    std::string_view text);                            // "192.0.2.1/24": host bits, length required
Result<IpPrefix> parse_prefix(std::string_view text);  // "192.0.2.0/24": no host bits; an address is a host
Result<AddressRange> parse_match(std::string_view text);  // a, a/len, a-b, each with an optional leading "!"
Result<PortRange> parse_ports(std::string_view text);     // "80", "1000-2000"
Result<MacAddress> parse_mac(std::string_view text);      // "02:00:00:00:00:01", unicast

// A decimal number without sign, blanks or leading zeros; false if it is none or above `most`.
bool parse_decimal(std::string_view text, uint32_t most, uint32_t& value);

}  // namespace espalier::config
