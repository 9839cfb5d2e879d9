#include "control/config/address.hpp"

#include <arpa/inet.h>

#include <bit>
#include <charconv>

namespace espalier::config {

std::optional<IpPrefix> prefix_of(const AddressRange& r) {
  const uint128 span = r.high.host() ^ r.low.host();
  if ((span & (span + 1)) != 0 || (r.low.host() & span) != 0) return std::nullopt;
  const int host_bits =
      std::popcount(static_cast<uint64_t>(span >> 64)) + std::popcount(static_cast<uint64_t>(span));
  return IpPrefix{r.low, static_cast<uint8_t>(128 - host_bits)};
}

std::string to_text(const AddressRange& r) {
  const std::string_view sign = r.negate ? "!" : "";
  if (r.is_host()) return fmt::format("{}{}", sign, to_text(r.low));
  if (const auto prefix = prefix_of(r)) return fmt::format("{}{}", sign, to_text(*prefix));
  return fmt::format("{}{}-{}", sign, to_text(r.low), to_text(r.high));
}

std::string_view name_of(Family family) {
  return family == Family::kIpv4 ? "IPv4" : "IPv6";
}

bool parse_decimal(std::string_view text, uint32_t most, uint32_t& value) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size() && value <= most;
}

Result<IpAddress> parse_address(std::string_view text) {
  const std::string terminated(text);
  // A NUL inside would end the text early for inet_pton.
  if (terminated.find('\0') != std::string::npos) return fail("is not an IP address");
  Ipv4Address v4;
  if (inet_pton(AF_INET, terminated.c_str(), &v4) == 1) return v4;
  IpAddress v6;
  if (inet_pton(AF_INET6, terminated.c_str(), &v6) != 1) return fail("is not an IP address");
  if (v6.is_v4()) return fail("is an IPv4 address inside of IPv6: write {}", to_text(v6));
  return v6;
}

Result<IpPrefix> parse_interface_address(std::string_view text) {
  const size_t slash = text.find('/');
  uint32_t length = 0;
  if (slash == text.npos) return fail("needs a prefix length, as in \"192.0.2.1/24\"");
  const auto address = parse_address(text.substr(0, slash));
  if (!address || !parse_decimal(text.substr(slash + 1), address->is_v4() ? 32 : 128, length))
    return fail("is not an address with prefix length, as in \"192.0.2.1/24\"");
  return IpPrefix::of(*address, static_cast<uint8_t>(length));
}

Result<IpPrefix> parse_prefix(std::string_view text) {
  if (text.find('/') == text.npos) {
    const auto host = parse_address(text);
    if (!host) return fail("is not a prefix, as in \"192.0.2.0/24\"");
    return IpPrefix::host(*host);
  }
  const auto prefix = parse_interface_address(text);
  if (!prefix) return fail("is not a prefix, as in \"192.0.2.0/24\"");
  if (prefix->network() != prefix->address)
    return fail("has bits set beyond its length: {} is meant?", to_text(network_of(*prefix)));
  return prefix;
}

Result<AddressRange> parse_match(std::string_view text) {
  const bool negate = text.starts_with('!');
  if (negate) text.remove_prefix(1);
  const size_t dash = text.find('-');
  if (dash == text.npos) {
    AddressRange range = AddressRange::of(TRY(parse_prefix(text)));
    range.negate = negate;
    return range;
  }
  const auto low = parse_address(text.substr(0, dash)), high = parse_address(text.substr(dash + 1));
  if (!low || !high || low->family() != high->family())
    return fail("is not an address, prefix or range, as in \"192.0.2.10-192.0.2.20\"");
  if (*low > *high) return fail("is a range that ends before it begins");
  return AddressRange{*low, *high, negate};
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
