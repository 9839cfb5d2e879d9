#include "control/config/compiler.hpp"

#include <string.h>

#include <algorithm>
#include <set>

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
    case InterfaceType::kVti:
      return InterfaceKind::kVti;
    case InterfaceType::kGre:
      return InterfaceKind::kGre;
  }
  return InterfaceKind::kDummy;
}

NatMatch match_of(const NatAddresses& from) {
  return {.low = from.address.low,
          .high = from.address.high,
          .negate = static_cast<uint8_t>(from.address.negate),
          .ports = from.ports};
}

class Compiler {
 public:
  explicit Compiler(const Model& model) : model_(model), topology_(model) {
    for (const Policy& policy : model.policies)
      if (policy.action == PolicyAction::kProtect)
        protected_.emplace(policy.vti.value, policy.selector.source.family());
  }

  Tables run() {
    compile_settings();
    for (size_t i = 0; i < model_.interfaces.size(); ++i) add_interface(i);
    for (const Route& route : model_.routes) add_route(route);
    for (const Neighbor& neighbor : model_.neighbors)
      tables_.neighbors.push_back({interface(neighbor.interface.value), neighbor.address, neighbor.mac});
    add_rules(model_.nat.source, NatKind::kSource, tables_.source_rules);
    add_rules(model_.nat.destination, NatKind::kDestination, tables_.destination_rules);
    for (const Policy& policy : model_.policies) add_policy(policy);
    add_ike();
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
    s.host_path = dataplane.host_path;
    s.host_namespace.assign(dataplane.host_namespace.value);
    if (model_.import) compile_import(*model_.import, s);
    s.session_limit = model_.nat.session_limit.value_or(dataplane.sessions);
    const NatTimeouts& t = model_.nat.timeouts;
    s.tcp_syn_sent_s = t.tcp_syn_sent, s.tcp_syn_recv_s = t.tcp_syn_recv;
    s.tcp_established_s = t.tcp_established, s.tcp_fin_wait_s = t.tcp_fin_wait;
    s.tcp_close_wait_s = t.tcp_close_wait, s.tcp_last_ack_s = t.tcp_last_ack;
    s.tcp_time_wait_s = t.tcp_time_wait, s.tcp_close_s = t.tcp_close;
    s.tcp_unacknowledged_s = t.tcp_unacknowledged;
    s.udp_s = t.udp, s.udp_stream_s = t.udp_stream, s.icmp_s = t.icmp, s.generic_s = t.generic;
  }

  static void compile_import(const RouteImport& from, SettingsRecord& to) {
    to.import_routes = 1;
    to.import_table = from.table;
    for (size_t number = 0; number < from.protocols.size(); ++number)
      if (from.protocols[number]) to.import_protocols[number / 64] |= uint64_t{1} << number % 64;
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
    to.mss_clamp_bytes = from.mss_clamp;
    to.dad = from.dad;
    to.protect = from.protect;
    to.ttl = from.ttl;
    to.has_key = from.gre_key.has_value();
    to.key = from.gre_key.value_or(0);
    to.local = from.local_ip;
    to.remote = from.remote_ip;
    to.name = fixed<sizeof(Name::bytes)>(from.name);
    to.device = fixed<sizeof(InterfaceRecord{}.device.bytes)>(from.device);
    tables_.interfaces.push_back(to);
    for (const auto& address : from.addresses) tables_.addresses.push_back({to.index, address.value});
  }

  void add_route(const Route& from) {
    RouteRecord to;
    to.index = RouteIndex(static_cast<uint32_t>(tables_.routes.size()));
    to.kind = from.kind;
    to.prefix = from.prefix;
    to.metric = from.metric;
    const auto add_hop = [&](const IpAddress& via, InterfaceIndex on) {
      to.next_hops[to.next_hop_count++] = {via, on};
    };
    if (from.kind == RouteKind::kNextHop && from.via.empty())
      add_hop(IpAddress{}, interface(from.interface.value));
    for (const auto& via : from.via) add_hop(via.value, interface_of(from, via.value));
    tables_.routes.push_back(to);
  }

  InterfaceIndex interface_of(const Route& route, const IpAddress& via) const {
    if (!route.interface.value.empty()) return interface(route.interface.value);
    const auto index = topology_.connected(via);
    return index ? index_of(*index) : kNoInterface;
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
    to.family = from.family;
    to.translation = from.action;
    to.ipsec = from.ipsec;
    to.protocol = protocol;
    to.local_output = from.interface.value == "local";
    to.interface = interface(from.interface.value);  // none for "any" and "local"
    to.source = match_of(from.source);
    to.destination = match_of(from.destination);
    to.address_low = from.translation.low, to.address_high = from.translation.high;
    if (from.action == NatTranslation::kPrefix) to.prefix_length = prefix_of(from.translation)->length;
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
    to.selector = from.selector;
    to.interface = interface(from.interface.value);
    to.vti = interface(from.vti.value);
    to.name = fixed<sizeof(Name::bytes)>(from.name);
    to.templates = static_cast<uint8_t>(from.templates.size());
    std::transform(from.templates.begin(), from.templates.end(), to.tmpl,
                   [](const Template& one) { return one.record; });
    tables_.policies.push_back(to);
  }

  // Whatever IKE does, what its tunnels are for never leaves in clear: their policies are the
  // configuration's. Those of a peer with a VTI are asked about what is routed into it only.
  void add_ike() {
    tables_.ike = compile_ike(model_);
    tables_.first_ike_policy = static_cast<uint32_t>(tables_.policies.size());
    tables_.settings.ike = tables_.ike.wanted();
    for (const IkeConnection& connection : tables_.ike.connections)
      for (const IkeChild& child : connection.children)
        for (PolicyRecord policy : policies_of(connection, child)) {
          policy.index = PolicyIndex(static_cast<uint32_t>(tables_.policies.size()));
          tables_.policies.push_back(policy);
        }
  }

  // As in Linux: without a selector and the flag af-unspec an SA carries its own family only. It is compared
  // with each flow's first packet, and so only told where policies of the other family could use the SA.
  std::optional<Selector> selector_of(const State& state) const {
    if (state.selector) return state.selector;
    const Family own = state.source.family();
    const Family other = own == Family::kIpv4 ? Family::kIpv6 : Family::kIpv4;
    if ((state.flags & kAfUnspec) != 0 || !protected_.contains({state.vti.value, other})) return std::nullopt;
    Selector everything;
    everything.source = everything.destination = IpPrefix::any(own);
    return everything;
  }

  static uint32_t flags_of(const State& state) {
    return kSaStaticKey | (state.flags & ~kAfUnspec) | (state.esn ? kSaEsn : 0u) |
           (state.encap ? kSaEncap : 0u) | (state.encap && state.encap->mapping ? kSaMapping : 0u);
  }

  void add_state(const State& from) {
    SaRecord& to = tables_.states.emplace_back();
    to.spi = Spi(from.spi);
    to.direction = from.direction;
    to.mode = from.mode;
    to.algorithm = from.algorithm;
    to.reqid = Reqid(from.reqid);
    to.flags = flags_of(from);
    to.replay_window = from.replay_window;
    to.source = from.source;
    to.destination = from.destination;
    to.vti = interface(from.vti.value);
    to.last_sequence = from.last_sequence;
    to.limits = from.limits;
    to.name = fixed<sizeof(Name::bytes)>(from.name);
    if (const auto selector = selector_of(from)) to.flags |= kSaHasSelector, to.selector = *selector;
    if (from.encap) add_encap(*from.encap, to);
    add_keys(from, to);
  }

  static void add_encap(const UdpEncapsulation& from, SaRecord& to) {
    to.encap_source_port = from.source_port;
    to.encap_destination_port = from.destination_port;
    to.keepalive_s = from.keepalive_s;
  }

  static void add_keys(const State& from, SaRecord& to) {
    const auto key = from.key.bytes(), auth_key = from.auth_key.bytes();
    const auto salt = key.begin() + from.cipher->key_bytes;
    std::copy(key.begin(), salt, to.key);
    std::copy(salt, key.end(), to.salt);
    std::copy(auth_key.begin(), auth_key.end(), to.auth_key);
  }

  const Model& model_;
  const Topology topology_;
  std::set<std::pair<std::string_view, Family>> protected_;  // by a policy, with its VTI ("": none)
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
  ike = std::move(other.ike);
  first_ike_policy = other.first_ike_policy;
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
