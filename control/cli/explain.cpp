// explain: one synthetic packet through the live tables.
#include <algorithm>
#include <cstdio>

#include "control/cli/command.hpp"

namespace espalier::cli {
namespace {

void print_lines(const Json& document) {
  size_t width = 0;
  for (const Json& line : rows_of(document, "lines")) width = std::max(width, text_of(line, "stage").size());
  for (const Json& line : rows_of(document, "lines"))
    std::puts(fmt::format("{:<{}}  {}", text_of(line, "stage"), width, text_of(line, "text")).c_str());
}

// Numbers as the socket's requests call them.
struct NumberOption {
  const char* option;
  const char* key;
};
constexpr NumberOption kNumbers[] = {
    {"sport", "sport"}, {"dport", "dport"}, {"icmp-type", "icmp_type"}, {"size", "size"}, {"ttl", "ttl"}};

}  // namespace

void describe_explain(po::options_description& options) {
  options.add_options()  //
      ("in", po::value<std::string>()->required()->value_name("IF"),
       "interface that the packet comes in by; local: made by the gateway itself")           //
      ("src", po::value<std::string>()->required()->value_name("A"), "source address")       //
      ("dst", po::value<std::string>()->required()->value_name("B"), "destination address")  //
      ("protocol", po::value<std::string>()->value_name("P"),
       "tcp, udp, icmp, icmpv6, ... or a number; default: udp")                                   //
      ("sport", po::value<uint32_t>()->value_name("N"), "source port, for ICMP the identifier")   //
      ("dport", po::value<uint32_t>()->value_name("N"), "destination port")                       //
      ("icmp-type", po::value<uint32_t>()->value_name("N"), "default: echo request")              //
      ("size", po::value<uint32_t>()->value_name("N"), "of the IP packet in bytes; default: 64")  //
      ("ttl", po::value<uint32_t>()->value_name("N"), "default: 64")                              //
      ("df", po::bool_switch(), "set \"don't fragment\"")                                         //
      ("tunnel", po::value<std::string>()->value_name("T"),
       "as if it had been decrypted by the inbound SA of this name or SPI (0x...); not with --in local");
}

int run_explain(const Invocation& invocation) {
  const po::variables_map& values = invocation.values;
  Json request{{"command", "explain"}};
  for (const char* key : {"in", "src", "dst", "protocol", "tunnel"})
    if (values.count(key) != 0) request[key] = values[key].as<std::string>();
  for (const auto& number : kNumbers)
    if (values.count(number.option) != 0) request[number.key] = values[number.option].as<uint32_t>();
  if (values["df"].as<bool>()) request["df"] = true;
  return show(invocation, request, print_lines);
}

}  // namespace espalier::cli
