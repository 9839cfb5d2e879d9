// show drops, pipeline, workers, status.
#include <cstdio>

#include "control/cli/command.hpp"
#include "control/cli/table.hpp"

namespace espalier::cli {
namespace {

std::string interfaces_text(const Json& row) {
  std::string text;
  for (const auto& [name, count] : part_of(row, "interfaces").items())
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, count.dump());
  return text.empty() ? "-" : text;
}

// The gateway's own packets (ARP, pings) are accounted for in the same table and are no losses.
void add_reasons(Table& table, const Json& rows, bool lost) {
  for (const Json& row : rows)
    if (flag_of(row, "lost") == lost)
      table.add(
          {text_of(row, "reason"), text_of(row, "packets"), interfaces_text(row), text_of(row, "help")});
}

void print_drops(const Json& document) {
  const std::vector<Table::Column> columns{
      {"Reason"}, {"Packets", Align::kRight}, {"By interface"}, {"Meaning"}};
  Table lost(columns), used(columns);
  add_reasons(lost, rows_of(document, "drops"), true);
  add_reasons(used, rows_of(document, "drops"), false);
  std::fputs(lost.empty() ? "no drops\n" : lost.render().c_str(), stdout);
  if (!used.empty()) std::fputs(("\nUsed by the gateway itself:\n" + used.render()).c_str(), stdout);
  Table tunnels({{"Connection"}, {"Direction"}, {"SPI"}, {"Reason"}, {"Packets", Align::kRight}});
  for (const Json& row : rows_of(document, "tunnels"))
    tunnels.add({text_of(row, "connection"), text_of(row, "direction"),
                 fmt::format("0x{:08x}", number_of(row, "spi")), text_of(row, "reason"),
                 text_of(row, "packets")});
  if (!tunnels.empty()) std::fputs(("\nBy tunnel:\n" + tunnels.render()).c_str(), stdout);
}

double real_of(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_number() ? found->get<double>() : 0;
}

}  // namespace

void describe_drops(po::options_description& options) {
  options.add_options()("all", po::bool_switch(), "also the reasons that have not occurred");
}

int run_show_drops(const Invocation& invocation) {
  Json request{{"command", "show drops"}};
  if (invocation.values["all"].as<bool>()) request["all"] = true;
  return show(invocation, request, print_drops);
}

void print_pipeline(const Json& document) {
  Table table({{"Stage"}, {"Packets", Align::kRight}, {"Cycles/packet", Align::kRight}});
  for (const Json& row : rows_of(document, "stages"))
    table.add({text_of(row, "stage"), text_of(row, "packets"),
               fmt::format("{:.1f}", real_of(row, "cycles_per_packet"))});
  std::fputs(table.render().c_str(), stdout);
}

void print_workers(const Json& document) {
  Table table({{"Worker", Align::kRight},
               {"Polls", Align::kRight},
               {"Idle", Align::kRight},
               {"Sleeps", Align::kRight},
               {"Flow hits", Align::kRight},
               {"Flow misses", Align::kRight},
               {"Handed over", Align::kRight},
               {"Made", Align::kRight}});
  for (const Json& row : rows_of(document, "workers"))
    table.add({text_of(row, "worker"), text_of(row, "polls"),
               fmt::format("{:.1f}%", real_of(row, "idle_percent")), text_of(row, "sleeps"),
               text_of(row, "flow_hits"), text_of(row, "flow_misses"), text_of(row, "handed_over"),
               text_of(row, "made")});
  std::fputs(table.render().c_str(), stdout);
}

void print_status(const Json& document) {
  Table table({{"Item"}, {"Value"}});
  for (const auto& [key, value] : document.items())
    if (key != "ok") table.add({key, text_of(document, key.c_str())});
  std::fputs(table.render().c_str(), stdout);
}

}  // namespace espalier::cli
