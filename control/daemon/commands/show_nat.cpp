// "show nat rules": the running configuration's rules with how often each started a flow.
// "show nat translations": the sessions of the dataplane.
#include "control/daemon/commands/page.hpp"
#include "control/daemon/commands/totals.hpp"
#include "control/daemon/text.hpp"

namespace espalier::daemon::commands {
namespace {

std::string match_text(const NatMatch& match) {
  return (match.negate ? "!" : "") + address_range_text(match.low, match.high);
}

std::string translation_text(const NatRuleRecord& rule) {
  const bool has_address =
      rule.translation != NatTranslation::kExclude && rule.translation != NatTranslation::kMasquerade;
  return has_address ? address_range_text(rule.address_low, rule.address_high)
                     : std::string(word(rule.translation));
}

Json rule_row(const config::Tables& tables, const statistics::Segment* segment, const NatRuleRecord& rule) {
  Json json{{"kind", rule.kind == NatKind::kSource ? "source" : "destination"},
            {"rule", rule.number},
            {"family", word(rule.family)},
            {"interface", rule.local_output ? "local" : interface_name(tables, rule.interface)},
            {"protocol", config::protocol_name(rule.protocol)},
            {"source", match_text(rule.source)},
            {"source_port", to_text(rule.source.ports)},
            {"destination", match_text(rule.destination)},
            {"destination_port", to_text(rule.destination.ports)},
            {"translation", translation_text(rule)}};
  if (rule.ipsec != IpsecMatch::kAny)
    json["ipsec"] = rule.ipsec == IpsecMatch::kIpsec ? "match-ipsec" : "match-none";
  if (rule.has_port_range) json["translation_port"] = to_text(rule.ports);
  const auto kind = static_cast<size_t>(rule.kind);
  if (segment != nullptr && rule.index < statistics::kMaxNatRules)
    add_totals(
        json, "", *segment, [&](const auto& block) -> auto& { return block.nat_rules[kind][rule.index]; });
  return json;
}

// As conntrack prints a tuple: ICMP queries have type, code and id instead of ports (types.hpp).
Json tuple_json(const Tuple& tuple) {
  Json json{{"source", to_text(tuple.source)}, {"destination", to_text(tuple.destination)}};
  if (config::is_icmp(tuple.protocol)) {
    json["icmp_type"] = tuple.destination_port.host() >> 8;
    json["icmp_code"] = tuple.destination_port.host() & 0xff;
    json["icmp_id"] = tuple.source_port.host();
  } else if (config::has_ports(tuple.protocol)) {
    json["source_port"] = tuple.source_port.host();
    json["destination_port"] = tuple.destination_port.host();
  }
  return json;
}

Json session_row(const message::SessionRow& row) {
  Json json{{"protocol", config::protocol_name(row.original.protocol)},
            {"original", tuple_json(row.original)},
            {"reply", tuple_json(row.reply)},
            {"worker", row.owner.value},
            {"assured", row.assured != 0},
            {"seen_reply", row.seen_reply != 0},
            {"expires_s", row.expires_s}};
  if (row.original.protocol == kProtoTcp) json["tcp_state"] = tcp_state_word(row.tcp_state);
  if (row.source_rule != 0) json["source_rule"] = row.source_rule;
  if (row.destination_rule != 0) json["destination_rule"] = row.destination_rule;
  for (const size_t side : {0u, 1u}) {
    json[side == 0 ? "original" : "reply"]["packets"] = row.packets[side];
    json[side == 0 ? "original" : "reply"]["bytes"] = row.bytes[side];
  }
  return json;
}

// Both kinds as one list, destination first: the order in which a packet meets them.
struct AllRules {
  const config::Tables& tables;
  size_t size() const { return tables.destination_rules.size() + tables.source_rules.size(); }
  const NatRuleRecord& operator[](size_t i) const {
    const size_t first = tables.destination_rules.size();
    return i < first ? tables.destination_rules[i] : tables.source_rules[i - first];
  }
};

// Which sessions, in conntrack's words: those of which either direction has all that is asked for.
Result<message::SessionFilter> filter_of(Request& request) {
  message::SessionFilter filter;
  if (const auto address = TRY(request.text("address"))) {
    const auto prefix = config::parse_prefix(*address);
    if (!prefix) return fail("\"address\" {} {}", config::quoted(*address), prefix.error().text);
    filter.has_prefix = 1;
    filter.prefix = *prefix;
  }
  if (const auto protocol = TRY(request.text("protocol"))) {
    const auto number = config::find_protocol(*protocol);
    if (!number || *number == kProtoAny) return fail("no protocol {}", config::quoted(*protocol));
    filter.protocol = *number;
  }
  filter.port = static_cast<uint16_t>(TRY(request.number("port", 1, 65535)).value_or(0));
  filter.rule = static_cast<uint32_t>(TRY(request.number("rule", 1, UINT32_MAX)).value_or(0));
  return filter;
}

}  // namespace

Result<Json> show_nat_rules(Context& context, Request& request) {
  const Page page = TRY(Page::from(request));
  TRY(request.no_others());
  const auto segment = statistics_of(context);
  const auto& tables = context.applier.running();
  return page_of("rules", AllRules{tables}, page,
                 [&](const auto& rule) { return rule_row(tables, segment ? *segment : nullptr, rule); });
}

Result<void> show_nat_translations(Context& context, Request& request, const Reply& reply) {
  const Page page = TRY(Page::from(request));
  message::Query sessions = query_of(message::QueryKind::kSessions, page);
  sessions.filter = TRY(filter_of(request));
  sessions.count_only = TRY(request.flag("count"));
  TRY(request.no_others());
  if (!sessions.count_only) {
    query<message::SessionRow>(context, sessions, "translations", session_row, reply);
    return {};
  }
  ask(
      context, [sessions](uint64_t id) { return message::make(sessions, id, 0); }, reply,
      [](const DataplaneLink::Answer& answer) {
        return Json{{"count", answer.ack.count}, {"cursor", answer.ack.cursor}};
      });
  return {};
}

}  // namespace espalier::daemon::commands
