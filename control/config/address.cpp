#include "control/config/address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "control/shared/text.hpp"

namespace espalier::config {

bool IpAddress::is_loopback() const {
  if (is_ipv4()) return bytes[0] == 127;
  return std::all_of(bytes.begin(), bytes.end() - 1, [](uint8_t b) { return b == 0; }) && bytes[15] == 1;
}

Ipv4Address IpAddress::ipv4() const {
  uint32_t raw = 0;
  std::memcpy(&raw, bytes.data(), sizeof raw);
  return {be32::from_raw(raw)};
}

IpPrefix IpPrefix::network() const {
  IpPrefix result = *this;
  for (unsigned bit = length; bit < address.bits(); ++bit)
    result.address.bytes[bit / 8] &= static_cast<uint8_t>(~(0x80u >> (bit % 8)));
  return result;
}

IpAddress IpPrefix::last() const {
  IpAddress result = address;
  for (unsigned bit = length; bit < address.bits(); ++bit)
    result.bytes[bit / 8] |= static_cast<uint8_t>(0x80u >> (bit % 8));
  return result;
}

bool IpPrefix::contains(const IpAddress& a) const {
  if (a.family != address.family) return false;
  for (unsigned bit = 0; bit < length; bit += 8) {
    const unsigned taken = std::min(8u, length - bit);
    const unsigned mask = 0xff00u >> taken;
    if (((a.bytes[bit / 8] ^ address.bytes[bit / 8]) & mask & 0xff) != 0) return false;
  }
  return true;
}

std::string to_string(const IpAddress& a) {
  char text[INET6_ADDRSTRLEN] = "none";
  if (a.is_set()) inet_ntop(a.is_ipv4() ? AF_INET : AF_INET6, a.bytes.data(), text, sizeof text);
  return text;
}

std::string to_string(const IpPrefix& p) {
  return fmt::format("{}/{}", to_string(p.address), p.length);
}

std::string to_string(const Ipv4Range& r) {
  const char* sign = r.negate ? "!" : "";
  const std::string low = to_text(Ipv4Address::from_host(r.low));
  if (r.low == r.high) return sign + low;
  const uint32_t span = r.high - r.low;
  if ((span & (span + 1)) == 0 && (r.low & span) == 0)
    return fmt::format("{}{}/{}", sign, low, 32 - std::popcount(span));
  return fmt::format("{}{}-{}", sign, low, to_text(Ipv4Address::from_host(r.high)));
}

Ipv4Range range_of(const Ipv4Prefix& p) {
  return {p.network().host(), p.broadcast().host(), false};
}

bool parse_decimal(std::string_view text, uint32_t most, uint32_t& value) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size() && value <= most;
}

Result<IpAddress> parse_address(std::string_view text) {
  const std::string terminated(text);
  IpAddress a;
  // A NUL inside would end the text early for inet_pton.
  if (terminated.find('\0') == std::string::npos) {
    if (inet_pton(AF_INET, terminated.c_str(), a.bytes.data()) == 1)
      a.family = Family::kIpv4;
    else if (inet_pton(AF_INET6, terminated.c_str(), a.bytes.data()) == 1)
      a.family = Family::kIpv6;
  }
  if (!a.is_set()) return fail("is not an IP address");
  return a;
}

Result<IpPrefix> parse_interface_address(std::string_view text) {
  const size_t slash = text.find('/');
  uint32_t length = 0;
  if (slash == text.npos) return fail("needs a prefix length, as in \"192.0.2.1/24\"");
  const auto address = parse_address(text.substr(0, slash));
  if (!address || !parse_decimal(text.substr(slash + 1), address->bits(), length))
    return fail("is not an address with prefix length, as in \"192.0.2.1/24\"");
  return IpPrefix{*address, static_cast<uint8_t>(length)};
}

Result<IpPrefix> parse_prefix(std::string_view text) {
  if (text.find('/') == text.npos) {
    const auto host = parse_address(text);
    if (!host) return fail("is not a prefix, as in \"192.0.2.0/24\"");
    return IpPrefix{*host, static_cast<uint8_t>(host->bits())};
  }
  const auto prefix = parse_interface_address(text);
  if (!prefix) return fail("is not a prefix, as in \"192.0.2.0/24\"");
  if (prefix->has_host_bits())
    return fail("has bits set beyond its length: {} is meant?", to_string(prefix->network()));
  return prefix;
}

Result<Ipv4Range> parse_ipv4_match(std::string_view text) {
  Ipv4Range result;
  result.negate = text.starts_with('!');
  if (result.negate) text.remove_prefix(1);
  const size_t dash = text.find('-');
  if (dash == text.npos) {
    const IpPrefix prefix = TRY(parse_prefix(text));
    if (!prefix.is_ipv4()) return fail("is IPv6; NAT rules are for IPv4");
    const Ipv4Range range = range_of(prefix.ipv4());
    result.low = range.low, result.high = range.high;
    return result;
  }
  const auto low = parse_address(text.substr(0, dash)), high = parse_address(text.substr(dash + 1));
  if (!low || !high || !low->is_ipv4() || !high->is_ipv4())
    return fail("is not an IPv4 address, prefix or range, as in \"192.0.2.10-192.0.2.20\"");
  result.low = low->ipv4().host(), result.high = high->ipv4().host();
  if (result.low > result.high) return fail("is a range that ends before it begins");
  return result;
}

Result<PortRange> parse_ports(std::string_view text) {
  const size_t dash = text.find('-');
  uint32_t low = 0, high = 0;
  const bool good = parse_decimal(text.substr(0, dash), 65535, low) &&
                    (dash == text.npos || parse_decimal(text.substr(dash + 1), 65535, high));
  if (!good || low == 0) return fail("is not a port (1 to 65535) or a range, as in \"1000-2000\"");
  if (dash == text.npos) high = low;
  if (low > high) return fail("is a range that ends before it begins");
  return PortRange{static_cast<uint16_t>(low), static_cast<uint16_t>(high)};
}

Result<MacAddress> parse_mac(std::string_view text) {
  constexpr size_t kTextBytes = 17;
  MacAddress mac{};
  bool good = text.size() == kTextBytes;
  for (size_t i = 0; good && i < mac.size(); ++i) {
    const char* digits = text.data() + 3 * i;
    const auto [end, failure] = std::from_chars(digits, digits + 2, mac[i], 16);
    good = failure == std::errc() && end == digits + 2 && (i == 5 || digits[2] == ':');
  }
  if (!good) return fail("is not a MAC address, as in \"02:00:00:00:00:01\"");
  if ((mac[0] & 1) != 0 || mac == MacAddress{}) return fail("is not a unicast MAC address");
  return mac;
}

}  // namespace espalier::config
