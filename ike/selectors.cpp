#include "ike/selectors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <optional>

#include "control/shared/text.hpp"

namespace espalier::ike {
namespace {

// --- Comparing ---

// RFC 4301 section 4.4.1.1: ports that cannot be seen. Being backwards, they overlap the range of all ports
// and no other, not even themselves.
constexpr PortRange kOpaque{0xffff, 0};

std::optional<PortRange> common(PortRange a, PortRange b) {
  if (a == b) return a;
  if (!a.overlaps(b)) return std::nullopt;
  return PortRange{std::max(a.low, b.low), std::min(a.high, b.high)};
}

std::optional<TrafficSelector> common(const TrafficSelector& a, const TrafficSelector& b) {
  if (a.low.family() != b.low.family()) return std::nullopt;
  if (a.protocol != b.protocol && a.protocol != kProtoAny && b.protocol != kProtoAny) return std::nullopt;
  const std::optional<PortRange> ports = common(a.ports, b.ports);
  TrafficSelector both{.protocol = std::max(a.protocol, b.protocol),
                       .ports = ports.value_or(PortRange{}),
                       .low = std::max(a.low, b.low),
                       .high = std::min(a.high, b.high)};
  if (!ports || both.low > both.high) return std::nullopt;
  return both;
}

// Adds one unless it lies in one that is there; those that lie in it go.
void add(std::vector<TrafficSelector>& to, const TrafficSelector& selector) {
  if (contains(to, selector)) return;
  std::erase_if(to, [&](const TrafficSelector& each) { return contains({&selector, 1}, each); });
  to.push_back(selector);
}

// --- For people ---

struct ProtocolName {
  uint8_t protocol;
  const char* name;
};
constexpr ProtocolName kProtocolNames[] = {
    {kProtoAny, "any"}, {kProtoIcmp, "icmp"}, {2, "igmp"},      {kProtoIpip, "ipip"},
    {kProtoTcp, "tcp"}, {kProtoUdp, "udp"},   {33, "dccp"},     {kProtoIpv6, "ipv6"},
    {kProtoGre, "gre"}, {kProtoEsp, "esp"},   {kProtoAh, "ah"}, {kProtoIcmpv6, "icmpv6"},
    {89, "ospf"},       {103, "pim"},         {112, "vrrp"},    {115, "l2tp"},
    {132, "sctp"},      {136, "udplite"}};

std::string protocol_text(uint8_t protocol) {
  const auto* found = std::find_if(std::begin(kProtocolNames), std::end(kProtocolNames),
                                   [&](const ProtocolName& each) { return each.protocol == protocol; });
  return found == std::end(kProtocolNames) ? fmt::format("{}", protocol) : found->name;
}

std::string range_text(unsigned low, unsigned high) {
  return low == high ? fmt::format("{}", low) : fmt::format("{}-{}", low, high);
}

// RFC 7296 section 3.13.1: the type above the code.
std::string icmp_text(PortRange ports) {
  const unsigned low_type = ports.low >> 8, high_type = ports.high >> 8;
  const unsigned low_code = ports.low & 0xff, high_code = ports.high & 0xff;
  if (low_code == 0 && high_code == 0xff) return range_text(low_type, high_type);
  if (low_type == high_type) return fmt::format("{}:{}", low_type, range_text(low_code, high_code));
  return fmt::format("{}:{}-{}:{}", low_type, low_code, high_type, high_code);
}

std::string ports_text(uint8_t protocol, PortRange ports) {
  if (ports == kOpaque) return "opaque";
  if (protocol == kProtoIcmp || protocol == kProtoIcmpv6) return icmp_text(ports);
  return range_text(ports.low, ports.high);
}

std::string address_text(const TrafficSelector& selector) {
  const std::vector<IpPrefix> prefixes = prefixes_of(selector);
  if (prefixes.size() == 1) return espalier::to_text(prefixes.front());
  return fmt::format("{}-{}", espalier::to_text(selector.low), espalier::to_text(selector.high));
}

}  // namespace

std::vector<TrafficSelector> to_wire(const SelectorSide& side) {
  assert(side.prefixes.size() <= kMaxSelectors);
  std::vector<TrafficSelector> selectors;
  for (const IpPrefix& prefix : side.prefixes)
    selectors.push_back({side.protocol, side.ports, prefix.network(), prefix.last()});
  return selectors;
}

std::vector<TrafficSelector> intersect(std::span<const TrafficSelector> ours,
                                       std::span<const TrafficSelector> theirs) {
  std::vector<TrafficSelector> result;
  for (const TrafficSelector& our : ours)
    for (const TrafficSelector& their : theirs) {
      const std::optional<TrafficSelector> both = common(our, their);
      if (!both) continue;
      add(result, *both);
      if (result.size() == kMaxSelectors) return result;
    }
  return result;
}

bool contains(std::span<const TrafficSelector> outer, const TrafficSelector& inner) {
  return std::any_of(outer.begin(), outer.end(),
                     [&](const TrafficSelector& each) { return common(each, inner) == inner; });
}

bool within(std::span<const TrafficSelector> inner, std::span<const TrafficSelector> outer) {
  return std::all_of(inner.begin(), inner.end(),
                     [&](const TrafficSelector& each) { return contains(outer, each); });
}

bool same(std::span<const TrafficSelector> a, std::span<const TrafficSelector> b) {
  return std::is_permutation(a.begin(), a.end(), b.begin(), b.end());
}

// From the bottom: always the largest prefix that begins there and does not reach over the top. Within an
// IPv6 range the 96 bits of mapped addresses stand for IPv4, and are left out.
std::vector<IpPrefix> prefixes_of(const TrafficSelector& selector) {
  std::vector<IpPrefix> prefixes;
  IpPrefix prefix = IpPrefix::host(selector.low);
  const uint8_t shortest = selector.low.is_v4() ? IpPrefix::kMappedBits : 0;
  while (prefix.address <= selector.high) {
    const auto wider = [&] { return IpPrefix{prefix.address, static_cast<uint8_t>(prefix.length - 1)}; };
    while (prefix.length > shortest && wider().network() == prefix.address && wider().last() <= selector.high)
      prefix = wider();
    if (prefix.is_v4() == selector.low.is_v4()) prefixes.push_back(prefix);
    if (prefix.last() == selector.high) break;
    prefix = IpPrefix::host(IpAddress::from_host(prefix.last().host() + 1));
  }
  return prefixes;
}

std::string to_text(const TrafficSelector& selector) {
  std::string text = address_text(selector);
  if (selector.protocol == kProtoAny && selector.ports.is_any()) return text;
  text += "[" + protocol_text(selector.protocol);
  if (!selector.ports.is_any()) text += "/" + ports_text(selector.protocol, selector.ports);
  return text + "]";
}

std::string to_text(std::span<const TrafficSelector> selectors) {
  std::vector<std::string> texts;
  for (const TrafficSelector& selector : selectors) texts.push_back(to_text(selector));
  return fmt::format("{}", fmt::join(texts, ", "));
}

}  // namespace espalier::ike
