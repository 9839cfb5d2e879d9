// "show ipsec sa": every installed SA with its counters; static ones that are configured and not installed,
// and tunnels that have no SA, are listed as down.
#include <set>

#include "control/daemon/commands/connections.hpp"
#include "control/daemon/commands/page.hpp"
#include "control/daemon/commands/sa_list.hpp"
#include "control/daemon/text.hpp"
#include "control/daemon/untrusted_json.hpp"

namespace espalier::daemon::commands {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Only what is limited.
Json limits_json(const SaLimits& l) {
  Json json = Json::object();
  const auto add = [&](const char* key, uint64_t limit) {
    if (limit != 0) json[key] = limit;
  };
  add("soft_packets", l.soft_packets), add("hard_packets", l.hard_packets);
  add("soft_bytes", l.soft_bytes), add("hard_bytes", l.hard_bytes);
  add("soft_s", l.soft_seconds), add("hard_s", l.hard_seconds);
  return json;
}

Json encap_json(const SaRecord& sa) {
  return {{"type", "espinudp"},
          {"source_port", sa.encap_source_port},
          {"destination_port", sa.encap_destination_port},
          {"keepalive_s", sa.keepalive_s},
          {"mapping", (sa.flags & kSaMapping) != 0}};
}

Json selector_json(const Selector& s) {
  const bool icmp = config::is_icmp(s.protocol);
  return {{"source", to_text(s.source)},
          {"destination", to_text(s.destination)},
          {"protocol", config::protocol_name(s.protocol)},
          {icmp ? "icmp_type" : "source_port", to_text(s.source_port)},
          {icmp ? "icmp_code" : "destination_port", to_text(s.destination_port)}};
}

Json identity_json(const config::Tables& tables, const SaRecord& sa) {
  const bool out = sa.direction == Direction::kOut;
  Json json{{"connection", sa.name.view()},
            {"direction", word(sa.direction)},
            {"spi", sa.spi.value},
            {"reqid", sa.reqid.value},
            {"mode", word(sa.mode)},
            {"local_address", to_text(out ? sa.source : sa.destination)},
            {"remote_address", to_text(out ? sa.destination : sa.source)},
            {"proposal", proposal_text(sa.algorithm)},
            {"encryption", config::cipher_name(sa.algorithm)},
            {"esn", (sa.flags & kSaEsn) != 0},
            {"limits", limits_json(sa.limits)},
            {"static_key", (sa.flags & kSaStaticKey) != 0}};
  if (!sa.algorithm.is_aead()) json["hash"] = config::hash_name(sa.algorithm.integrity);
  if ((sa.flags & kSaEncap) != 0) json["encap"] = encap_json(sa);
  if ((sa.flags & kSaHasSelector) != 0) json["selector"] = selector_json(sa.selector);
  if (sa.vti != kNoInterface) json["vti"] = interface_name(tables, sa.vti);
  return json;
}

uint32_t age_s(const SaCell& cell) {
  const uint32_t now_s = boot_time_s(), installed_s = cell.owner.installed_s.load(kRelaxed);
  return installed_s == 0 ? 0 : now_s - std::min(installed_s, now_s);
}

// The limit that its counters have reached; the dataplane noted that there was one.
std::string expiry_text(const SaRecord& sa, const SaCell& cell) {
  const auto reached = [](uint64_t limit, uint64_t count) { return limit != 0 && count >= limit; };
  const SaLimits& l = sa.limits;
  if (reached(l.hard_packets, cell.counters.packets.load(kRelaxed)))
    return fmt::format("expired after {} packets (hard-packets): give it another key", l.hard_packets);
  if (reached(l.hard_seconds, age_s(cell)))
    return fmt::format("expired after {} s (hard-seconds): give it another key", l.hard_seconds);
  if (l.hard_bytes != 0)
    return fmt::format("expired after {} bytes (hard-bytes): give it another key", l.hard_bytes);
  return "expired by a hard limit: give it another key";
}

// The vault outlives the dataplane: without one nothing passes by what is in it.
void add_state(Json& json, const SaRecord& sa, const SaCell& cell, bool dataplane_runs) {
  const bool expired = cell.counters.has_expired(kExpiredHard);
  json["state"] = dataplane_runs && !expired ? "up" : "down";
  if (expired)
    json["reason"] = expiry_text(sa, cell);
  else if (!dataplane_runs)
    json["reason"] = "the dataplane does not run; see the log of espalierd";
  if (expired || cell.counters.has_expired(kExpiredSoft)) json["expired"] = expired ? "hard" : "soft";
  if (json["state"] == "up" && cell.owner.installed_s.load(kRelaxed) != 0) json["uptime_s"] = age_s(cell);
}

void add_outbound(Json& json, const SaCell& cell) {
  json["next_sequence"] = cell.outbound.next_sequence.load(kRelaxed);
  json["sequence_limit"] = cell.outbound.sequence_limit.load(kRelaxed);
  json["drops"] = {{"esp_sequence_not_reserved", cell.counters.no_reserve.load(kRelaxed)},
                   {"esp_out_expired", cell.counters.expired.load(kRelaxed)}};
  if (const uint32_t mtu = cell.counters.path_mtu_bytes.load(kRelaxed); mtu != 0)
    json["path_mtu_bytes"] = mtu;
}

void add_inbound(Json& json, const SaRecord& sa, const SaCell& cell) {
  json["replay_window"] = sa.replay_window;
  json["highest_sequence"] = cell.window.top.load(kRelaxed);
  json["drops"] = {{"esp_replay", cell.counters.replay.load(kRelaxed)},
                   {"esp_icv", cell.counters.icv.load(kRelaxed)},
                   {"esp_malformed", cell.counters.malformed.load(kRelaxed)},
                   {"esp_wrong_peer", cell.counters.mismatch.load(kRelaxed)},
                   {"esp_in_expired", cell.counters.expired.load(kRelaxed)}};
  if (const auto peer = cell.peer.get())
    json["learned_peer"] = {{"address", to_text(peer->address)}, {"port", peer->port}};
}

Json installed_row(const Context& context, const InstalledSa& sa) {
  Json json = identity_json(context.applier.running(), sa.record);
  const SaCell& cell = context.supervisor.memory()->cells().cell(sa.index);
  add_state(json, sa.record, cell, context.supervisor.ready());
  json["packets"] = cell.counters.packets.load(kRelaxed);
  json["bytes"] = cell.counters.bytes.load(kRelaxed);
  const uint32_t used_s = cell.counters.last_used_s.load(kRelaxed), now_s = boot_time_s();
  if (used_s != 0) json["idle_s"] = now_s - std::min(used_s, now_s);
  if (sa.record.direction == Direction::kOut)
    add_outbound(json, cell);
  else
    add_inbound(json, sa.record, cell);
  return json;
}

// Configured, not in the vault: it reached a hard limit, or the dataplane has not taken it, and why is in
// Applier::last_refusal().
Json down_row(const Context& context, const SaRecord& sa) {
  Json json = identity_json(context.applier.running(), sa);
  json["state"] = "down";
  const std::string& refusal = context.applier.last_refusal();
  if (context.events.has_expired(sa)) {
    json["expired"] = "hard";
    json["reason"] = "expired by a hard limit: give it another key";
  } else {
    json["reason"] = refusal.empty() ? "the dataplane has not installed it" : refusal;
  }
  return json;
}

// What is known of the connection by its name, and of the peer that it leads to.
void add_tunnel(Json& json, const Json& row) {
  json["connection"] = tunnel_name(row);
  for (const char* key : {"peer", "tunnel", "local_id", "remote_id"})
    if (row.contains(key)) json[key] = row[key];
}

// A tunnel without any SA.
Json tunnel_down_row(const Json& row) {
  Json json{{"direction", nullptr}, {"proposal", nullptr}, {"static_key", false}, {"state", "down"}};
  add_tunnel(json, row);
  for (const char* key : {"reqid", "local_address", "remote_address", "last_failure"})
    if (row.contains(key)) json[key] = row[key];
  const std::string reason = text_at(row, "reason");
  json["reason"] =
      reason.empty() ? "it has no SA; the dataplane or espalier-ike has just been started" : reason;
  return json;
}

// Each SA of IKE under the name of its tunnel.
std::vector<Json> all_rows(Context& context, const SaList& list, const std::vector<Json>& tunnels) {
  using Id = std::tuple<Direction, Spi, IpAddress>;
  const auto id_of = [](const SaRecord& sa) { return Id(sa.direction, sa.spi, sa.destination); };
  std::vector<Json> rows;
  std::set<Id> installed;
  std::set<uint32_t> alive;
  const auto tunnel_of = rows_by_reqid(context.applier.running().ike, tunnels);
  for (const auto& sa : list.sas) {
    rows.push_back(installed_row(context, sa));
    installed.insert(id_of(sa.record));
    const auto tunnel = tunnel_of.find(sa.record.reqid.value);
    if (tunnel == tunnel_of.end() || (sa.record.flags & kSaStaticKey) != 0) continue;
    add_tunnel(rows.back(), *tunnel->second);
    alive.insert(tunnel->first);
  }
  for (const SaRecord& configured : context.applier.running().states)
    if (!installed.contains(id_of(configured))) rows.push_back(down_row(context, configured));
  for (const Json& tunnel : tunnels)
    if (!alive.contains(tunnel["reqid"].get<uint32_t>())) rows.push_back(tunnel_down_row(tunnel));
  return rows;
}

}  // namespace

Result<void> show_ipsec_sa(Context& context, Request& request, const Reply& reply) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  ask_connections(context, [&context, page, reply](const std::vector<Json>& tunnels) {
    const SharedMemory* memory = context.supervisor.memory();
    const SaList list = memory == nullptr ? SaList{} : installed_sas(*memory);
    Json document =
        page_of("sas", all_rows(context, list, tunnels), page, [](const Json& row) { return row; });
    document["damaged_records"] = list.damaged;
    reply(ok_reply(std::move(document)));
  });
  return {};
}

}  // namespace espalier::daemon::commands
