// show interfaces, route, neighbors.
#include <cstdio>

#include "control/cli/command.hpp"
#include "control/cli/table.hpp"

namespace espalier::cli {
namespace {

std::string joined(const Json& list) {
  std::string text;
  for (const Json& item : list) text += (text.empty() ? "" : " ") + text_of(item);
  return text.empty() ? "-" : text;
}

// As VyOS's S/L column: administrative state and link, each u or D.
std::string state_of(const Json& row) {
  if (!flag_of(row, "admin_up")) return "A/D";
  return flag_of(row, "link_up") ? "u/u" : "u/D";
}

std::string speed_of(const Json& row) {
  const uint64_t mbps = number_of(row, "speed_mbps");
  return mbps == 0 ? "-" : fmt::format("{}M", mbps);
}

}  // namespace

void print_interfaces(const Json& document) {
  Table table({{"Interface"},
               {"Address"},
               {"S/L"},
               {"MAC"},
               {"MTU", Align::kRight},
               {"Speed", Align::kRight},
               {"RX packets", Align::kRight},
               {"RX bytes", Align::kRight},
               {"TX packets", Align::kRight},
               {"TX bytes", Align::kRight},
               {"Drops", Align::kRight}});
  for (const Json& row : rows_of(document, "interfaces"))
    table.add({text_of(row, "name"), joined(rows_of(row, "addresses")), state_of(row), text_of(row, "mac"),
               text_of(row, "mtu_bytes"), speed_of(row), text_of(row, "rx_packets"),
               human_bytes(number_of(row, "rx_bytes")), text_of(row, "tx_packets"),
               human_bytes(number_of(row, "tx_bytes")), text_of(row, "drops")});
  std::fputs(table.render().c_str(), stdout);
}

void print_routes(const Json& document) {
  Table table({{"Prefix"}, {"Kind"}, {"Via"}, {"Interface"}, {"Origin"}, {"State"}});
  for (const Json& row : rows_of(document, "routes"))
    table.add({text_of(row, "prefix"), text_of(row, "kind"), text_of(row, "via"), text_of(row, "interface"),
               flag_of(row, "connected") ? "connected" : "static",
               flag_of(row, "usable") ? "usable" : "down"});
  std::fputs(table.render().c_str(), stdout);
}

void print_neighbors(const Json& document) {
  Table table({{"Address"},
               {"Interface"},
               {"MAC"},
               {"State"},
               {"Confirmed", Align::kRight},
               {"Queued", Align::kRight}});
  for (const Json& row : rows_of(document, "neighbors"))
    table.add({text_of(row, "address"), text_of(row, "interface"), text_of(row, "mac"), text_of(row, "state"),
               human_seconds(number_of(row, "age_s")), text_of(row, "queued_packets")});
  std::fputs(table.render().c_str(), stdout);
}

}  // namespace espalier::cli
