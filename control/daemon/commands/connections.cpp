// "show connections", "show ike sa", and what the operator can do to a connection: "initiate", "terminate",
// "rekey". "log" says how much espalier-ike tells.
#include "control/daemon/commands/connections.hpp"

#include "control/daemon/commands/page.hpp"
#include "control/daemon/text.hpp"
#include "control/daemon/untrusted_json.hpp"

namespace espalier::daemon::commands {
namespace {

using Name = std::pair<std::string, std::string>;  // peer, tunnel

std::map<Name, Json> by_name(Json rows) {
  std::map<Name, Json> result;
  for (Json& row : rows) result.emplace(Name(text_at(row, "peer"), text_at(row, "tunnel")), std::move(row));
  return result;
}

std::string prefixes_text(const std::vector<IpPrefix>& prefixes) {
  std::string text;
  for (const IpPrefix& prefix : prefixes) text += (text.empty() ? "" : ", ") + to_text(prefix);
  return text;
}

// Of a tunnel that espalier-ike knows nothing of.
Json down_row(const config::IkeConnection& peer, const config::IkeChild& child, const std::string& why) {
  return {{"peer", peer.name},
          {"tunnel", child.name},
          {"connection_type", word(peer.type)},
          {"state", "down"},
          {"reason", why},
          {"local_address", peer.local.is_unspecified() ? "any" : to_text(peer.local)},
          {"remote_address", peer.remotes.empty() ? "any" : peer.remotes.front()},
          {"local_id", peer.local_id},
          {"remote_id", peer.remote_id},
          {"local_selectors", prefixes_text(child.local)},
          {"remote_selectors", prefixes_text(child.remote)}};
}

std::vector<Json> completed(const Context& context, std::map<Name, Json> known, const std::string& failure) {
  std::vector<Json> rows;
  for (const config::IkeConnection& peer : context.applier.running().ike.connections) {
    std::string why = context.ike.why_left_out(peer.name);
    if (why.empty()) why = failure.empty() ? "espalier-ike has not taken it yet" : failure;
    for (const config::IkeChild& child : peer.children) {
      const auto found = known.find({peer.name, child.name});
      rows.push_back(found != known.end() ? std::move(found->second) : down_row(peer, child, why));
      rows.back()["reqid"] = child.reqid.value;
    }
  }
  return rows;
}

// Hands espalier-ike's answer on, without its "ok".
void pass(Context& context, const Json& request, const Reply& reply) {
  context.ike.request(request, [reply](Result<Json> answer) {
    if (!answer) return reply(error_reply(answer.error()));
    answer->erase("ok");
    reply(ok_reply(std::move(*answer)));
  });
}

Result<const config::IkeConnection*> peer_named(const Context& context, std::string_view name) {
  const auto& peers = context.applier.running().ike.connections;
  const auto found = std::ranges::find(peers, name, &config::IkeConnection::name);
  if (found == peers.end()) return fail("there is no peer {}, or it is disabled", config::quoted(name));
  return &*found;
}

// A peer that is configured, and of its tunnels one, or all where none is named.
Result<void> command_of_peer(const char* name, Context& context, Request& request, const Reply& reply) {
  const std::string peer(TRY(request.required_text("peer")));
  const std::string tunnel(TRY(request.text("tunnel")).value_or(""));
  TRY(request.no_others());
  const auto* found = TRY(peer_named(context, peer));
  const bool has_tunnel =
      tunnel.empty() || std::any_of(found->children.begin(), found->children.end(),
                                    [&](const auto& each) { return each.name == tunnel; });
  if (!has_tunnel) return fail("peer {} has no tunnel {}", config::quoted(peer), config::quoted(tunnel));
  pass(context, {{"request", name}, {"peer", peer}, {"tunnel", tunnel}}, reply);
  return {};
}

}  // namespace

void ask_connections(Context& context, std::function<void(std::vector<Json> rows)> done) {
  context.ike.request({{"request", "connections"}}, [&context, done = std::move(done)](Result<Json> answer) {
    std::map<Name, Json> known;
    if (answer) known = by_name(rows_at(*answer, "connections"));
    done(completed(context, std::move(known), answer ? "" : answer.error().text));
  });
}

std::unordered_map<uint32_t, const Json*> rows_by_reqid(const config::IkeDocument& document,
                                                        const std::vector<Json>& rows) {
  std::unordered_map<uint32_t, const Json*> result;
  if (!document.wanted()) return result;
  for (const Json& row : rows) result.emplace(row["reqid"].get<uint32_t>(), &row);
  return result;
}

std::string tunnel_name(const Json& row) {
  return fmt::format("{}-{}", text_at(row, "peer"), text_at(row, "tunnel"));
}

Result<void> show_connections(Context& context, Request& request, const Reply& reply) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  ask_connections(context, [page, reply](const std::vector<Json>& rows) {
    reply(ok_reply(page_of("connections", rows, page, [](const Json& row) { return row; })));
  });
  return {};
}

Result<void> show_ike_sa(Context& context, Request& request, const Reply& reply) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  if (!context.ike.wanted()) return reply(ok_reply({{"sas", Json::array()}, {"cursor", 0}})), Result<void>();
  context.ike.request({{"request", "ike_sas"}}, [page, reply](Result<Json> answer) {
    if (!answer) return reply(error_reply(answer.error()));
    const Json sas = rows_at(*answer, "sas");
    reply(ok_reply(page_of("sas", sas, page, [](const Json& row) { return row; })));
  });
  return {};
}

Result<void> initiate(Context& context, Request& request, const Reply& reply) {
  return command_of_peer("initiate", context, request, reply);
}
Result<void> terminate(Context& context, Request& request, const Reply& reply) {
  return command_of_peer("terminate", context, request, reply);
}
Result<void> rekey(Context& context, Request& request, const Reply& reply) {
  return command_of_peer("rekey", context, request, reply);
}

Result<void> set_log(Context& context, Request& request, const Reply& reply) {
  Json wanted{{"request", "log"}, {"level", TRY(request.required_text("level"))}};
  for (const char* key : {"subsystem", "peer"})
    if (const auto value = TRY(request.text(key))) wanted[key] = *value;
  TRY(request.no_others());
  if (wanted.contains("peer")) TRY(peer_named(context, wanted["peer"].get_ref<const std::string&>()));
  pass(context, wanted, reply);
  return {};
}

}  // namespace espalier::daemon::commands
