// "show route" and "show neighbors": what the dataplane forwards by.
#include "control/daemon/commands/page.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

Json route_row(const config::Tables& tables, const message::RouteRow& row) {
  const RouteRecord& route = row.record;
  Json json{{"prefix", to_text(route.prefix)},
            {"kind", word(route.kind)},
            {"connected", row.connected != 0},
            {"usable", row.usable != 0}};
  if (route.kind == RouteKind::kNextHop) json["via"] = to_text(route.via);
  if (route.interface != kNoInterface) json["interface"] = interface_name(tables, route.interface);
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
      context, message::QueryKind::kRoutes, "routes", page,
      [&context](const auto& row) { return route_row(context.applier.running(), row); }, reply);
  return {};
}

Result<void> show_neighbors(Context& context, Request& request, const Reply& reply) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  query<message::NeighborRow>(
      context, message::QueryKind::kNeighbors, "neighbors", page,
      [&context](const auto& row) { return neighbor_row(context.applier.running(), row); }, reply);
  return {};
}

}  // namespace espalier::daemon::commands
