// nat and nat66: source and destination rules, session tracking, timeouts, limits.
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

// The error names the section that has the other family.
Result<AddressRange> of_family(AddressRange range, Family family) {
  if (range.family() == family) return range;
  return fail("is {}: {} is for {}", name_of(range.family()), family == Family::kIpv4 ? "nat" : "nat66",
              name_of(family));
}

NatAddresses read_addresses(Reader& rule, const char* key, Family family, bool may_have_ports) {
  NatAddresses result{AddressRange::any(family), {}};
  rule.group(key, [&](Reader& reader) {
    const auto parse = [&](std::string_view text) -> Result<AddressRange> {
      return of_family(TRY(parse_match(text)), family);
    };
    result.address = reader.parsed("address", parse).value_or(result.address);
    result.ports = reader.parsed("port", parse_ports).value_or(PortRange{});
    if (reader.has("port") && !may_have_ports) reader.error("port", "needs protocol tcp, udp or tcp_udp");
  });
  return result;
}

struct Translation {
  NatTranslation action;
  AddressRange range;
};

// Whether every address of the range can be a host's: the dataplane drops what comes from or goes to others.
// IPv6: ::/16 holds ::, ::1 and IPv4 addresses.
bool is_of_hosts(const AddressRange& range) {
  if (range.family() == Family::kIpv6) return range.low.high.host() >> 48 != 0 && !range.high.is_multicast();
  const uint32_t first = range.low.v4().host() >> 24, last = range.high.v4().host() >> 24;
  return first != 0 && last < 224 && (last < 127 || first > 127);
}

Result<Translation> parse_translation(std::string_view text, Family family) {
  if (text == "masquerade") return Translation{NatTranslation::kMasquerade, {}};
  const AddressRange range = TRY(of_family(TRY(parse_match(text)), family));
  if (range.negate) return fail("cannot be negated here");
  if (!is_of_hosts(range))
    return fail(
        "has addresses that no host can have: {}",
        family == Family::kIpv4 ? "0.0.0.0/8, 127.0.0.0/8, or 224.0.0.0 and above" : "::/16 or multicast");
  if (range.is_host()) return Translation{NatTranslation::kAddress, range};
  return Translation{text.find('/') == text.npos ? NatTranslation::kRange : NatTranslation::kPrefix, range};
}

// A prefix is translated address by address, so both sides have as many.
bool is_one_to_one(const AddressRange& from, const AddressRange& to) {
  const auto prefix = prefix_of(from);
  return !from.negate && prefix && prefix->length == prefix_of(to)->length;
}

void read_translation(Reader& reader, NatRule& rule) {
  if (!reader.require("address")) return reader.abandon();
  const bool source = rule.kind == NatKind::kSource;
  const auto translation =
      reader.parsed("address", [&](std::string_view text) { return parse_translation(text, rule.family); });
  rule.translation_port = reader.parsed("port", parse_ports);
  if (reader.has("port") && !rule.protocol.ports())
    reader.error("port", "needs protocol tcp, udp or tcp_udp");
  if (reader.flag("random"))
    reader.error("random", "is not supported: ports are chosen as Linux does without it");
  if (!translation) return;
  rule.action = translation->action;
  rule.translation = translation->range;
  if (rule.action == NatTranslation::kMasquerade && !source)
    reader.error("address", "masquerade is for source rules");
  const AddressRange& from = source ? rule.source.address : rule.destination.address;
  if (rule.action == NatTranslation::kPrefix && !is_one_to_one(from, rule.translation))
    reader.error(
        "address",
        "a prefix is translated 1:1 and needs the rule's {} address to be a prefix of the same length",
        source ? "source" : "destination");
}

void read_rule(Reader& reader, Family family, NatKind kind, std::vector<NatRule>& rules) {
  const bool source = kind == NatKind::kSource;
  NatRule rule;
  rule.line = reader.line();
  rule.kind = kind;
  rule.family = family;
  const auto number = reader.required_integer("rule", 1, kMaxRuleNumber);
  if (!number) return;
  rule.number = static_cast<uint32_t>(*number);
  reader.set_path(path_of(rule));
  const char* interface = source ? "outbound-interface" : "inbound-interface";
  reader.require(interface);
  rule.interface = reader.located_string(interface);
  if (source && rule.interface.value == "local")
    reader.error(interface, "\"local\" is for destination rules: packets of the gateway itself");
  rule.ipsec = reader.choice("ipsec", kIpsecMatchWords, IpsecMatch::kAny);
  rule.protocol = reader.parsed("protocol", parse_nat_protocol).value_or(NatProtocol{});
  rule.source = read_addresses(reader, "source", family, rule.protocol.ports());
  rule.destination = read_addresses(reader, "destination", family, rule.protocol.ports());
  rule.disable = reader.flag("disable");
  rule.description = reader.string("description");
  const bool translates = reader.has("translation");
  // A value that is neither true nor false has been told of: nothing follows from it.
  const bool exclude = reader.optional_flag("exclude").value_or(reader.has("exclude") && !translates);
  if (exclude && translates) reader.group_error("has both translation and exclude = true: only one can be");
  if (!exclude && !translates) reader.group_error("needs either translation or exclude = true");
  reader.group("translation", [&](Reader& translation) { read_translation(translation, rule); });
  rules.push_back(std::move(rule));
}

// Behind what other sections brought; numbers begin anew in each.
void read_rules(Reader& section, const char* key, Family family, NatKind kind, std::vector<NatRule>& rules) {
  const auto first = static_cast<ptrdiff_t>(rules.size());
  section.groups(key, [&](Reader& reader) { read_rule(reader, family, kind, rules); });
  std::stable_sort(rules.begin() + first, rules.end(),
                   [](const NatRule& a, const NatRule& b) { return a.number < b.number; });
  size_t records = 0;
  for (const NatRule& rule : rules) records += rule.protocol.tcp_and_udp ? 2 : 1;
  if (records > statistics::kMaxNatRules)
    section.error(key, "more than {} rules of nat and nat66 (tcp_udp counts twice)",
                  statistics::kMaxNatRules);
}

void read_both_kinds(Reader& section, Family family, Nat& nat) {
  read_rules(section, "source", family, NatKind::kSource, nat.source);
  read_rules(section, "destination", family, NatKind::kDestination, nat.destination);
}

}  // namespace

void parse_nat(Reader& root, Model& model) {
  Nat& nat = model.nat;
  root.group("nat", [&](Reader& reader) {
    read_both_kinds(reader, Family::kIpv4, nat);
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
  root.group("nat66", [&](Reader& reader) { read_both_kinds(reader, Family::kIpv6, nat); });
}

}  // namespace espalier::config
