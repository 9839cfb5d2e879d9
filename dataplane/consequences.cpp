#include "dataplane/consequences.hpp"

#include <algorithm>
#include <optional>
#include <tuple>

#include "dataplane/stages/ike.hpp"

namespace espalier::dataplane {
namespace {

// All but the index, which is a position.
bool is_same_route(const RouteRecord& a, const RouteRecord& b) {
  if (a.kind != b.kind || !(a.prefix == b.prefix) || a.metric != b.metric ||
      a.next_hop_count != b.next_hop_count)
    return false;
  return std::equal(
      a.next_hops, a.next_hops + a.next_hop_count, b.next_hops,
      [](const NextHop& x, const NextHop& y) { return x.via == y.via && x.interface == y.interface; });
}

bool comes_before(const RouteRecord& a, const RouteRecord& b) {
  return std::tuple(a.prefix.address, a.prefix.length, a.metric) <
         std::tuple(b.prefix.address, b.prefix.length, b.metric);
}

// Both lists sorted, so that a full table costs no more than sorting it.
std::vector<const RouteRecord*> sorted(const std::vector<RouteRecord>& routes) {
  std::vector<const RouteRecord*> list;
  for (const RouteRecord& route : routes) list.push_back(&route);
  std::stable_sort(list.begin(), list.end(),
                   [](const RouteRecord* a, const RouteRecord* b) { return comes_before(*a, *b); });
  return list;
}

// What a change of policies can touch. Flows remember positions in the list: if these move, everything.
void add_changed_policies(const std::vector<PolicyRecord>& before, const std::vector<PolicyRecord>& after,
                          std::vector<ChangedRegion>& regions) {
  const size_t common = std::min(before.size(), after.size());
  for (size_t i = 0; i < common; ++i) {
    if (std::memcmp(&before[i], &after[i], sizeof(PolicyRecord)) == 0) continue;
    for (const Selector& s : {before[i].selector, after[i].selector})
      regions.push_back({s.source, s.destination});
  }
  for (const auto* list : {&before, &after})
    for (size_t i = common; i < list->size(); ++i)
      regions.push_back({(*list)[i].selector.source, (*list)[i].selector.destination});
}

// Where packets come from or go to; without a port: any.
struct End {
  IpAddress address;
  std::optional<uint16_t> port;
};

bool matches(NatMatch match, const End& end) {
  if (!end.port) match.ports = {};
  return match.matches(end.address, end.port.value_or(0));
}

// A rule that may change a packet of `protocol` to this end, whatever its source and interface.
bool may_touch(const NatRuleRecord& rule, uint8_t protocol, const End& destination) {
  return rule.translation != NatTranslation::kExclude && rule.family == destination.address.family() &&
         !rule.local_output && (rule.protocol == kProtoAny || rule.protocol == protocol) &&
         matches(rule.destination, destination);
}

// The port of ESP in UDP is known of our own side only: the peer's may be another behind its NAT. Inbound the
// source does not count: a rule may have forwarded what somebody else sends, by an SPI that we do not have.
bool may_touch_sa(const NatRuleRecord& rule, const SaRecord& sa) {
  const bool encap = (sa.flags & kSaEncap) != 0;
  const uint8_t protocol = encap ? kProtoUdp : kProtoEsp;
  End source{sa.source, {}}, destination{sa.destination, {}};
  if (sa.direction == Direction::kIn) {
    if (encap) destination.port = sa.encap_destination_port;
    return rule.kind == NatKind::kDestination && may_touch(rule, protocol, destination);
  }
  if (encap) source.port = sa.encap_source_port;
  return rule.kind == NatKind::kSource && may_touch(rule, protocol, destination) &&
         matches(rule.source, source);
}

// What came for an own address, by whatever SPI: a destination rule may have it forwarded.
bool may_send_on(const NatRuleRecord& rule, const AddressRecord& own) {
  return rule.kind == NatKind::kDestination && may_touch(rule, kProtoEsp, {own.prefix.address, {}});
}

// More than this no SA puts around a packet: IPv6, UDP, AES-CBC with HMAC-SHA-512, not cut.
constexpr EspShape kLargestShape{.outer_bytes = sizeof(Ipv6Header),
                                 .udp_bytes = sizeof(UdpHeader),
                                 .iv_bytes = 16,
                                 .icv_bytes = 64,
                                 .align_bytes = 16};

}  // namespace

void add_changed_routes(const std::vector<RouteRecord>& before, const std::vector<RouteRecord>& after,
                        std::vector<ChangedRegion>& regions) {
  const auto old_routes = sorted(before), new_routes = sorted(after);
  auto o = old_routes.begin();
  auto n = new_routes.begin();
  while (o != old_routes.end() || n != new_routes.end()) {
    const bool both = o != old_routes.end() && n != new_routes.end();
    if (both && is_same_route(**o, **n)) {
      ++o, ++n;
      continue;
    }
    const bool take_old = n == new_routes.end() || (both && !comes_before(**n, **o));
    const IpPrefix prefix = (take_old ? *o++ : *n++)->prefix;
    regions.push_back(ChangedRegion::towards(prefix));
    regions.push_back(ChangedRegion::from(prefix));
  }
}

std::vector<ChangedRegion> changed_regions(const Configuration& before, const Configuration& after) {
  if (!same_bytes(before.interfaces, after.interfaces) || !same_bytes(before.addresses, after.addresses) ||
      !same_bytes(before.nat_rules, after.nat_rules) || before.settings.sessions != after.settings.sessions ||
      before.settings.ike != after.settings.ike)
    return {kEverything};
  std::vector<ChangedRegion> regions;
  add_changed_routes(before.routes, after.routes, regions);
  add_changed_policies(before.policies, after.policies, regions);
  if (regions.size() > ChangeLog::kRegions / 2) return {kEverything};
  return regions;
}

std::optional<ChangedRegion> region_decided_by(const SaRecord& sa) {
  if (sa.direction != Direction::kOut) return std::nullopt;
  if (sa.flags & kSaHasSelector) return ChangedRegion{sa.selector.source, sa.selector.destination};
  if (sa.mode != EspMode::kTransport) return std::nullopt;
  return ChangedRegion{IpPrefix::host(sa.source), IpPrefix::host(sa.destination)};
}

bool policies_are_optional(const Configuration& configuration) {
  const auto is_optional = [](const PolicyRecord& policy) {
    return policy.direction == Direction::kOut &&
           std::any_of(policy.tmpl, policy.tmpl + policy.templates,
                       [](const PolicyTemplate& t) { return t.level == TemplateLevel::kUse; });
  };
  return std::ranges::any_of(configuration.policies, is_optional);
}

bool sas_decide_flows(const Configuration& configuration) {
  return policies_are_optional(configuration) ||
         std::ranges::any_of(configuration.sas,
                             [](const SaRecord& sa) { return region_decided_by(sa).has_value(); });
}

bool may_decide_otherwise(const SaStore::Change& change, const Configuration& wanted) {
  if (change.added.size() != change.claimed.size()) return true;  // an SA changes in its slot
  return (!change.added.empty() || !change.removed.empty()) && sas_decide_flows(wanted);
}

bool nat_touches_sa(const std::vector<NatRuleRecord>& rules, const SaRecord& sa) {
  return std::ranges::any_of(rules, [&](const NatRuleRecord& rule) { return may_touch_sa(rule, sa); });
}

bool nat_touches_esp(const Configuration& wanted) {
  const auto is_sent_on = [&](const AddressRecord& own) {
    return std::ranges::any_of(wanted.nat_rules,
                               [&](const NatRuleRecord& rule) { return may_send_on(rule, own); });
  };
  const auto is_touched = [&](const SaRecord& sa) { return nat_touches_sa(wanted.nat_rules, sa); };
  return std::ranges::any_of(wanted.sas, is_touched) || std::ranges::any_of(wanted.addresses, is_sent_on);
}

uint32_t fits_everywhere(const Configuration& wanted, const InterfaceTable& interfaces) {
  constexpr uint32_t kGreAtMost = sizeof(Ipv6Header) + sizeof(GreHeader) + 4;
  size_t templates = 0;
  for (const PolicyRecord& policy : wanted.policies)
    templates = std::max<size_t>(templates, policy.templates);
  std::vector<EspShape> shapes;
  for (const SaRecord& sa : wanted.sas) shapes.push_back(shape_of(sa));
  if (wanted.settings.ike) shapes.push_back(kLargestShape);
  uint32_t bytes = std::min(kMinPathMtu, interfaces.smallest_mtu_bytes());
  for (; templates > 0; --templates) {
    uint32_t least = bytes;
    for (const EspShape& shape : shapes)
      least = std::min({least, shape.inner_mtu(bytes, sizeof(Ipv6Header)), shape.inner_mtu(bytes, 0)});
    bytes = least;
  }
  const bool any_gre = std::any_of(wanted.interfaces.begin(), wanted.interfaces.end(),
                                   [](const InterfaceRecord& r) { return r.kind == InterfaceKind::kGre; });
  return any_gre ? bytes - std::min(bytes, kGreAtMost) : bytes;
}

void add_vti_policies(Configuration& wanted) {
  for (const InterfaceRecord& vti : wanted.interfaces) {
    if (vti.kind != InterfaceKind::kVti) continue;
    const auto is_its_own = [&](const PolicyRecord& p) { return p.vti == vti.index; };
    if (std::any_of(wanted.policies.begin(), wanted.policies.end(), is_its_own)) continue;
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      PolicyRecord policy;
      policy.index = PolicyIndex{static_cast<uint32_t>(wanted.policies.size())};
      policy.direction = Direction::kOut;
      policy.templates = 1;
      policy.selector.source = policy.selector.destination = IpPrefix::any(family);
      policy.vti = vti.index;
      policy.name = vti.name;
      wanted.policies.push_back(policy);
    }
  }
}

Result<EncapPorts> encap_ports(const Configuration& wanted) {
  EncapPorts ports;
  if (wanted.settings.ike) ports.add(be16::from_host(kIkeNatPort));
  for (const SaRecord& sa : wanted.sas) {
    if (!(sa.flags & kSaEncap)) continue;
    const uint16_t own = sa.direction == Direction::kOut ? sa.encap_source_port : sa.encap_destination_port;
    if (!ports.add(be16::from_host(own)))
      return fail("states with encap use more than {} ports of the gateway", EncapPorts::kMost);
  }
  return ports;
}

Result<void> check_positions(const Configuration& wanted) {
  for (size_t i = 0; i < wanted.interfaces.size(); ++i)
    if (wanted.interfaces[i].index.value != i) return fail("interface {} is not at its place", i);
  for (size_t i = 0; i < wanted.policies.size(); ++i)
    if (wanted.policies[i].index.value != i) return fail("policy {} is not at its place", i);
  const auto known = [&](InterfaceIndex i) { return i.value < wanted.interfaces.size(); };
  for (const AddressRecord& r : wanted.addresses)
    if (!known(r.interface)) return fail("an address names interface {}", r.interface.value);
  for (const NeighborRecord& r : wanted.neighbors)
    if (!known(r.interface)) return fail("a neighbour names interface {}", r.interface.value);
  for (const RouteRecord& r : wanted.routes)
    for (size_t i = 0; i < r.next_hop_count; ++i)
      if (!known(r.next_hops[i].interface))
        return fail("route {} names interface {}", r.index.value, r.next_hops[i].interface.value);
  for (const PolicyRecord& r : wanted.policies)
    for (const InterfaceIndex i : {r.interface, r.vti})
      if (i != kNoInterface && !known(i)) return fail("policy {} names interface {}", r.name.view(), i.value);
  for (const SaRecord& r : wanted.sas)
    if (r.vti != kNoInterface && !known(r.vti))
      return fail("state {} names interface {}", r.name.view(), r.vti.value);
  for (const NatRuleRecord& r : wanted.nat_rules)
    if (r.interface != kNoInterface && !known(r.interface))
      return fail("NAT rule {} names interface {}", r.number, r.interface.value);
  return {};
}

}  // namespace espalier::dataplane
