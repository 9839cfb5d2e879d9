// "show route" and "show neighbors": what the dataplane forwards by.
#include <span>

#include "control/daemon/commands/page.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

std::string_view origin_of(const message::RouteRow& row) {
  if (row.connected) return "connected";
  return row.record.imported ? "kernel" : "static";
}

Json next_hop_json(const config::Tables& tables, const NextHop& hop) {
  Json json{{"interface", interface_name(tables, hop.interface)}};
  if (!hop.via.is_unspecified()) json["via"] = to_text(hop.via);
  return json;
}

// "via" and "interface" are those of the first next hop; a route without "via" is to the link itself.
Json route_row(const config::Tables& tables, const message::RouteRow& row) {
  const RouteRecord& route = row.record;
  Json json{{"prefix", to_text(route.prefix)}, {"kind", word(route.kind)},
            {"metric", route.metric},          {"origin", origin_of(row)},
            {"connected", row.connected != 0}, {"usable", row.usable != 0}};
  if (route.kind != RouteKind::kNextHop) return json;
  Json hops = Json::array();
  for (const NextHop& hop : std::span(route.next_hops, route.next_hop_count))
    hops.push_back(next_hop_json(tables, hop));
  json.update(hops.at(0));
  if (!json.contains("via")) json["kind"] = "interface";
  json["next_hops"] = std::move(hops);
  return json;
}

Json neighbor_row(const config::Tables& tables, const message::NeighborRow& row) {
  return {{"address", to_text(row.record.address)},
          {"interface", interface_name(tables, row.record.interface)},
          {"mac", to_text(row.record.mac)},
          {"state", word(row.state)},
          {"age_s", row.age_s},
          {"queued_packets", row.queued_packets}};
}

}  // namespace

Result<void> show_route(Context& context, Request& request, const Reply& reply) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  query<message::RouteRow>(
      context, query_of(message::QueryKind::kRoutes, page), "routes",
      [&context](const auto& row) { return route_row(context.applier.running(), row); }, reply);
  return {};
}

Result<void> show_neighbors(Context& context, Request& request, const Reply& reply) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  query<message::NeighborRow>(
      context, query_of(message::QueryKind::kNeighbors, page), "neighbors",
      [&context](const auto& row) { return neighbor_row(context.applier.running(), row); }, reply);
  return {};
}

}  // namespace espalier::daemon::commands
