// Addresses, prefixes and ranges of both families, as the configuration writes them. The packet path has
// types of its own (control/shared/types.hpp), into which ipv4() converts.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "control/shared/error.hpp"
#include "control/shared/types.hpp"

namespace espalier::config {

enum class Family : uint8_t { kNone, kIpv4, kIpv6 };

struct IpAddress {
  Family family = Family::kNone;
  std::array<uint8_t, 16> bytes{};  // network order; IPv4 uses the first four

  unsigned bits() const { return family == Family::kIpv6 ? 128 : 32; }
  bool is_set() const { return family != Family::kNone; }
  bool is_ipv4() const { return family == Family::kIpv4; }
  bool is_unspecified() const { return bytes == std::array<uint8_t, 16>{}; }
  bool is_multicast() const { return is_ipv4() ? (bytes[0] >> 4) == 0xe : bytes[0] == 0xff; }
  bool is_loopback() const;
  bool is_broadcast() const { return is_ipv4() && ipv4().is_broadcast(); }
  // Whether it can be the address of one host.
  bool is_unicast() const {
    return is_set() && !is_unspecified() && !is_multicast() && !is_loopback() && !is_broadcast();
  }
  // Precondition: is_ipv4().
  Ipv4Address ipv4() const;
  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
};

// An address with its host bits and a length of 0 .. address.bits().
struct IpPrefix {
  IpAddress address;
  uint8_t length = 0;

  bool is_ipv4() const { return address.is_ipv4(); }
  bool is_host() const { return length == address.bits(); }
  bool has_host_bits() const { return network().address != address; }
  IpPrefix network() const;
  // The address with all host bits set.
  IpAddress last() const;
  // Whether no host of the network can have `a`: it is the network's own or its broadcast address. RFC 3021:
  // a /31 has neither; nor has IPv6.
  bool reserves(const IpAddress& a) const {
    return has_broadcast() && (a == network().address || a == last());
  }
  bool has_broadcast() const { return is_ipv4() && length < 31; }
  bool contains(const IpAddress& a) const;
  bool contains(const IpPrefix& p) const { return length <= p.length && contains(p.address); }
  bool overlaps(const IpPrefix& p) const { return contains(p.address) || p.contains(address); }
  Ipv4Prefix ipv4() const { return {address.ipv4(), length}; }
  friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
};

// An inclusive range of IPv4 addresses in host order; `negate` turns it inside out (VyOS's "!192.0.2.0/24").
struct Ipv4Range {
  uint32_t low = 0;
  uint32_t high = 0xffffffff;
  bool negate = false;
  bool is_any() const { return low == 0 && high == 0xffffffff && !negate; }
};

std::string to_string(const IpAddress& a);
std::string to_string(const IpPrefix& p);
std::string to_string(const Ipv4Range& r);
Ipv4Range range_of(const Ipv4Prefix& p);

// Each says in its error what is expected, without repeating `text`.
Result<IpAddress> parse_address(std::string_view text);
Result<IpPrefix> parse_interface_address(
    std::string_view text);                            // "192.0.2.1/24": host bits, length required
Result<IpPrefix> parse_prefix(std::string_view text);  // "192.0.2.0/24": no host bits; an address is a host
Result<Ipv4Range> parse_ipv4_match(
    std::string_view text);                            // a, a/len, a-b, each with an optional leading "!"
Result<PortRange> parse_ports(std::string_view text);  // "80", "1000-2000"
Result<MacAddress> parse_mac(std::string_view text);   // "02:00:00:00:00:01", unicast

// A decimal number without sign, blanks or leading zeros; false if it is none or above `most`.
bool parse_decimal(std::string_view text, uint32_t most, uint32_t& value);

}  // namespace espalier::config
