#include "control/config/compiler.hpp"

#include <string.h>

#include <algorithm>

#include "control/config/capabilities.hpp"
#include "control/config/topology.hpp"

namespace espalier::config {
namespace {

void wipe(std::vector<SaRecord>& states) {
  for (SaRecord& state : states) explicit_bzero(&state, sizeof state);
}

InterfaceIndex index_of(size_t position) {
  return InterfaceIndex(static_cast<uint16_t>(position));
}

// Names and devices were measured by the parsers: they fit.
template <size_t N>
FixedString<N> fixed(std::string_view text) {
  FixedString<N> result;
  result.assign(text.substr(0, N));
  return result;
}

InterfaceKind kind_of(InterfaceType type) {
  switch (type) {
    case InterfaceType::kEthernet:
      return InterfaceKind::kPort;
    case InterfaceType::kVif:
      return InterfaceKind::kVlan;
    case InterfaceType::kDummy:
      return InterfaceKind::kDummy;
    case InterfaceType::kVti:  // both are refused by capabilities.cpp
    case InterfaceType::kGre:
      break;
  }
  return InterfaceKind::kDummy;
}

Selector selector_of(const TrafficSelector& from) {
  Selector to;
  to.source = from.source.ipv4();
  to.destination = from.destination.ipv4();
  to.protocol = from.protocol;
  to.source_port = from.source_port;
  to.destination_port = from.destination_port;
  return to;
}

Ipv4Address address_or_any(const IpAddress& address) {
  return address.is_set() ? address.ipv4() : Ipv4Address{};
}

NatMatch match_of(const NatAddresses& from) {
  return {from.address.low, from.address.high, static_cast<uint8_t>(from.address.negate), from.ports};
}

NatTranslation translation_of(NatAction action) {
  switch (action) {
    case NatAction::kExclude:
      return NatTranslation::kExclude;
    case NatAction::kAddress:
      return NatTranslation::kAddress;
    case NatAction::kRange:
      return NatTranslation::kRange;
    case NatAction::kMasquerade:
      return NatTranslation::kMasquerade;
    case NatAction::kPrefix:
      break;  // refused by capabilities.cpp
  }
  return NatTranslation::kRange;
}

class Compiler {
 public:
  explicit Compiler(const Model& model) : model_(model), topology_(model) {}

  Tables run() {
    compile_settings();
    for (size_t i = 0; i < model_.interfaces.size(); ++i) add_interface(i);
    for (const Route& route : model_.routes) add_route(route);
    for (const Neighbor& neighbor : model_.neighbors)
      tables_.neighbors.push_back(
          {interface(neighbor.interface.value), neighbor.address.ipv4(), neighbor.mac});
    add_rules(model_.nat.source, NatKind::kSource, tables_.source_rules);
    add_rules(model_.nat.destination, NatKind::kDestination, tables_.destination_rules);
    for (const Policy& policy : model_.policies) add_policy(policy);
    tables_.states.reserve(model_.states.size());  // no copy of a key stays behind in a smaller array
    for (const State& state : model_.states) add_state(state);
    return std::move(tables_);
  }

 private:
  InterfaceIndex interface(std::string_view name) const {
    const auto index = topology_.interface(name);
    return index ? index_of(*index) : kNoInterface;
  }

  void compile_settings() {
    const Dataplane& dataplane = model_.dataplane;
    tables_.startup = {dataplane.workers, dataplane.cores, dataplane.memory, dataplane.sessions};
    SettingsRecord& s = tables_.settings;
    s.sessions =
        model_.nat.always_track ? SettingsRecord::Sessions::kAlways : SettingsRecord::Sessions::kAuto;
    s.busy_poll = dataplane.busy_poll;
    s.icmp_errors_per_second = model_.icmp_errors_per_second;
    s.session_limit = model_.nat.session_limit.value_or(dataplane.sessions);
    const NatTimeouts& t = model_.nat.timeouts;
    s.tcp_syn_sent_s = t.tcp_syn_sent, s.tcp_syn_recv_s = t.tcp_syn_recv;
    s.tcp_established_s = t.tcp_established, s.tcp_fin_wait_s = t.tcp_fin_wait;
    s.tcp_close_wait_s = t.tcp_close_wait, s.tcp_last_ack_s = t.tcp_last_ack;
    s.tcp_time_wait_s = t.tcp_time_wait, s.tcp_close_s = t.tcp_close;
    s.tcp_unacknowledged_s = t.tcp_unacknowledged;
    s.udp_s = t.udp, s.udp_stream_s = t.udp_stream, s.icmp_s = t.icmp, s.generic_s = t.generic;
  }

  void add_interface(size_t position) {
    const Interface& from = model_.interfaces[position];
    InterfaceRecord to;
    to.index = index_of(position);
    to.kind = kind_of(from.type);
    to.enabled = !from.disable;
    if (from.parent) to.parent = index_of(*from.parent);
    to.vlan_id = from.vlan_id;
    to.mtu_bytes = from.mtu;
    to.name = fixed<sizeof(Name::bytes)>(from.name);
    to.device = fixed<sizeof(InterfaceRecord{}.device.bytes)>(from.device);
    tables_.interfaces.push_back(to);
    for (const auto& address : from.addresses) tables_.addresses.push_back({to.index, address.value.ipv4()});
  }

  void add_route(const Route& from) {
    RouteRecord to;
    to.index = RouteIndex(static_cast<uint32_t>(tables_.routes.size()));
    to.prefix = from.prefix.ipv4();
    switch (from.target) {
      case RouteTarget::kVia:
        to.kind = RouteKind::kNextHop;
        break;
      case RouteTarget::kInterface:
        to.kind = RouteKind::kInterface;
        break;
      case RouteTarget::kBlackhole:
        to.kind = RouteKind::kBlackhole;
        break;
      case RouteTarget::kUnreachable:
        to.kind = RouteKind::kUnreachable;
        break;
      case RouteTarget::kProhibit:
        to.kind = RouteKind::kProhibit;
        break;
    }
    if (!from.via.empty()) to.via = from.via[0].value.ipv4();
    if (!from.interface.value.empty())
      to.interface = interface(from.interface.value);
    else if (const auto index = from.via.empty() ? std::nullopt : topology_.connected(from.via[0].value))
      to.interface = index_of(*index);
    tables_.routes.push_back(to);
  }

  void add_rules(const std::vector<NatRule>& rules, NatKind kind, std::vector<NatRuleRecord>& records) {
    for (const NatRule& rule : rules) {
      if (rule.disable) continue;
      if (!rule.protocol.tcp_and_udp) {
        add_rule(rule, kind, rule.protocol.protocol, records);
        continue;
      }
      for (const uint8_t protocol : {kProtoTcp, kProtoUdp}) add_rule(rule, kind, protocol, records);
    }
  }

  void add_rule(const NatRule& from, NatKind kind, uint8_t protocol, std::vector<NatRuleRecord>& records) {
    NatRuleRecord to;
    to.index = static_cast<uint32_t>(records.size());
    to.number = from.number;
    to.kind = kind;
    to.translation = translation_of(from.action);
    to.protocol = protocol;
    to.interface = from.interface.value == "any" ? kNoInterface : interface(from.interface.value);
    to.source = match_of(from.source);
    to.destination = match_of(from.destination);
    if (from.action == NatAction::kAddress || from.action == NatAction::kRange)
      to.address_low = from.translation.low, to.address_high = from.translation.high;
    to.has_port_range = from.translation_port.has_value();
    to.ports = from.translation_port.value_or(PortRange{});
    records.push_back(to);
  }

  void add_policy(const Policy& from) {
    PolicyRecord to;
    to.index = PolicyIndex(static_cast<uint32_t>(tables_.policies.size()));
    to.direction = from.direction;
    to.action = from.action;
    to.priority = from.priority;
    to.selector = selector_of(from.selector);
    to.name = fixed<sizeof(Name::bytes)>(from.name);
    to.templates = static_cast<uint8_t>(from.templates.size());
    for (const Template& one : from.templates)
      to.tmpl = {address_or_any(one.source), address_or_any(one.destination), Reqid(one.reqid)};
    tables_.policies.push_back(to);
  }

  void add_state(const State& from) {
    SaRecord& to = tables_.states.emplace_back();
    to.spi = Spi(from.spi);
    to.direction = from.direction;
    to.algorithm = *from.cipher->algorithm;
    to.reqid = Reqid(from.reqid);
    to.flags = kSaStaticKey | from.flags | (from.selector ? kSaHasSelector : 0u);
    to.replay_window = from.replay_window;
    to.source = from.source.ipv4();
    to.destination = from.destination.ipv4();
    if (from.selector) to.selector = selector_of(*from.selector);
    to.name = fixed<sizeof(Name::bytes)>(from.name);
    const auto key = from.key.bytes();
    std::copy_n(key.begin(), from.cipher->key_bytes, to.key);
    std::copy_n(key.begin() + from.cipher->key_bytes, from.cipher->salt_bytes, to.salt);
  }

  const Model& model_;
  const Topology topology_;
  Tables tables_;
};

}  // namespace

Tables& Tables::operator=(Tables&& other) noexcept {
  wipe(states);
  startup = std::move(other.startup);
  settings = other.settings;
  interfaces = std::move(other.interfaces);
  addresses = std::move(other.addresses);
  routes = std::move(other.routes);
  neighbors = std::move(other.neighbors);
  source_rules = std::move(other.source_rules);
  destination_rules = std::move(other.destination_rules);
  policies = std::move(other.policies);
  states = std::move(other.states);
  return *this;
}

Tables::~Tables() {
  wipe(states);
}

CompileOutcome compile(const Model& model, const std::string& file) {
  CompileOutcome outcome;
  Diagnostics diagnostics(file);
  report_limitations(model, Severity::kError, diagnostics);
  if (!diagnostics.has_errors()) outcome.tables = Compiler(model).run();
  outcome.diagnostics = std::move(diagnostics).take_sorted();
  return outcome;
}

}  // namespace espalier::config
