// nat: source and destination rules, session tracking, timeouts, limits.
#include <algorithm>

#include "control/config/parse.hpp"
#include "control/shared/limits.hpp"
#include "control/shared/statistics.hpp"

namespace espalier::config {
namespace {

constexpr int64_t kMaxRuleNumber = 999999;
constexpr int64_t kMaxTimeout = 2147483;  // in milliseconds it fits 31 bits

struct TimeoutWord {
  const char* key;
  uint32_t NatTimeouts::*seconds;
};
constexpr TimeoutWord kTimeouts[] = {{"tcp-syn-sent", &NatTimeouts::tcp_syn_sent},
                                     {"tcp-syn-recv", &NatTimeouts::tcp_syn_recv},
                                     {"tcp-established", &NatTimeouts::tcp_established},
                                     {"tcp-fin-wait", &NatTimeouts::tcp_fin_wait},
                                     {"tcp-close-wait", &NatTimeouts::tcp_close_wait},
                                     {"tcp-last-ack", &NatTimeouts::tcp_last_ack},
                                     {"tcp-time-wait", &NatTimeouts::tcp_time_wait},
                                     {"tcp-close", &NatTimeouts::tcp_close},
                                     {"tcp-unacknowledged", &NatTimeouts::tcp_unacknowledged},
                                     {"udp", &NatTimeouts::udp},
                                     {"udp-stream", &NatTimeouts::udp_stream},
                                     {"icmp", &NatTimeouts::icmp},
                                     {"generic", &NatTimeouts::generic}};

Result<NatProtocol> parse_nat_protocol(std::string_view name) {
  if (name == "tcp_udp") return NatProtocol{kProtoAny, true};
  if (const auto number = find_protocol(name)) return NatProtocol{*number, false};
  return fail("is not a protocol: a name such as tcp, tcp_udp, or a number from 1 to 255");
}

NatAddresses read_addresses(Reader& rule, const char* key, bool may_have_ports) {
  NatAddresses result;
  rule.group(key, [&](Reader& reader) {
    result.address = reader.parsed("address", parse_ipv4_match).value_or(Ipv4Range{});
    result.ports = reader.parsed("port", parse_ports).value_or(PortRange{});
    if (reader.has("port") && !may_have_ports) reader.error("port", "needs protocol tcp, udp or tcp_udp");
  });
  return result;
}

struct Translation {
  NatAction action;
  Ipv4Range range;
};

// Whether every address of the range can be a host's: the dataplane drops what comes from or goes to others.
bool is_of_hosts(const Ipv4Range& range) {
  const uint32_t first = range.low >> 24, last = range.high >> 24;
  return first != 0 && last < 224 && (last < 127 || first > 127);
}

Result<Translation> parse_translation(std::string_view text) {
  if (text == "masquerade") return Translation{NatAction::kMasquerade, {}};
  const Ipv4Range range = TRY(parse_ipv4_match(text));
  if (range.negate) return fail("cannot be negated here");
  if (!is_of_hosts(range))
    return fail("has addresses that no host can have: 0.0.0.0/8, 127.0.0.0/8, or 224.0.0.0 and above");
  if (range.low == range.high) return Translation{NatAction::kAddress, range};
  return Translation{text.find('/') == text.npos ? NatAction::kRange : NatAction::kPrefix, range};
}

// A prefix is translated address by address, so both sides have as many.
bool is_one_to_one(const Ipv4Range& from, const Ipv4Range& to) {
  return !from.negate && from.high - from.low == to.high - to.low && (from.low & (from.high - from.low)) == 0;
}

void read_translation(Reader& reader, NatKind kind, NatRule& rule) {
  if (!reader.require("address")) return reader.abandon();
  const auto translation = reader.parsed("address", parse_translation);
  rule.translation_port = reader.parsed("port", parse_ports);
  if (reader.has("port") && !rule.protocol.ports())
    reader.error("port", "needs protocol tcp, udp or tcp_udp");
  if (!translation) return;
  rule.action = translation->action;
  rule.translation = translation->range;
  if (rule.action == NatAction::kMasquerade && kind == NatKind::kDestination)
    reader.error("address", "masquerade is for source rules");
  const Ipv4Range& from = kind == NatKind::kSource ? rule.source.address : rule.destination.address;
  if (rule.action == NatAction::kPrefix && !is_one_to_one(from, rule.translation))
    reader.error(
        "address",
        "a prefix is translated 1:1 and needs the rule's {} address to be a prefix of the same length",
        kind == NatKind::kSource ? "source" : "destination");
}

void read_rule(Reader& reader, NatKind kind, std::vector<NatRule>& rules) {
  const bool source = kind == NatKind::kSource;
  NatRule rule;
  rule.line = reader.line();
  rule.kind = kind;
  const auto number = reader.required_integer("rule", 1, kMaxRuleNumber);
  if (!number) return;
  rule.number = static_cast<uint32_t>(*number);
  reader.set_path(fmt::format("nat.{} rule {}", source ? "source" : "destination", rule.number));
  const char* interface = source ? "outbound-interface" : "inbound-interface";
  reader.require(interface);
  rule.interface = reader.located_string(interface);
  rule.protocol = reader.parsed("protocol", parse_nat_protocol).value_or(NatProtocol{});
  rule.source = read_addresses(reader, "source", rule.protocol.ports());
  rule.destination = read_addresses(reader, "destination", rule.protocol.ports());
  rule.disable = reader.flag("disable");
  rule.description = reader.string("description");
  const bool translates = reader.has("translation");
  // A value that is neither true nor false has been told of: nothing follows from it.
  const bool exclude = reader.optional_flag("exclude").value_or(reader.has("exclude") && !translates);
  if (exclude && translates) reader.group_error("has both translation and exclude = true: only one can be");
  if (!exclude && !translates) reader.group_error("needs either translation or exclude = true");
  reader.group("translation", [&](Reader& translation) { read_translation(translation, kind, rule); });
  rules.push_back(std::move(rule));
}

void read_rules(Reader& nat, const char* key, NatKind kind, std::vector<NatRule>& rules) {
  nat.groups(key, [&](Reader& reader) { read_rule(reader, kind, rules); });
  std::stable_sort(rules.begin(), rules.end(),
                   [](const NatRule& a, const NatRule& b) { return a.number < b.number; });
  size_t records = 0;
  for (const NatRule& rule : rules) records += rule.protocol.tcp_and_udp ? 2 : 1;
  if (records > statistics::kMaxNatRules)
    nat.error(key, "more than {} rules (tcp_udp counts twice)", statistics::kMaxNatRules);
}

}  // namespace

void parse_nat(Reader& root, Model& model) {
  Nat& nat = model.nat;
  root.group("nat", [&](Reader& reader) {
    read_rules(reader, "source", NatKind::kSource, nat.source);
    read_rules(reader, "destination", NatKind::kDestination, nat.destination);
    nat.always_track = reader.choice("sessions", kSessionsWords, false);
    reader.group("timeouts", [&](Reader& timeouts) {
      for (const TimeoutWord& word : kTimeouts)
        nat.timeouts.*word.seconds =
            static_cast<uint32_t>(timeouts.integer(word.key, 1, kMaxTimeout, nat.timeouts.*word.seconds));
    });
    reader.group("limits", [&](Reader& limits) {
      if (const auto sessions = limits.optional_integer("sessions", 1, limits::kSessions))
        nat.session_limit = static_cast<uint32_t>(*sessions);
      nat.session_limit_line = limits.line_of("sessions");
    });
  });
}

}  // namespace espalier::config
