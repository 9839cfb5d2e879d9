// show ike sa, show connections; initiate, terminate, rekey, log.
#include <cstdio>

#include "control/cli/command.hpp"
#include "control/cli/table.hpp"

namespace espalier::cli {
namespace {

std::string uptime_text(const Json& row) {
  return row.contains("uptime_s") ? human_seconds(number_of(row, "uptime_s")) : "-";
}

// "us", "them", "both": who is behind a NAT.
std::string nat_text(const Json& sa) {
  const bool us = flag_of(sa, "nat_local"), them = flag_of(sa, "nat_remote");
  return us && them ? "both" : us ? "us" : them ? "them" : "no";
}

std::string future_text(const Json& row, const char* key) {
  return row.contains(key) ? human_seconds(number_of(row, key)) : "-";
}

// What was asked for is under way when espalierd has answered.
int run_command_of_peer(const Invocation& invocation, const char* command, const char* done) {
  const std::string peer = invocation.values["PEER"].as<std::string>();
  Json request{{"command", command}, {"peer", peer}};
  std::string whom = peer;
  if (invocation.values.count("TUNNEL") != 0) {
    request["tunnel"] = invocation.values["TUNNEL"].as<std::string>();
    whom += " " + invocation.values["TUNNEL"].as<std::string>();
  }
  const auto document = ask(invocation, request);
  if (!document) return refuse(invocation, document.error());
  if (invocation.json) return print_json(*document);
  std::puts(fmt::format("{}: {}; see espalier show connections", whom, done).c_str());
  return kDone;
}

}  // namespace

int run_initiate(const Invocation& invocation) {
  return run_command_of_peer(invocation, "initiate", "is being initiated");
}
int run_terminate(const Invocation& invocation) {
  return run_command_of_peer(invocation, "terminate", "is being closed");
}
int run_rekey(const Invocation& invocation) {
  return run_command_of_peer(invocation, "rekey", "is being rekeyed");
}

int run_log(const Invocation& invocation) {
  const po::variables_map& values = invocation.values;
  Json request{{"command", "log"}, {"level", values["LEVEL"].as<std::string>()}};
  if (values.count("SUBSYSTEM") != 0 && values["SUBSYSTEM"].as<std::string>() != "all")
    request["subsystem"] = values["SUBSYSTEM"].as<std::string>();
  if (values.count("PEER") != 0) request["peer"] = values["PEER"].as<std::string>();
  return show(invocation, request, [](const Json&) {});
}

void print_ike_sas(const Json& document) {
  Table table({{"Peer"},
               {"State"},
               {"Uptime"},
               {"Role"},
               {"Local address"},
               {"Remote address"},
               {"Local ID"},
               {"Remote ID"},
               {"Proposal"},
               {"NAT"},
               {"Rekey in"},
               {"Tunnels", Align::kRight}});
  for (const Json& sa : rows_of(document, "sas"))
    table.add({text_of(sa, "peer"), text_of(sa, "state"), uptime_text(sa), text_of(sa, "role"),
               text_of(sa, "local_address"), text_of(sa, "remote_address"), text_of(sa, "local_id"),
               text_of(sa, "remote_id"), text_of(sa, "proposal"), nat_text(sa), future_text(sa, "rekey_in_s"),
               std::to_string(rows_of(sa, "tunnels").size())});
  std::fputs(table.render().c_str(), stdout);
}

void print_connections(const Json& document) {
  Table table({{"Peer"},
               {"Tunnel"},
               {"State"},
               {"Type"},
               {"Local address"},
               {"Remote address"},
               {"Local TS"},
               {"Remote TS"},
               {"Local ID"},
               {"Remote ID"}});
  for (const Json& row : rows_of(document, "connections"))
    table.add({text_of(row, "peer"), text_of(row, "tunnel"), text_of(row, "state"),
               text_of(row, "connection_type"), text_of(row, "local_address"), text_of(row, "remote_address"),
               text_of(row, "local_selectors"), text_of(row, "remote_selectors"), text_of(row, "local_id"),
               text_of(row, "remote_id")});
  std::fputs(table.render().c_str(), stdout);
  std::string told;  // a failure is the peer's: once for all its tunnels
  for (const Json& row : rows_of(document, "connections")) {
    const std::string peer = text_of(row, "peer");
    if (row.contains("reason"))
      std::puts(
          fmt::format("{} {} is down: {}", peer, text_of(row, "tunnel"), printable(text_of(row, "reason")))
              .c_str());
    if (!row.contains("last_failure") || std::exchange(told, peer) == peer) continue;
    const Json& failure = part_of(row, "last_failure");
    std::puts(fmt::format("{}: last failure {} ago: {}", peer, human_seconds(number_of(failure, "ago_s")),
                          printable(text_of(failure, "text")))
                  .c_str());
  }
}

}  // namespace espalier::cli
