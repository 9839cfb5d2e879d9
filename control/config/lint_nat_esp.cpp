// ESP passes NAT like other packets of the gateway, as in Linux: a rule that is too wide rewrites the source
// of what leaves, takes what arrives, or at least makes all ESP take the long way through sessions and rules.
#include <algorithm>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

// Outer packets of a state, or of a peer's tunnels, in one direction.
struct EspFlow {
  int line;
  std::string name;
  Direction direction;
  IpAddress source, destination;
  std::optional<UdpEncapsulation> encap;

  uint8_t protocol() const { return encap ? kProtoUdp : kProtoEsp; }
};

void add_peer(const Peer& peer, std::vector<EspFlow>& flows) {
  const IpAddress& own = peer.local_address.value;
  const auto encap = peer.force_udp_encapsulation ? std::optional(UdpEncapsulation{}) : std::nullopt;
  if (peer.disable || own.is_unspecified()) return;
  for (const auto& remote : peer.remote_addresses) {
    const auto address = parse_address(remote.value);
    if (!address || address->family() != own.family()) continue;
    flows.push_back({peer.line, peer.name, Direction::kOut, own, *address, encap});
    flows.push_back({peer.line, peer.name, Direction::kIn, *address, own, encap});
  }
}

std::vector<EspFlow> esp_flows(const Model& model) {
  std::vector<EspFlow> flows;
  for (const State& s : model.states)
    flows.push_back({s.line, default_name(s), s.direction, s.source, s.destination, s.encap});
  for (const Peer& peer : model.vpn.peers) add_peer(peer, flows);
  return flows;
}

bool matches(const AddressRange& range, const IpAddress& address) {
  return (range.low <= address && address <= range.high) != range.negate;
}

bool matches_own_port(const NatRule& rule, const EspFlow& flow) {
  if (!flow.encap) return true;
  return flow.direction == Direction::kOut ? rule.source.ports.contains(flow.encap->source_port)
                                           : rule.destination.ports.contains(flow.encap->destination_port);
}

// As the dataplane decides whether ESP takes the long way: without interfaces, peers' ports and the order of
// rules.
bool can_match(const NatRule& rule, const EspFlow& flow) {
  return !rule.disable && rule.family == flow.source.family() && rule.interface.value != "local" &&
         rule.protocol.covers(flow.protocol()) && matches_own_port(rule, flow) &&
         matches(rule.source.address, flow.source) && matches(rule.destination.address, flow.destination);
}

bool matches_ports(const NatRule& rule, const EspFlow& flow) {
  return !flow.encap || (rule.source.ports.contains(flow.encap->source_port) &&
                         rule.destination.ports.contains(flow.encap->destination_port));
}

class EspLint {
 public:
  EspLint(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : model_(model), topology_(topology), flows_(esp_flows(model)), diagnostics_(diagnostics) {}

  void run() {
    for (const NatRule& rule : model_.nat.source) check(rule, model_.nat.source, Direction::kOut);
    for (const NatRule& rule : model_.nat.destination) check(rule, model_.nat.destination, Direction::kIn);
  }

 private:
  // One warning for each rule: of the first flow that it changes, else of the first that it can match.
  void check(const NatRule& rule, const std::vector<NatRule>& rules, Direction direction) {
    if (rule.action == NatTranslation::kExclude) return;
    const EspFlow* matched = nullptr;
    for (const EspFlow& flow : flows_) {
      if (flow.direction != direction || !can_match(rule, flow)) continue;
      if (decides(rule, rules, flow) && changes(rule, flow)) return warn_of_change(rule, flow);
      if (matched == nullptr) matched = &flow;
    }
    if (matched != nullptr) warn_of_slowness(rule, *matched);
  }

  // Whether it is the first rule that matches the flow.
  bool decides(const NatRule& rule, const std::vector<NatRule>& rules, const EspFlow& flow) const {
    const auto first = std::find_if(rules.begin(), rules.end(), [&](const NatRule& each) {
      return can_match(each, flow) && matches_ports(each, flow) && each.ipsec != IpsecMatch::kIpsec &&
             sees(each, flow);
    });
    return first != rules.end() && &*first == &rule;
  }

  bool sees(const NatRule& rule, const EspFlow& flow) const {
    if (rule.interface.value == "any") return true;
    const size_t interface = *topology_.interface(rule.interface.value);
    const bool out = flow.direction == Direction::kOut;
    const auto ways = topology_.ways_to(IpPrefix::host(out ? flow.destination : flow.source));
    return ways.empty() || std::find(ways.begin(), ways.end(), interface) != ways.end();
  }

  bool changes(const NatRule& rule, const EspFlow& flow) const {
    const auto interface = egress_of(rule, flow);
    if (!interface && rule.action == NatTranslation::kMasquerade) return false;  // nobody knows
    const IpAddress& address = flow.direction == Direction::kOut ? flow.source : flow.destination;
    return translated_address(rule, address, model_, topology_, interface, flow.destination) != address;
  }

  std::optional<size_t> egress_of(const NatRule& rule, const EspFlow& flow) const {
    if (rule.interface.value != "any") return topology_.interface(rule.interface.value);
    const auto ways = topology_.ways_to(IpPrefix::host(flow.destination));
    return ways.empty() ? std::nullopt : std::optional(ways.front());
  }

  void warn_of_change(const NatRule& rule, const EspFlow& flow) {
    if (flow.direction == Direction::kOut)
      diagnostics_.warning(Lint::kNatRewritesEsp, rule.line,
                           "{}: rewrites the source {} of the gateway's own ESP ({}, line {}), and the "
                           "peer's answers no longer "
                           "fit: give the rule a source address that leaves {} out",
                           path_of(rule), to_text(flow.source), flow.name, flow.line, to_text(flow.source));
    else
      diagnostics_.warning(
          Lint::kNatTakesEsp, rule.line,
          "{}: takes the ESP that arrives for {} ({}, line {}) before it is decrypted: add before it a rule "
          "with protocol \"{}\"{}, destination {} and exclude = true",
          path_of(rule), to_text(flow.destination), flow.name, flow.line, flow.encap ? "udp" : "esp",
          flow.encap ? fmt::format(", destination port {}", flow.encap->destination_port) : "",
          to_text(flow.destination));
  }

  void warn_of_slowness(const NatRule& rule, const EspFlow& flow) {
    diagnostics_.warning(Lint::kNatSlowsEsp, rule.line,
                         "{}: can match the gateway's own ESP ({}, line {}), so all ESP takes the long way "
                         "through sessions and "
                         "rules: give the rule a {} that leaves {} out, or a protocol",
                         path_of(rule), flow.name, flow.line,
                         flow.direction == Direction::kOut ? "source address" : "destination address",
                         to_text(flow.direction == Direction::kOut ? flow.source : flow.destination));
  }

  const Model& model_;
  const Topology& topology_;
  const std::vector<EspFlow> flows_;
  Diagnostics& diagnostics_;
};

}  // namespace

void lint_nat_of_esp(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  EspLint(model, topology, diagnostics).run();
}

}  // namespace espalier::config
