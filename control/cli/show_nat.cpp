// show nat rules, nat translations.
#include <cstdio>

#include "control/cli/command.hpp"
#include "control/cli/table.hpp"

namespace espalier::cli {
namespace {

// An address with its port as in the rule: "192.0.2.0/24:1024-65535"; without one when every port matches.
std::string with_port(const Json& row, const char* address, const char* port) {
  const std::string ports = text_of(row, port);
  return ports == "any" || ports == "-" ? text_of(row, address)
                                        : fmt::format("{} port {}", text_of(row, address), ports);
}

// One direction of a session: "192.0.2.1:1024 > 198.51.100.1:80", ICMP with type, code and id as conntrack.
std::string tuple_text(const Json& tuple) {
  const std::string source = text_of(tuple, "source"), destination = text_of(tuple, "destination");
  if (tuple.contains("icmp_type"))
    return fmt::format("{} > {} type={} code={} id={}", source, destination, text_of(tuple, "icmp_type"),
                       text_of(tuple, "icmp_code"), text_of(tuple, "icmp_id"));
  if (!tuple.contains("source_port")) return fmt::format("{} > {}", source, destination);
  return fmt::format("{}:{} > {}:{}", source, text_of(tuple, "source_port"), destination,
                     text_of(tuple, "destination_port"));
}

std::string session_state(const Json& row) {
  if (row.contains("tcp_state")) return text_of(row, "tcp_state");
  if (flag_of(row, "assured")) return "ASSURED";
  return flag_of(row, "seen_reply") ? "REPLIED" : "UNREPLIED";
}

std::string rules_text(const Json& row) {
  std::string text;
  if (row.contains("source_rule")) text += "snat " + text_of(row, "source_rule");
  if (row.contains("destination_rule"))
    text += (text.empty() ? "dnat " : " dnat ") + text_of(row, "destination_rule");
  return text.empty() ? "-" : text;
}

}  // namespace

void print_nat_rules(const Json& document) {
  Table table({{"Rule", Align::kRight},
               {"Kind"},
               {"Interface"},
               {"Protocol"},
               {"Source"},
               {"Destination"},
               {"Translation"},
               {"Flows", Align::kRight}});
  for (const Json& row : rows_of(document, "rules"))
    table.add({text_of(row, "rule"), text_of(row, "kind"), text_of(row, "interface"),
               text_of(row, "protocol"), with_port(row, "source", "source_port"),
               with_port(row, "destination", "destination_port"),
               with_port(row, "translation", "translation_port"), text_of(row, "packets")});
  std::fputs(table.render().c_str(), stdout);
}

void print_nat_translations(const Json& document) {
  Table table({{"Protocol"},
               {"Original"},
               {"Reply"},
               {"State"},
               {"Rules"},
               {"Expires", Align::kRight},
               {"Packets", Align::kRight},
               {"Bytes", Align::kRight}});
  for (const Json& row : rows_of(document, "translations")) {
    const Json& original = part_of(row, "original");
    const Json& reply = part_of(row, "reply");
    table.add({text_of(row, "protocol"), tuple_text(original), tuple_text(reply), session_state(row),
               rules_text(row), human_seconds(number_of(row, "expires_s")),
               fmt::format("{}", number_of(original, "packets") + number_of(reply, "packets")),
               human_bytes(number_of(original, "bytes") + number_of(reply, "bytes"))});
  }
  std::fputs(table.render().c_str(), stdout);
}

}  // namespace espalier::cli
