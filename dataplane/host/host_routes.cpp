#include "dataplane/host/host_routes.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace espalier::dataplane {
namespace {

void report(const Result<void>& result) {
  if (!result) spdlog::error("subsystem=net host path: route {}", result.error().text);
}

}  // namespace

bool HostRoutes::Written::is_same(const Written& other) const {
  const auto same_via = [](const NextHop& a, const NextHop& b) { return a.via == b.via; };
  return record.next_hop_count == other.record.next_hop_count && links == other.links &&
         std::equal(record.next_hops, record.next_hops + record.next_hop_count, other.record.next_hops,
                    same_via);
}

HostRoutes::Links HostRoutes::links_for(const RouteRecord& route, std::span<const int> link_of) {
  Links links{};
  const std::span hops(route.next_hops, route.next_hop_count);
  // The kernel's IPv6 has no several next hops if one has no address; for the host one is enough.
  const bool one_only = !route.prefix.is_v4() && std::ranges::any_of(hops, [](const NextHop& hop) {
    return hop.via.is_unspecified();
  });
  for (size_t i = 0; i < hops.size(); ++i) {
    if (one_only && links != Links{}) break;
    const size_t interface = hops[i].interface.value;
    if (interface < link_of.size()) links[i] = link_of[interface];
  }
  return links;
}

void HostRoutes::update(HostLinks& links, std::span<const RouteRecord> wanted, std::span<const int> link_of,
                        bool may_be_gone) {
  std::map<RouteKey, Written> next;
  for (const RouteRecord& route : wanted) {
    if (route.kind != RouteKind::kNextHop || route.imported) continue;
    Written written{route, links_for(route, link_of)};
    if (written.links == Links{}) continue;
    const IpPrefix network{route.prefix.network(), route.prefix.length};
    next.try_emplace({network, route.metric}, written);
  }
  for (const auto& [key, route] : written_) {
    const auto stays = next.find(key);
    if (stays == next.end() || !stays->second.is_same(route)) report(links.remove_route(route.record));
  }
  for (const auto& [key, route] : next) {
    const auto old = written_.find(key);
    if (may_be_gone || old == written_.end() || !old->second.is_same(route))
      report(links.add_route(route.record, {route.links.data(), route.record.next_hop_count}));
  }
  written_ = std::move(next);
}

}  // namespace espalier::dataplane
