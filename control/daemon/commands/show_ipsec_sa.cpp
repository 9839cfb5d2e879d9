// "show ipsec sa": every installed SA with its counters; static ones that are configured and not installed
// are listed as down.
#include "control/daemon/commands/page.hpp"
#include "control/daemon/commands/sa_list.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

Json identity_json(const SaRecord& sa) {
  const bool out = sa.direction == Direction::kOut;
  return {{"connection", sa.name.view()},
          {"direction", word(sa.direction)},
          {"spi", sa.spi.value},
          {"reqid", sa.reqid.value},
          {"mode", "tunnel"},
          {"local_address", to_text(out ? sa.source : sa.destination)},
          {"remote_address", to_text(out ? sa.destination : sa.source)},
          {"proposal", word(sa.algorithm)},
          {"static_key", (sa.flags & kSaStaticKey) != 0}};
}

// The vault outlives the dataplane: without one nothing passes by what is in it.
void add_state(Json& json, const SaCell& cell, bool dataplane_runs) {
  json["state"] = dataplane_runs ? "up" : "down";
  if (!dataplane_runs) json["reason"] = "the dataplane does not run; see the log of espalierd";
  const uint32_t now_s = boot_time_s(), installed_s = cell.owner.installed_s.load(kRelaxed);
  if (dataplane_runs && installed_s != 0) json["uptime_s"] = now_s - std::min(installed_s, now_s);
}

Json installed_row(const SharedMemory& memory, const InstalledSa& sa, bool dataplane_runs) {
  Json json = identity_json(sa.record);
  const SaCell& cell = memory.cells().cell(sa.index);
  add_state(json, cell, dataplane_runs);
  json["packets"] = cell.counters.packets.load(kRelaxed);
  json["bytes"] = cell.counters.bytes.load(kRelaxed);
  if (sa.record.direction == Direction::kOut) {
    json["next_sequence"] = cell.outbound.next_sequence.load(kRelaxed);
    json["sequence_limit"] = cell.outbound.sequence_limit.load(kRelaxed);
    json["drops"] = {{"esp_sequence_not_reserved", cell.counters.no_reserve.load(kRelaxed)}};
    if (const uint32_t mtu = cell.counters.path_mtu_bytes.load(kRelaxed); mtu != 0)
      json["path_mtu_bytes"] = mtu;
  } else {
    json["replay_window"] = sa.record.replay_window;
    json["highest_sequence"] = cell.window.top.load(kRelaxed);
    json["drops"] = {{"esp_replay", cell.counters.replay.load(kRelaxed)},
                     {"esp_icv", cell.counters.icv.load(kRelaxed)},
                     {"esp_malformed", cell.counters.malformed.load(kRelaxed)},
                     {"esp_wrong_peer", cell.counters.mismatch.load(kRelaxed)}};
  }
  return json;
}

bool is_same_sa(const SaRecord& a, const SaRecord& b) {
  return a.spi == b.spi && a.direction == b.direction && a.destination == b.destination;
}

// Configured, not in the vault: the dataplane has not taken it, and why is in Applier::last_refusal().
Json down_row(const Context& context, const SaRecord& sa) {
  Json json = identity_json(sa);
  json["state"] = "down";
  const std::string& refusal = context.applier.last_refusal();
  json["reason"] = refusal.empty() ? "the dataplane has not installed it" : refusal;
  return json;
}

std::vector<Json> all_rows(Context& context, const SaList& list) {
  std::vector<Json> rows;
  for (const auto& sa : list.sas)
    rows.push_back(installed_row(*context.supervisor.memory(), sa, context.supervisor.ready()));
  for (const SaRecord& configured : context.applier.running().states) {
    const auto installed = std::any_of(list.sas.begin(), list.sas.end(),
                                       [&](const auto& sa) { return is_same_sa(sa.record, configured); });
    if (!installed) rows.push_back(down_row(context, configured));
  }
  return rows;
}

}  // namespace

Result<Json> show_ipsec_sa(Context& context, Request& request) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  const SharedMemory* memory = context.supervisor.memory();
  const SaList list = memory == nullptr ? SaList{} : installed_sas(*memory);
  Json document = page_of("sas", all_rows(context, list), page, [](const Json& row) { return row; });
  document["damaged_records"] = list.damaged;
  return document;
}

}  // namespace espalier::daemon::commands
