#include "ike/daemon/reports.hpp"

namespace espalier::ike {
namespace {

using Json = nlohmann::json;

std::string spi_text(uint64_t spi) {
  return fmt::format("0x{:016x}", spi);
}

// Absent where it is over or was never meant to come.
void add_future(Json& json, const char* key, std::chrono::seconds in) {
  if (in.count() >= 0) json[key] = in.count();
}

Json child_json(const ChildReport& child) {
  Json json{{"tunnel", child.name},
            {"state", name_of(child.state)},
            {"spi_in", child.spi_in.value},
            {"spi_out", child.spi_out.value},
            {"proposal", child.suite},
            {"local_selectors", child.local_selectors},
            {"remote_selectors", child.remote_selectors},
            {"encapsulated", child.encapsulated},
            {"uptime_s", child.age.count()}};
  add_future(json, "rekey_in_s", child.rekey_in);
  add_future(json, "expires_in_s", child.expires_in);
  return json;
}

}  // namespace

Json to_json(const IkeSaReport& sa) {
  Json children = Json::array();
  for (const ChildReport& child : sa.children) children.push_back(child_json(child));
  Json json{{"id", sa.id},
            {"peer", sa.connection},
            {"state", name_of(sa.state)},
            {"role", sa.initiator ? "initiator" : "responder"},
            {"initiator_spi", spi_text(sa.initiator_spi)},
            {"responder_spi", spi_text(sa.responder_spi)},
            {"local_address", sa.local_address},
            {"remote_address", sa.remote_address},
            {"local_id", sa.local_id},
            {"remote_id", sa.remote_id},
            {"proposal", sa.suite},
            {"nat_local", sa.nat_local},
            {"nat_remote", sa.nat_remote},
            {"uptime_s", sa.age.count()},
            {"tunnels", std::move(children)}};
  add_future(json, "rekey_in_s", sa.rekey_in);
  return json;
}

Json to_json(const ConnectionReport& c) {
  Json json{{"peer", c.connection},
            {"tunnel", c.child},
            {"connection_type", c.type},
            {"state", c.up ? "up" : "down"},
            {"local_address", c.local_address},
            {"remote_address", c.remote_address},
            {"local_id", c.local_id},
            {"remote_id", c.remote_id},
            {"local_selectors", c.local_selectors},
            {"remote_selectors", c.remote_selectors}};
  if (!c.up) json["reason"] = c.why_down;
  if (!c.last_failure.empty())
    json["last_failure"] = {{"text", c.last_failure}, {"ago_s", c.last_failure_ago.count()}};
  return json;
}

Json to_json(const CoreCounters& c) {
  return {{"received", c.received},
          {"sent", c.sent},
          {"retransmitted", c.retransmitted},
          {"answered_again", c.answered_again},
          {"malformed", c.malformed},
          {"unknown_spi", c.unknown_spi},
          {"not_authentic", c.not_authentic},
          {"wrong_message_id", c.wrong_message_id},
          {"cookies_asked", c.cookies_asked},
          {"half_open_refused", c.half_open_refused},
          {"ike_established", c.ike_established},
          {"ike_failed", c.ike_failed},
          {"ike_rekeyed", c.ike_rekeyed},
          {"child_created", c.child_created},
          {"child_rekeyed", c.child_rekeyed},
          {"child_failed", c.child_failed},
          {"dpd_lost", c.dpd_lost}};
}

Json to_json(const DataplanePort::Counters& c) {
  return {{"datagrams_lost", c.datagrams_lost},
          {"parts_refused", c.parts_refused},
          {"messages_refused", c.messages_refused},
          {"requests_refused", c.requests_refused}};
}

}  // namespace espalier::ike
