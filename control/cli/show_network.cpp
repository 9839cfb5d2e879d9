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

// Of a tunnel its endpoints, which it has instead of a MAC address.
std::string station_of(const Json& row) {
  if (!row.contains("remote_address")) return text_of(row, "kind") == "vti" ? "-" : text_of(row, "mac");
  const std::string key = row.contains("key") ? " key " + text_of(row, "key") : "";
  return fmt::format("{} > {}{}{}", text_of(row, "local_address"), text_of(row, "remote_address"), key,
                     flag_of(row, "protect") ? " protected" : "");
}

std::string speed_of(const Json& row) {
  const uint64_t mbps = number_of(row, "speed_mbps");
  return mbps == 0 ? "-" : fmt::format("{}M", mbps);
}

}  // namespace

void print_interfaces(const Json& document) {
  Table table({{"Interface"},
               {"Address"},
               {"Kind"},
               {"S/L"},
               {"MAC or endpoints"},
               {"MTU", Align::kRight},
               {"Speed", Align::kRight},
               {"RX packets", Align::kRight},
               {"RX bytes", Align::kRight},
               {"TX packets", Align::kRight},
               {"TX bytes", Align::kRight},
               {"Drops", Align::kRight}});
  for (const Json& row : rows_of(document, "interfaces"))
    table.add({text_of(row, "name"), joined(rows_of(row, "addresses")), text_of(row, "kind"), state_of(row),
               station_of(row), text_of(row, "mtu_bytes"), speed_of(row), text_of(row, "rx_packets"),
               human_bytes(number_of(row, "rx_bytes")), text_of(row, "tx_packets"),
               human_bytes(number_of(row, "tx_bytes")), text_of(row, "drops")});
  std::fputs(table.render().c_str(), stdout);
}

// A line for each next hop.
void print_routes(const Json& document) {
  Table table(
      {{"Prefix"}, {"Kind"}, {"Via"}, {"Interface"}, {"Metric", Align::kRight}, {"Origin"}, {"State"}});
  for (const Json& row : rows_of(document, "routes")) {
    table.add({text_of(row, "prefix"), text_of(row, "kind"), text_of(row, "via"), text_of(row, "interface"),
               text_of(row, "metric"), text_of(row, "origin"), flag_of(row, "usable") ? "usable" : "down"});
    const Json& hops = rows_of(row, "next_hops");
    for (size_t i = 1; i < hops.size(); ++i)
      table.add({"", "", text_of(hops[i], "via"), text_of(hops[i], "interface"), "", "", ""});
  }
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
