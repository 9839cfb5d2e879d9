#include <rte_errno.h>
#include <rte_memory.h>
#include <rte_rib.h>

#include <atomic>

#include "control/shared/text.hpp"
#include "dataplane/eal.hpp"
#include "dataplane/fib.hpp"

namespace espalier::dataplane {
namespace {

RouteVerdict verdict(RouteKind kind) {
  switch (kind) {
    case RouteKind::kNextHop:
    case RouteKind::kInterface:
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

// The interface that a configured route leads out of; kNoInterface for one that leads nowhere.
Result<InterfaceIndex> egress(const RouteRecord& route, const InterfaceTable& interfaces) {
  if (verdict(route.kind) != RouteVerdict::kForward) return kNoInterface;
  if (route.interface != kNoInterface && route.interface.value >= interfaces.size())
    return fail("route {}: there is no interface number {}", to_text(route.prefix), route.interface.value);
  if (route.kind == RouteKind::kInterface && route.interface == kNoInterface)
    return fail("route {}: it names no interface", to_text(route.prefix));
  if (route.kind == RouteKind::kInterface) return route.interface;
  if (route.via.is_unspecified() || interfaces.is_own_address(route.via))
    return fail("route {}: its next hop is {}", to_text(route.prefix),
                route.via.is_unspecified() ? "missing" : "an address of the gateway itself");
  if (route.interface != kNoInterface) return route.interface;
  const InterfaceIndex connected = interfaces.connected_to(route.via);
  if (connected == kNoInterface)
    return fail("route {}: its next hop is in no interface's network", to_text(route.prefix));
  return connected;
}

// The gateway's own addresses and the networks' broadcast addresses, as Linux's table "local".
std::vector<RouteEntry> local_entries(const InterfaceTable& interfaces) {
  std::vector<RouteEntry> entries;
  const auto add = [&](Ipv4Address address, InterfaceIndex interface) {
    entries.push_back({{address, 32}, RouteVerdict::kLocal, interface, {}, kNoRoute});
  };
  for (const Interface& interface : interfaces)
    for (const Ipv4Prefix& prefix : interface.addresses) add(prefix.address, interface.index);
  for (const Interface& interface : interfaces)
    for (const Ipv4Prefix& prefix : interface.addresses)
      if (prefix.length < 31) add(prefix.broadcast(), interface.index);
  return entries;
}

// The interfaces' networks. A /32 has none.
std::vector<RouteEntry> connected_entries(const InterfaceTable& interfaces) {
  std::vector<RouteEntry> entries;
  for (const Interface& interface : interfaces)
    for (const Ipv4Prefix& prefix : interface.addresses)
      if (prefix.length < 32)
        entries.push_back(
            {{prefix.network(), prefix.length}, RouteVerdict::kForward, interface.index, {}, kNoRoute});
  return entries;
}

Result<std::vector<RouteEntry>> configured_entries(std::span<const RouteRecord> routes,
                                                   const InterfaceTable& interfaces) {
  std::vector<RouteEntry> entries;
  for (const RouteRecord& route : routes) {
    const InterfaceIndex out = TRY(egress(route, interfaces));
    const Ipv4Address via = route.kind == RouteKind::kNextHop ? route.via : Ipv4Address{};
    entries.push_back(
        {{route.prefix.network(), route.prefix.length}, verdict(route.kind), out, via, route.index});
  }
  return entries;
}

// An empty rib for this many prefixes. Its name is unique in the process, since the next table is built while
// workers still read this one.
rte_rib* make_rib(size_t prefixes) {
  static std::atomic<uint32_t> counter{0};
  const std::string name = fmt::format("fib{}", counter.fetch_add(1, std::memory_order_relaxed));
  DpdkLogCapture log;  // rte_errno says it all
  // A compressed binary tree: at most one branching node for each prefix.
  const rte_rib_conf conf{.ext_sz = 0, .max_nodes = static_cast<int>(2 * prefixes + 1)};
  return rte_rib_create(name.c_str(), SOCKET_ID_ANY, &conf);
}

}  // namespace

Result<std::unique_ptr<Fib>> Fib::build(std::span<const RouteRecord> routes,
                                        const InterfaceTable& interfaces) {
  const auto configured = TRY(configured_entries(routes, interfaces));
  const auto local = local_entries(interfaces), connected = connected_entries(interfaces);
  std::unique_ptr<Fib> fib(new Fib);
  fib->rib_ = make_rib(local.size() + connected.size() + configured.size());
  if (fib->rib_ == nullptr)
    return fail("no memory for a table of {} routes ({}); give the dataplane more", configured.size(),
                rte_strerror(rte_errno));
  // The order is the precedence among equal prefixes.
  for (const auto& entries : {std::cref(local), std::cref(connected), std::cref(configured)})
    for (const RouteEntry& entry : entries.get()) TRY(fib->add(entry));
  return fib;
}

Result<void> Fib::add(const RouteEntry& entry) {
  rte_rib_node* const node = rte_rib_insert(rib_, entry.prefix.address.host(), entry.prefix.length);
  if (node == nullptr && rte_errno == EEXIST) return {};  // the earlier one wins
  if (node == nullptr) return fail("route {}: {}", to_text(entry.prefix), rte_strerror(rte_errno));
  rte_rib_set_nh(node, entries_.size());
  entries_.push_back(entry);
  return {};
}

Fib::~Fib() {
  rte_rib_free(rib_);
}

}  // namespace espalier::dataplane
