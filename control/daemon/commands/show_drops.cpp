// "show drops": every reason with its count, in all and per interface, and what the SAs count themselves.
#include "control/daemon/commands/sa_list.hpp"
#include "control/daemon/commands/totals.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

Json reason_row(const config::Tables& tables, const statistics::Segment& segment,
                const DropReasonInfo& info) {
  const auto reason = static_cast<size_t>(info.reason);
  uint64_t packets = 0;
  Json interfaces = Json::object();
  for (size_t i = 0; i < statistics::kMaxInterfaces; ++i) {
    const uint64_t count = total(
        segment, [=](const auto& block) -> auto& { return block.drops[i][reason]; });
    packets += count;
    if (count != 0) interfaces[interface_name(tables, InterfaceIndex(static_cast<uint16_t>(i)))] = count;
  }
  return {{"reason", info.name}, {"stage", info.stage}, {"packets", packets},
          {"lost", info.drop},   {"help", info.help},   {"interfaces", std::move(interfaces)}};
}

void add_tunnel_rows(Json& rows, const SharedMemory& memory, const InstalledSa& sa) {
  const CellCounters& counters = memory.cells().cell(sa.index).counters;
  const auto add = [&](DropReason reason, const std::atomic<uint64_t>& counter) {
    const uint64_t packets = counter.load(std::memory_order_relaxed);
    if (packets == 0) return;
    rows.push_back({{"connection", sa.record.name.view()},
                    {"direction", word(sa.record.direction)},
                    {"spi", sa.record.spi.value},
                    {"reason", info(reason).name},
                    {"packets", packets}});
  };
  add(DropReason::kEspReplay, counters.replay);
  add(DropReason::kEspIcv, counters.icv);
  add(DropReason::kEspMalformed, counters.malformed);
  add(DropReason::kEspWrongPeer, counters.mismatch);
  add(DropReason::kEspSequenceNotReserved, counters.no_reserve);
  add(sa.record.direction == Direction::kOut ? DropReason::kEspOutExpired : DropReason::kEspInExpired,
      counters.expired);
}

}  // namespace

Result<Json> show_drops(Context& context, Request& request) {
  const bool all = TRY(request.flag("all"));
  TRY(request.no_others());
  const auto* segment = TRY(statistics_of(context));
  Json drops = Json::array();
  for (const auto& info : kDropReasonTable) {
    if (info.reason == DropReason::kNone) continue;
    Json row = reason_row(context.applier.running(), *segment, info);
    if (all || row["packets"] != 0) drops.push_back(std::move(row));
  }
  Json tunnels = Json::array();
  const SharedMemory& memory = *context.supervisor.memory();
  for (const auto& sa : installed_sas(memory).sas) add_tunnel_rows(tunnels, memory, sa);
  return Json{{"drops", std::move(drops)}, {"tunnels", std::move(tunnels)}};
}

}  // namespace espalier::daemon::commands
