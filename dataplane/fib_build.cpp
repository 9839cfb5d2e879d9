#include <algorithm>
#include <set>
#include <tuple>

#include "control/shared/text.hpp"
#include "dataplane/fib.hpp"

namespace espalier::dataplane {
namespace {

RouteVerdict verdict(RouteKind kind) {
  switch (kind) {
    case RouteKind::kNextHop:
      return RouteVerdict::kForward;
    case RouteKind::kBlackhole:
      return RouteVerdict::kBlackhole;
    case RouteKind::kUnreachable:
      return RouteVerdict::kUnreachable;
    case RouteKind::kProhibit:
      return RouteVerdict::kProhibit;
  }
  return RouteVerdict::kNoRoute;
}

// The networks' last addresses: IPv6 has none, and neither have point-to-point networks (RFC 3021).
bool has_broadcast(const IpPrefix& prefix) {
  return prefix.is_v4() && prefix.length < 127;
}

// Family, prefix (the wider one first where two begin together), precedence.
auto order(const RouteEntry& entry) {
  const int source = entry.verdict == RouteVerdict::kLocal ? 0 : entry.route == kNoRoute ? 1 : 2;
  return std::tuple(entry.prefix.family(), entry.prefix.address, entry.prefix.length, source, entry.metric);
}

}  // namespace

class FibBuilder {
 public:
  FibBuilder(Fib& fib, const InterfaceTable& interfaces) : fib_(fib), interfaces_(interfaces) {}

  void add_gates();
  // The gateway's own addresses and the networks' broadcast addresses, as Linux's table "local"; and the
  // interfaces' networks. A host prefix has none.
  void add_interfaces();
  Result<void> add_route(const RouteRecord& route);
  // After all were added.
  void finish();

 private:
  void add_local(IpAddress address, InterfaceIndex owner);
  Result<InterfaceIndex> egress(const NextHop& hop, IpPrefix prefix) const;
  void add(RouteEntry entry, std::span<const NextHop> hops);

  Fib& fib_;
  const InterfaceTable& interfaces_;
  std::set<IpAddress> own_;  // usable or not
};

void FibBuilder::add_gates() {
  for (const Interface& interface : interfaces_) {
    fib_.gates_.push_back({.link = interface.link,
                           .enabled = interface.enabled,
                           .fails_closed = interface.fails_closed(),
                           .has_ipv6 = interface.has_ipv6(),
                           .link_local = {}});
    for (const OwnAddress& own : interface.addresses)
      if (own.address().is_link_local()) fib_.gates_.back().link_local.push_back(own.address());
  }
}

void FibBuilder::add(RouteEntry entry, std::span<const NextHop> hops) {
  entry.prefix.address = entry.prefix.network();
  entry.first_next_hop = static_cast<uint32_t>(fib_.next_hops_.size());
  entry.next_hops = static_cast<uint8_t>(hops.size());
  fib_.next_hops_.insert(fib_.next_hops_.end(), hops.begin(), hops.end());
  fib_.entries_.push_back(entry);
}

void FibBuilder::add_local(IpAddress address, InterfaceIndex owner) {
  add({.prefix = IpPrefix::host(address), .verdict = RouteVerdict::kLocal, .owner = owner}, {});
  own_.insert(address);
}

void FibBuilder::add_interfaces() {
  const auto for_each = [&](auto visit) {
    for (const Interface& interface : interfaces_)
      for (const OwnAddress& own : interface.addresses)
        if (!own.address().is_link_local()) visit(own.prefix, interface.index);
  };
  for_each([&](const IpPrefix& own, InterfaceIndex index) { add_local(own.address, index); });
  for_each([&](const IpPrefix& own, InterfaceIndex index) {
    if (has_broadcast(own)) add_local(own.last(), index);
    const NextHop link{.via = {}, .interface = index};
    if (!own.is_host()) add({.prefix = own, .owner = index}, {&link, 1});
  });
}

// The interface that a next hop is on.
Result<InterfaceIndex> FibBuilder::egress(const NextHop& hop, IpPrefix prefix) const {
  if (hop.interface != kNoInterface && hop.interface.value >= interfaces_.size())
    return fail("route {}: there is no interface number {}", to_text(prefix), hop.interface.value);
  if (hop.via.is_unspecified()) {
    if (hop.interface == kNoInterface)
      return fail("route {}: a next hop names neither address nor interface", to_text(prefix));
    return hop.interface;
  }
  if (hop.via.family() != prefix.family())
    return fail("route {}: its next hop is of the other family", to_text(prefix));
  if (own_.contains(hop.via))
    return fail("route {}: its next hop is an address of the gateway itself", to_text(prefix));
  if (hop.interface != kNoInterface) return hop.interface;
  const InterfaceIndex connected = interfaces_.connected_to(hop.via);
  if (connected == kNoInterface)
    return fail("route {}: its next hop is in no interface's network", to_text(prefix));
  return connected;
}

Result<void> FibBuilder::add_route(const RouteRecord& route) {
  RouteEntry entry{.prefix = route.prefix,
                   .verdict = verdict(route.kind),
                   .imported = route.imported,
                   .owner = kNoInterface,
                   .route = route.index,
                   .metric = route.metric};
  if (entry.verdict != RouteVerdict::kForward) {
    add(entry, {});
    return {};
  }
  if (route.next_hop_count == 0 || route.next_hop_count > RouteRecord::kMaxNextHops)
    return fail("route {}: it has {} next hops", to_text(route.prefix), route.next_hop_count);
  std::vector<NextHop> hops(route.next_hops, route.next_hops + route.next_hop_count);
  for (NextHop& hop : hops) hop.interface = TRY(egress(hop, route.prefix));
  add(entry, hops);
  return {};
}

void FibBuilder::finish() {
  std::vector<RouteEntry>& entries = fib_.entries_;
  std::ranges::stable_sort(entries, {}, order);
  // An address is told once, even where two interfaces have it, or a network that holds two others ends.
  const auto is_told = [](const RouteEntry& a, const RouteEntry& b) {
    return a.verdict == RouteVerdict::kLocal && b.verdict == RouteVerdict::kLocal && a.prefix == b.prefix;
  };
  entries.erase(std::unique(entries.begin(), entries.end(), is_told), entries.end());
  const auto ipv6 =
      std::ranges::find(entries, Family::kIpv6, [](const RouteEntry& e) { return e.prefix.family(); });
  const auto middle = static_cast<uint32_t>(ipv6 - entries.begin());
  fib_.ipv4_ = fib_.build_tree<uint32_t>(0, middle);
  fib_.ipv6_ = fib_.build_tree<uint128>(middle, static_cast<uint32_t>(entries.size()));
}

uint32_t Fib::find_holder(const Node& node) const {
  for (uint32_t i = node.first; i != node.first + node.count; ++i) {
    const bool is_connected = entries_[i].verdict == RouteVerdict::kForward && entries_[i].route == kNoRoute;
    if (is_connected || fails_closed(entries_[i])) return i;
  }
  return kNone32;
}

// Of the entries from `begin` to `end`, which are in order.
template <class Value>
Fib::Tree<Value> Fib::build_tree(uint32_t begin, uint32_t end) const {
  Tree<Value> tree;
  std::vector<typename PrefixRanges<Value>::Range> ranges;
  for (uint32_t i = begin; i != end; ++i) {
    const IpPrefix& prefix = entries_[i].prefix;
    if (i == begin || prefix != entries_[i - 1].prefix) {
      ranges.push_back({static_cast<Value>(prefix.address.host()), static_cast<Value>(prefix.last().host())});
      tree.nodes.push_back({.first = i});
    }
    ++tree.nodes.back().count;
  }
  for (Node& node : tree.nodes) node.holder = find_holder(node);
  tree.ranges = PrefixRanges<Value>(ranges);
  return tree;
}

Result<std::unique_ptr<Fib>> Fib::build(std::span<const RouteRecord> routes,
                                        const InterfaceTable& interfaces) {
  std::unique_ptr<Fib> fib(new Fib);
  FibBuilder builder(*fib, interfaces);
  builder.add_gates();
  builder.add_interfaces();
  for (const RouteRecord& route : routes) TRY(builder.add_route(route));
  builder.finish();
  return fib;
}

}  // namespace espalier::dataplane
