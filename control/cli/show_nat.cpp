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

// "192.0.2.1:80", "[2001:db8::1]:80"
std::string endpoint(const std::string& address, const std::string& port) {
  const bool v6 = address.find(':') != address.npos;
  return v6 ? fmt::format("[{}]:{}", address, port) : fmt::format("{}:{}", address, port);
}

// One direction of a session: "192.0.2.1:1024 > 198.51.100.1:80", ICMP with type, code and id as conntrack.
std::string tuple_text(const Json& tuple) {
  const std::string source = text_of(tuple, "source"), destination = text_of(tuple, "destination");
  if (tuple.contains("icmp_type"))
    return fmt::format("{} > {} type={} code={} id={}", source, destination, text_of(tuple, "icmp_type"),
                       text_of(tuple, "icmp_code"), text_of(tuple, "icmp_id"));
  if (!tuple.contains("source_port")) return fmt::format("{} > {}", source, destination);
  return fmt::format("{} > {}", endpoint(source, text_of(tuple, "source_port")),
                     endpoint(destination, text_of(tuple, "destination_port")));
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

// "eth1", "local", "eth1 match-ipsec"
std::string interface_of(const Json& row) {
  return text_of(row, "interface") + (row.contains("ipsec") ? " " + text_of(row, "ipsec") : "");
}

// Options as the socket's requests call them.
constexpr const char* kTextOptions[] = {"address", "protocol"};
constexpr const char* kNumberOptions[] = {"port", "rule"};

Json translations_request(const po::variables_map& values) {
  Json request{{"command", "show nat translations"}};
  for (const char* key : kTextOptions)
    if (values.count(key) != 0) request[key] = values[key].as<std::string>();
  for (const char* key : kNumberOptions)
    if (values.count(key) != 0) request[key] = values[key].as<uint32_t>();
  return request;
}

// Each page answers for a part of the table.
Result<uint64_t> count_sessions(const Invocation& invocation, Json request) {
  auto client = TRY(Client::connect(invocation.socket));
  request["count"] = true;
  uint64_t count = 0;
  do {
    const Json part = TRY(client.ask(request));
    if (!flag_of(part, "ok")) return fail("{}", text_of(part, "error"));
    count += number_of(part, "count");
    request["cursor"] = number_of(part, "cursor");
  } while (request["cursor"] != 0);
  return count;
}

int run_count(const Invocation& invocation, const Json& request) {
  const auto count = count_sessions(invocation, request);
  if (!count) return refuse(invocation, count.error());
  if (invocation.json) return print_json({{"ok", true}, {"count", *count}});
  std::puts(fmt::format("{}", *count).c_str());
  return kDone;
}

}  // namespace

void describe_translations(po::options_description& options) {
  options.add_options()  //
      ("address", po::value<std::string>()->value_name("A|PREFIX"),
       "sessions that have it as source or destination, before or after translation")                       //
      ("port", po::value<uint32_t>()->value_name("N"), "likewise, of TCP and UDP")                          //
      ("protocol", po::value<std::string>()->value_name("P"), "tcp, udp, icmp, ... or a number")            //
      ("rule", po::value<uint32_t>()->value_name("N"), "sessions that the rule of this number translates")  //
      ("count", po::bool_switch(), "how many there are, and no rows")                                       //
      ("limit", po::value<uint32_t>()->value_name("N"), "at most so many rows");
}

int run_show_translations(const Invocation& invocation) {
  const po::variables_map& values = invocation.values;
  const Json request = translations_request(values);
  if (values["count"].as<bool>()) return run_count(invocation, request);
  const size_t most = values.count("limit") != 0 ? values["limit"].as<uint32_t>() : SIZE_MAX;
  return show_list(invocation, request, "translations", print_nat_translations, most);
}

void print_nat_rules(const Json& document) {
  Table table({{"Rule", Align::kRight},
               {"Kind"},
               {"Family"},
               {"Interface"},
               {"Protocol"},
               {"Source"},
               {"Destination"},
               {"Translation"},
               {"Flows", Align::kRight}});
  for (const Json& row : rows_of(document, "rules"))
    table.add({text_of(row, "rule"), text_of(row, "kind"), text_of(row, "family"), interface_of(row),
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
