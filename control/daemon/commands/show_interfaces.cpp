// "show interfaces": what the dataplane knows of its ports, with the statistics' counters.
#include "control/daemon/commands/page.hpp"
#include "control/daemon/commands/totals.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

uint64_t drops_of(const statistics::Segment& segment, size_t interface) {
  uint64_t sum = 0;
  for (const auto& info : kDropReasonTable) {
    if (!info.drop) continue;
    const auto reason = static_cast<size_t>(info.reason);
    sum += total(
        segment, [=](const auto& block) -> auto& { return block.drops[interface][reason]; });
  }
  return sum;
}

Json addresses_of(const config::Tables& tables, InterfaceIndex index) {
  Json list = Json::array();
  for (const auto& address : tables.addresses)
    if (address.interface == index) list.push_back(to_text(address.prefix));
  return list;
}

// Of a gre or vti; a vti need not have endpoints.
void add_tunnel(Json& json, const InterfaceRecord& record) {
  if (!record.local.is_unspecified()) {
    json["local_address"] = to_text(record.local);
    json["remote_address"] = to_text(record.remote);
  }
  if (record.kind != InterfaceKind::kGre) return;
  if (record.has_key) json["key"] = record.key;
  json["ttl"] = record.ttl;
  json["protect"] = record.protect != 0;
}

void add_configured(Json& json, const InterfaceRecord& record) {
  json["kind"] = word(record.kind);
  if (record.mss_clamp_bytes == kMssToPathMtu)
    json["mss_clamp"] = "pmtu";
  else if (record.mss_clamp_bytes != 0)
    json["mss_clamp"] = record.mss_clamp_bytes;
  if (record.kind == InterfaceKind::kGre || record.kind == InterfaceKind::kVti) add_tunnel(json, record);
}

Json interface_row(const config::Tables& tables, const statistics::Segment& segment,
                   const message::InterfaceRow& row) {
  const size_t index = row.index.value;  // was checked to be below kMaxInterfaces
  Json json{{"name", row.name.view()},
            {"addresses", addresses_of(tables, row.index)},
            {"mac", to_text(row.mac)},
            {"admin_up", row.admin_up != 0},
            {"link_up", row.link_up != 0},
            {"mtu_bytes", row.mtu_bytes},
            {"speed_mbps", row.speed_mbps},
            {"rx_queues", row.rx_queues},
            {"tx_queues", row.tx_queues},
            {"rss", row.rss != 0},
            {"rx_checksum", row.rx_checksum != 0},
            {"tx_checksum", row.tx_checksum != 0},
            {"drops", drops_of(segment, index)}};
  if (index < tables.interfaces.size()) add_configured(json, tables.interfaces[index]);
  add_totals(
      json, "rx_", segment, [=](const auto& block) -> auto& { return block.received[index]; });
  add_totals(
      json, "tx_", segment, [=](const auto& block) -> auto& { return block.sent[index]; });
  return json;
}

}  // namespace

Result<void> show_interfaces(Context& context, Request& request, const Reply& reply) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  TRY(statistics_of(context));
  query<message::InterfaceRow>(
      context, query_of(message::QueryKind::kInterfaces, page), "interfaces",
      [&context](const auto& row) {
        return interface_row(context.applier.running(), context.supervisor.memory()->statistics(), row);
      },
      reply);
  return {};
}

}  // namespace espalier::daemon::commands
