#include "control/config/tables_diff.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "control/config/address.hpp"

namespace espalier::config {
namespace {

// A record in words: `identity` is what stays the same when it is changed in place, `text` is all the rest.
struct Entry {
  std::string identity;
  std::string text = {};
  const SaRecord* state = nullptr;  // its key is compared, never shown
};
using Entries = std::vector<Entry>;

std::string dotted(Ipv4Address a) {
  return to_string(Ipv4Range{a.host(), a.host(), false});
}
std::string text_of(const Ipv4Prefix& p) {
  return fmt::format("{}/{}", dotted(p.address), p.length);
}
std::string text_of(PortRange p) {
  if (p.is_any()) return "";
  return p.low == p.high ? fmt::format(":{}", p.low) : fmt::format(":{}-{}", p.low, p.high);
}
std::string text_of(const NatMatch& m) {
  return to_string(Ipv4Range{m.low, m.high, m.negate != 0}) + text_of(m.ports);
}
std::string text_of(const Selector& s) {
  return fmt::format("{}{} -> {}{} {}", text_of(s.source), text_of(s.source_port), text_of(s.destination),
                     text_of(s.destination_port), protocol_name(s.protocol));
}

template <class E, size_t N>
std::string_view word_of(const Word<E> (&words)[N], E value) {
  for (const Word<E>& word : words)
    if (word.value == value) return word.name;
  return "";
}

std::string name_of(const Tables& tables, InterfaceIndex index) {
  return index == kNoInterface ? "any" : std::string(tables.interfaces[index.value].name.view());
}

Entries interfaces_of(const Tables& tables) {
  Entries entries;
  for (const InterfaceRecord& i : tables.interfaces)
    entries.push_back({
        fmt::format("interface {}", i.name.view()),
        fmt::format("mtu {}{}{}{}", i.mtu_bytes, i.enabled ? "" : " disabled",
                    i.device.view().empty() ? "" : " device ", i.device.view()),
    });
  for (const AddressRecord& a : tables.addresses)
    entries.push_back({fmt::format("address {} on {}", text_of(a.prefix), name_of(tables, a.interface))});
  return entries;
}

std::string target_of(const Tables& tables, const RouteRecord& route) {
  switch (route.kind) {
    case RouteKind::kNextHop:
      return fmt::format("via {} on {}", dotted(route.via), name_of(tables, route.interface));
    case RouteKind::kInterface:
      return fmt::format("on {}", name_of(tables, route.interface));
    case RouteKind::kBlackhole:
      return "blackhole";
    case RouteKind::kUnreachable:
      return "unreachable";
    case RouteKind::kProhibit:
      return "prohibit";
  }
  return "";
}

Entries routes_of(const Tables& tables) {
  Entries entries;
  for (const RouteRecord& route : tables.routes)
    entries.push_back({fmt::format("route {}", text_of(route.prefix)), target_of(tables, route)});
  for (const NeighborRecord& n : tables.neighbors)
    entries.push_back({fmt::format("neighbor {} on {}", dotted(n.address), name_of(tables, n.interface)),
                       fmt::format("{:02x}", fmt::join(n.mac, ":"))});
  return entries;
}

std::string action_of(const NatRuleRecord& rule) {
  const std::string ports = rule.has_port_range ? " port" + text_of(rule.ports) : "";
  switch (rule.translation) {
    case NatTranslation::kExclude:
      return "exclude";
    case NatTranslation::kMasquerade:
      return "masquerade" + ports;
    case NatTranslation::kAddress:
    case NatTranslation::kRange:
      return to_string(Ipv4Range{rule.address_low, rule.address_high, false}) + ports;
  }
  return "";
}

Entries rules_of(const Tables& tables) {
  Entries entries;
  for (const auto* rules : {&tables.source_rules, &tables.destination_rules})
    for (const NatRuleRecord& rule : *rules)
      entries.push_back({
          fmt::format("nat {} rule {}", rule.kind == NatKind::kSource ? "source" : "destination",
                      rule.number),
          fmt::format("{} {} {} -> {}: {}", name_of(tables, rule.interface), protocol_name(rule.protocol),
                      text_of(rule.source), text_of(rule.destination), action_of(rule)),
      });
  return entries;
}

Entries policies_of(const Tables& tables) {
  Entries entries;
  for (const PolicyRecord& p : tables.policies) {
    std::string text = fmt::format("{} priority {}", word_of(kPolicyActionWords, p.action), p.priority);
    if (p.templates != 0)
      text += fmt::format(" template {} -> {} reqid {}", dotted(p.tmpl.source), dotted(p.tmpl.destination),
                          p.tmpl.reqid.value);
    entries.push_back(
        {fmt::format("policy {} {}", word_of(kPolicyDirectionWords, p.direction), text_of(p.selector)),
         fmt::format("{} ({})", text, p.name.view())});
  }
  return entries;
}

std::string flags_of(const SaRecord& sa) {
  std::string text;
  for (const Word<uint32_t>& word : kStateFlagWords)
    if ((sa.flags & word.value) != 0) text += fmt::format(" {}", word.name);
  if ((sa.flags & kSaHasSelector) != 0) text += " selector " + text_of(sa.selector);
  return text;
}

Entries states_of(const Tables& tables) {
  Entries entries;
  for (const SaRecord& sa : tables.states) {
    const size_t bytes = key_bytes(sa.algorithm);
    entries.push_back({fmt::format("state {} 0x{:x} {} -> {}", word_of(kStateDirectionWords, sa.direction),
                                   sa.spi.value, dotted(sa.source), dotted(sa.destination)),
                       fmt::format("aes{}gcm128 reqid {} replay-window {}{} ({})", bytes * 8, sa.reqid.value,
                                   sa.replay_window, flags_of(sa), sa.name.view()),
                       &sa});
  }
  return entries;
}

Entries settings_of(const Tables& tables) {
  const SettingsRecord& s = tables.settings;
  const auto number = [](const char* name, uint32_t value) { return Entry{name, std::to_string(value)}; };
  return {Entry{"nat.sessions", s.sessions == SettingsRecord::Sessions::kAlways ? "always" : "auto"},
          Entry{"dataplane.poll", s.busy_poll ? "busy" : "adaptive"},
          number("icmp.rate", s.icmp_errors_per_second),
          number("nat.limits.sessions", s.session_limit),
          number("nat.timeouts.tcp-syn-sent", s.tcp_syn_sent_s),
          number("nat.timeouts.tcp-syn-recv", s.tcp_syn_recv_s),
          number("nat.timeouts.tcp-established", s.tcp_established_s),
          number("nat.timeouts.tcp-fin-wait", s.tcp_fin_wait_s),
          number("nat.timeouts.tcp-close-wait", s.tcp_close_wait_s),
          number("nat.timeouts.tcp-last-ack", s.tcp_last_ack_s),
          number("nat.timeouts.tcp-time-wait", s.tcp_time_wait_s),
          number("nat.timeouts.tcp-close", s.tcp_close_s),
          number("nat.timeouts.tcp-unacknowledged", s.tcp_unacknowledged_s),
          number("nat.timeouts.udp", s.udp_s),
          number("nat.timeouts.udp-stream", s.udp_stream_s),
          number("nat.timeouts.icmp", s.icmp_s),
          number("nat.timeouts.generic", s.generic_s)};
}

Entries startup_of(const Tables& tables) {
  constexpr std::string_view kNote = "; this restarts the dataplane";
  const Startup& s = tables.startup;
  const std::string cores =
      s.cores.empty() ? "all but the first" : fmt::format("{}", fmt::join(s.cores, ","));
  return {Entry{"dataplane.workers", fmt::format("{}{}", s.workers, kNote)},
          Entry{"dataplane.cores", fmt::format("{}{}", cores, kNote)},
          Entry{"dataplane.memory", fmt::format("{}{}", word_of(kMemoryWords, s.memory), kNote)},
          Entry{"dataplane.sessions", fmt::format("{}{}", s.session_capacity, kNote)}};
}

bool same_key(const SaRecord* a, const SaRecord* b) {
  if (a == nullptr || b == nullptr) return a == b;
  return std::memcmp(a->key, b->key, sizeof a->key) == 0 &&
         std::memcmp(a->salt, b->salt, sizeof a->salt) == 0;
}

// Of several records with one identity the second becomes "... (2)", and so on.
Entries made_unique(Entries entries) {
  std::map<std::string, int> seen;
  for (Entry& entry : entries) {
    const int count = ++seen[entry.identity];
    if (count > 1) entry.identity += fmt::format(" ({})", count);
  }
  return entries;
}

void compare(Entries running, Entries wanted, std::vector<std::string>& lines) {
  running = made_unique(std::move(running)), wanted = made_unique(std::move(wanted));
  std::map<std::string_view, const Entry*> before, after;
  for (const Entry& entry : running) before.emplace(entry.identity, &entry);
  for (const Entry& entry : wanted) after.emplace(entry.identity, &entry);
  for (const Entry& entry : running)
    if (!after.contains(entry.identity)) lines.push_back(fmt::format("- {} {}", entry.identity, entry.text));
  for (const Entry& entry : wanted) {
    const auto found = before.find(entry.identity);
    if (found == before.end())
      lines.push_back(fmt::format("+ {} {}", entry.identity, entry.text));
    else if (found->second->text != entry.text)
      lines.push_back(fmt::format("~ {} {} (was: {})", entry.identity, entry.text, found->second->text));
    else if (!same_key(found->second->state, entry.state))
      lines.push_back(fmt::format("~ {} another key", entry.identity));
  }
}

// Among equal priorities the first policy wins, so their order is part of the configuration.
void compare_order(const Entries& running, const Entries& wanted, std::vector<std::string>& lines) {
  const auto common = [](const Entries& of, const Entries& with) {
    std::vector<std::string> names, result;
    for (const Entry& entry : with) names.push_back(entry.identity);
    std::sort(names.begin(), names.end());
    for (const Entry& entry : of)
      if (std::binary_search(names.begin(), names.end(), entry.identity)) result.push_back(entry.identity);
    return result;
  };
  if (common(running, wanted) != common(wanted, running)) lines.push_back("~ order of the policies");
}

}  // namespace

std::vector<std::string> diff(const Tables& running, const Tables& wanted) {
  std::vector<std::string> lines;
  for (const auto& part :
       {startup_of, settings_of, interfaces_of, routes_of, rules_of, policies_of, states_of})
    compare(part(running), part(wanted), lines);
  compare_order(made_unique(policies_of(running)), made_unique(policies_of(wanted)), lines);
  for (std::string& line : lines) line.erase(line.find_last_not_of(' ') + 1);
  return lines;
}

}  // namespace espalier::config
