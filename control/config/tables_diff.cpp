#include "control/config/tables_diff.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <span>

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

std::string text_of(PortRange p) {
  if (p.is_any()) return "";
  return p.low == p.high ? fmt::format(":{}", p.low) : fmt::format(":{}-{}", p.low, p.high);
}
std::string text_of(const NatMatch& m) {
  return to_text(AddressRange{m.low, m.high, m.negate != 0}) + text_of(m.ports);
}
std::string text_of(const Selector& s) {
  return fmt::format("{}{} -> {}{} {}", to_text(s.source), text_of(s.source_port), to_text(s.destination),
                     text_of(s.destination_port), protocol_name(s.protocol));
}

template <class E, size_t N>
std::string_view word_of(const Word<E> (&words)[N], E value) {
  for (const Word<E>& word : words)
    if (word.value == value) return word.name;
  return "";
}

std::string interface_name(const Tables& tables, InterfaceIndex index) {
  return index == kNoInterface ? "any" : std::string(tables.interfaces[index.value].name.view());
}

// " gre 192.0.2.1 -> 192.0.2.2 key 5 ttl 64"
std::string tunnel_of(const InterfaceRecord& i) {
  if (i.kind != InterfaceKind::kGre && i.kind != InterfaceKind::kVti) return "";
  std::string text = i.kind == InterfaceKind::kGre ? " gre" : " vti";
  if (!i.local.is_unspecified()) text += fmt::format(" {} -> {}", to_text(i.local), to_text(i.remote));
  if (i.kind == InterfaceKind::kVti) return text;
  if (i.has_key) text += fmt::format(" key {}", i.key);
  return text + fmt::format(" ttl {}{}", i.ttl, i.protect ? " protect" : "");
}

std::string mss_clamp_of(const InterfaceRecord& i) {
  if (i.mss_clamp_bytes == 0) return "";
  return i.mss_clamp_bytes == kMssToPathMtu ? " mss-clamp pmtu"
                                            : fmt::format(" mss-clamp {}", i.mss_clamp_bytes);
}

Entries interfaces_of(const Tables& tables) {
  Entries entries;
  for (const InterfaceRecord& i : tables.interfaces)
    entries.push_back({
        fmt::format("interface {}", i.name.view()),
        fmt::format("mtu {}{}{}{}{}{}{}", i.mtu_bytes, i.enabled ? "" : " disabled", mss_clamp_of(i),
                    i.dad ? "" : " without dad", tunnel_of(i), i.device.view().empty() ? "" : " device ",
                    i.device.view()),
    });
  for (const AddressRecord& a : tables.addresses)
    entries.push_back(
        {fmt::format("address {} on {}", to_text(a.prefix), interface_name(tables, a.interface))});
  return entries;
}

std::string target_of(const Tables& tables, const RouteRecord& route) {
  std::string text;
  switch (route.kind) {
    case RouteKind::kNextHop:
      for (const NextHop& hop : std::span(route.next_hops, route.next_hop_count))
        text += fmt::format("{}{}on {}", text.empty() ? "" : ", ",
                            hop.via.is_unspecified() ? "" : fmt::format("via {} ", to_text(hop.via)),
                            interface_name(tables, hop.interface));
      return text;
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
    entries.push_back({fmt::format("route {}{}", to_text(route.prefix),
                                   route.metric == 0 ? "" : fmt::format(" metric {}", route.metric)),
                       target_of(tables, route)});
  for (const NeighborRecord& n : tables.neighbors)
    entries.push_back(
        {fmt::format("neighbor {} on {}", to_text(n.address), interface_name(tables, n.interface)),
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
    case NatTranslation::kPrefix:
      return to_text(AddressRange{rule.address_low, rule.address_high}) + ports;
  }
  return "";
}

// Where the packet leaves or came in, and what is asked about IPsec.
std::string place_of(const Tables& tables, const NatRuleRecord& rule) {
  const std::string interface = rule.local_output ? "local" : interface_name(tables, rule.interface);
  return rule.ipsec == IpsecMatch::kAny ? interface : fmt::format("{} {}", interface, word_of(kIpsecMatchWords, rule.ipsec));
}

Entries rules_of(const Tables& tables) {
  Entries entries;
  for (const auto* rules : {&tables.source_rules, &tables.destination_rules})
    for (const NatRuleRecord& rule : *rules)
      entries.push_back({
          fmt::format("{} {} rule {}", rule.family == Family::kIpv4 ? "nat" : "nat66",
                      rule.kind == NatKind::kSource ? "source" : "destination", rule.number),
          fmt::format("{} {} {} -> {}: {}", place_of(tables, rule), protocol_name(rule.protocol),
                      text_of(rule.source), text_of(rule.destination), action_of(rule)),
      });
  return entries;
}

std::string template_of(const PolicyTemplate& t) {
  std::string text =
      fmt::format(" template {} -> {} reqid {}", to_text(t.source), to_text(t.destination), t.reqid.value);
  if (t.spi.value != 0) text += fmt::format(" spi 0x{:x}", t.spi.value);
  if (t.mode == EspMode::kTransport) text += " transport";
  if (t.level == TemplateLevel::kUse) text += " use";
  return text;
}

Entries policies_of(const Tables& tables) {
  Entries entries;
  for (const PolicyRecord& p : tables.policies) {
    std::string text = fmt::format("{} priority {}", word_of(kPolicyActionWords, p.action), p.priority);
    for (const PolicyTemplate& t : std::span(p.tmpl, p.templates)) text += template_of(t);
    std::string place = p.vti == kNoInterface ? "" : fmt::format("of {} ", interface_name(tables, p.vti));
    if (p.interface != kNoInterface) place += fmt::format("on {} ", interface_name(tables, p.interface));
    entries.push_back({fmt::format("policy {} {}{}", word_of(kPolicyDirectionWords, p.direction), place,
                                   text_of(p.selector)),
                       fmt::format("{} ({})", text, p.name.view())});
  }
  return entries;
}

// "aes256 sha256/128", as the keywords have it; the number is what is left of the hash.
std::string algorithm_of(const EspAlgorithm& a) {
  const std::string cipher(cipher_name(a));
  return a.is_aead() ? cipher : fmt::format("{} {}/{}", cipher, hash_name(a.integrity), 8 * a.icv_bytes);
}

std::string limits_of(const SaLimits& l) {
  std::string text;
  const auto add = [&](const char* what, uint64_t soft, uint64_t hard) {
    if (soft != 0) text += fmt::format(" soft-{} {}", what, soft);
    if (hard != 0) text += fmt::format(" hard-{} {}", what, hard);
  };
  add("packets", l.soft_packets, l.hard_packets);
  add("bytes", l.soft_bytes, l.hard_bytes);
  add("seconds", l.soft_seconds, l.hard_seconds);
  return text;
}

std::string flags_of(const SaRecord& sa) {
  std::string text;
  if ((sa.flags & kSaEsn) != 0) text += " esn";
  if (sa.last_sequence != 0) text += fmt::format(" last-sequence {}", sa.last_sequence);
  for (const Word<uint32_t>& word : kStateFlagWords)
    if ((sa.flags & word.value) != 0) text += fmt::format(" {}", word.name);
  if ((sa.flags & kSaEncap) != 0)
    text += fmt::format(" espinudp {} -> {}", sa.encap_source_port, sa.encap_destination_port);
  if (sa.keepalive_s != 0) text += fmt::format(" keepalive {}", sa.keepalive_s);
  if ((sa.flags & kSaMapping) != 0) text += " mapping";
  if ((sa.flags & kSaHasSelector) != 0) text += " selector " + text_of(sa.selector);
  return text + limits_of(sa.limits);
}

Entries states_of(const Tables& tables) {
  Entries entries;
  for (const SaRecord& sa : tables.states)
    entries.push_back(
        {fmt::format("state {} 0x{:x} {} -> {}", word_of(kStateDirectionWords, sa.direction), sa.spi.value,
                     to_text(sa.source), to_text(sa.destination)),
         fmt::format("{}{}{} reqid {} replay-window {}{} ({})",
                     sa.vti == kNoInterface ? "" : fmt::format("of {} ", interface_name(tables, sa.vti)),
                     sa.mode == EspMode::kTransport ? "transport " : "", algorithm_of(sa.algorithm),
                     sa.reqid.value, sa.replay_window, flags_of(sa), sa.name.view()),
         &sa});
  return entries;
}

std::string import_of(const SettingsRecord& s) {
  if (!s.import_routes) return "none";
  std::vector<size_t> protocols;
  for (size_t number = 0; number < 256; ++number)
    if ((s.import_protocols[number / 64] >> number % 64 & 1) != 0) protocols.push_back(number);
  return fmt::format("table {} protocols {}", s.import_table, fmt::join(protocols, ","));
}

Entries settings_of(const Tables& tables) {
  const SettingsRecord& s = tables.settings;
  const auto number = [](const char* name, uint32_t value) { return Entry{name, std::to_string(value)}; };
  return {Entry{"nat.sessions", s.sessions == SettingsRecord::Sessions::kAlways ? "always" : "auto"},
          Entry{"dataplane.poll", s.busy_poll ? "busy" : "adaptive"},
          Entry{"vpn.ipsec", s.ike ? "IKE runs" : "no IKE"},
          Entry{"dataplane.host-path", s.host_path ? "true" : "false"},
          Entry{"dataplane.host-namespace", std::string(s.host_namespace.view())},
          Entry{"routes import", import_of(s)},
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

std::string suites_of(const IkeConnection& connection) {
  std::string text;
  for (const IkeSuite& suite : connection.suites)
    text += fmt::format(" {} {} dh{}", algorithm_of(suite.protection), kPrfs[suite.prf].name, suite.group);
  return text;
}

std::string authentication_of(const IkeConnection& c) {
  return fmt::format(" {} local-id {} remote-id {}{}", word_of(kAuthenticationModeWords, c.mode),
                     quoted(c.local_id), quoted(c.remote_id),
                     c.certificate.empty()
                         ? ""
                         : fmt::format(" certificate {} ca {} crl {}", quoted(c.certificate),
                                       fmt::join(c.authorities, ","), fmt::join(c.revocations, ",")));
}

std::string dpd_of(const IkeConnection& c) {
  if (!c.dpd_interval_s) return "none";
  return fmt::format("{} after {} s", word_of(kDpdActionWords, c.dpd_action), *c.dpd_interval_s);
}

std::string child_of(const IkeChild& child) {
  std::string text;
  for (const ChildSuite& suite : child.suites)
    text += fmt::format(" {} dh{}", algorithm_of(suite.algorithm), suite.group);
  return text + fmt::format(" lifetime {} s {} bytes {} packets{} replay-window {}", child.lifetime_s,
                            child.life_bytes, child.life_packets, child.rekey ? "" : " disable-rekey",
                            child.replay_window);
}

// Policies show what the tunnels are for; here stands how they are negotiated.
Entries ike_of(const Tables& tables) {
  Entries entries;
  for (const IkeConnection& c : tables.ike.connections) {
    entries.push_back({fmt::format("peer {}", c.name),
                       fmt::format("{} {} -> {}{}{} lifetime {} s dpd {} close-action {}{}",
                                   word_of(kConnectionTypeWords, c.type),
                                   c.local.is_unspecified() ? "any" : to_text(c.local),
                                   fmt::join(c.remotes, ","), authentication_of(c), suites_of(c),
                                   c.lifetime_s, dpd_of(c), word_of(kCloseActionWords, c.close_action),
                                   c.force_encapsulation ? " force-udp-encapsulation" : "")});
    for (const IkeChild& child : c.children)
      entries.push_back({fmt::format("peer {} {}", c.name, child.name), child_of(child)});
  }
  for (const IkePsk& psk : tables.ike.psks)
    entries.push_back({fmt::format("psk {}", psk.name),
                       fmt::format("{}{}", fmt::join(psk.ids, ","),
                                   psk.secret_file.empty() ? "" : " of " + quoted(psk.secret_file))});
  return entries;
}

Entries ike_settings_of(const Tables& tables) {
  std::string addresses;
  for (const IpAddress& address : tables.ike.local_addresses)
    addresses += (addresses.empty() ? "" : ",") + to_text(address);
  return {Entry{"vpn.ipsec local addresses", addresses.empty() ? "all" : addresses},
          Entry{"vpn.ipsec.log",
                fmt::format("level {} {}", tables.ike.log_level, fmt::join(tables.ike.log_subsystems, ","))},
          Entry{"vpn.ipsec.options.short-lifetimes", tables.ike.short_lifetimes ? "true" : "false"}};
}

// Secrets are compared and never shown.
void compare_secrets(const IkeDocument& running, const IkeDocument& wanted, std::vector<std::string>& lines) {
  std::map<std::string_view, const Secret*> secrets, passphrases;
  for (const IkePsk& psk : running.psks) secrets.emplace(psk.name, &psk.secret);
  for (const IkeConnection& peer : running.connections) passphrases.emplace(peer.name, &peer.passphrase);
  const auto differs = [](const auto& of, const std::string& name, const Secret& now) {
    const auto found = of.find(name);
    return found != of.end() && *found->second != now;
  };
  for (const IkePsk& psk : wanted.psks)
    if (differs(secrets, psk.name, psk.secret))
      lines.push_back(fmt::format("~ psk {} another secret", psk.name));
  for (const IkeConnection& peer : wanted.connections)
    if (differs(passphrases, peer.name, peer.passphrase))
      lines.push_back(fmt::format("~ peer {} another passphrase", peer.name));
}

bool same_key(const SaRecord* a, const SaRecord* b) {
  if (a == nullptr || b == nullptr) return a == b;
  return std::memcmp(a->key, b->key, sizeof a->key) == 0 &&
         std::memcmp(a->salt, b->salt, sizeof a->salt) == 0 &&
         std::memcmp(a->auth_key, b->auth_key, sizeof a->auth_key) == 0;
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
  for (const auto& part : {startup_of, settings_of, interfaces_of, routes_of, rules_of, policies_of,
                           states_of, ike_settings_of, ike_of})
    compare(part(running), part(wanted), lines);
  compare_secrets(running.ike, wanted.ike, lines);
  compare_order(made_unique(policies_of(running)), made_unique(policies_of(wanted)), lines);
  for (std::string& line : lines) line.erase(line.find_last_not_of(' ') + 1);
  return lines;
}

}  // namespace espalier::config
