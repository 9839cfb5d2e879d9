// GRE that leaves in clear, MTUs of tunnel interfaces that the way below does not bear, and routes to a
// tunnel's peer that lead into the tunnel.
#include <algorithm>
#include <set>

#include "control/config/ike_document.hpp"
#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

constexpr uint32_t kUdpHeader = 8, kEspHeader = 8, kEspTrailer = 2, kGreHeader = 4, kGreKey = 4;

uint32_t ip_header(const IpAddress& address) {
  return address.is_v4() ? 20 : 40;
}

// How an SA is laid out on the wire. Without a state: AES-GCM, as IKE will most likely choose.
struct EspLayout {
  EspAlgorithm algorithm;
  bool encap = false;
  static EspLayout of(const State* state) {
    if (state == nullptr) return {};
    return {state->algorithm, state->encap.has_value()};
  }
};

// What fits into the ESP of an IP packet of `outer` bytes with a header of `header`: RFC 4303 section 2.
uint32_t esp_payload(uint32_t outer, uint32_t header, const EspLayout& esp) {
  const EspAlgorithm& a = esp.algorithm;
  const uint32_t around = header + (esp.encap ? kUdpHeader : 0) + kEspHeader + a.iv_bytes() + a.icv_bytes;
  const uint32_t least = around + a.align_bytes();
  return outer < least ? 0 : (outer - around) / a.align_bytes() * a.align_bytes() - kEspTrailer;
}

// Names of the groups that the SAs of a peer's VTI are made with.
std::set<std::string_view> esp_groups_of_vti(const Peer& peer) {
  const auto name = [&](const Located<std::string>& own) -> std::string_view {
    return own.value.empty() ? peer.default_esp_group.value : own.value;
  };
  if (peer.tunnels.empty()) return {name(peer.vti->esp_group)};
  std::set<std::string_view> names;
  for (const Tunnel& tunnel : peer.tunnels)
    if (!tunnel.disable) names.insert(name(tunnel.esp_group));
  return names;
}

// The largest packet of a peer's VTI: with the widest of its proposals.
uint32_t esp_payload(uint32_t outer, uint32_t header, const Peer& peer, const Vpn& vpn) {
  const auto names = esp_groups_of_vti(peer);
  uint32_t least = UINT32_MAX;
  for (const EspGroup& group : vpn.esp_groups)
    if (names.contains(group.name))
      for (const Proposal& proposal : group.proposals)
        least = std::min(least,
                         esp_payload(outer, header, {algorithm_of(proposal), peer.force_udp_encapsulation}));
  return least;
}

// The largest packet that a policy's templates leave room for: the last is the outermost.
uint32_t room_in_templates(const Policy& policy, const Model& model, uint32_t path_mtu,
                           const IpAddress& own) {
  uint32_t room = path_mtu;
  for (auto t = policy.templates.rbegin(); t != policy.templates.rend(); ++t) {
    const PolicyTemplate& r = t->record;
    const bool tunnel = r.mode == EspMode::kTunnel;
    const auto state = std::find_if(model.states.begin(), model.states.end(), [&](const State& s) {
      return s.direction == Direction::kOut && s.mode == r.mode && s.vti.value.empty() &&
             (r.reqid.value == 0 || r.reqid.value == s.reqid) &&
             (r.destination.is_unspecified() || r.destination == s.destination);
    });
    const uint32_t header = ip_header(tunnel ? r.source : own);
    room = esp_payload(room, header, EspLayout::of(state == model.states.end() ? nullptr : &*state)) +
           (tunnel ? 0 : header);
  }
  return room;
}

bool takes_gre(uint8_t protocol, const IpPrefix& local, const IpPrefix& remote, const Interface& gre) {
  return (protocol == kProtoAny || protocol == kProtoGre) && local.contains(gre.local_ip) &&
         remote.contains(gre.remote_ip);
}

// The policy that decides: the lowest priority number, then the first.
const Policy* find_policy(const Interface& gre, const Model& model) {
  const Policy* best = nullptr;
  for (const Policy& p : model.policies)
    if (p.direction == Direction::kOut && p.vti.value.empty() &&
        takes_gre(p.selector.protocol, p.selector.source, p.selector.destination, gre) &&
        (best == nullptr || p.priority < best->priority))
      best = &p;
  return best;
}

class TunnelLint {
 public:
  TunnelLint(const Model& model, const Topology& topology, const std::vector<Protected>& traffic,
             Diagnostics& diagnostics)
      : model_(model), topology_(topology), traffic_(traffic), diagnostics_(diagnostics) {}

  void run() {
    for (const Interface& interface : model_.interfaces) {
      if (interface.disable) continue;
      if (interface.type == InterfaceType::kVti) check_vti(interface);
      if (interface.type == InterfaceType::kGre) check_gre(interface);
    }
  }

 private:
  void check_mtu(const Interface& interface, uint32_t room, uint32_t path_mtu) {
    if (interface.mtu <= room) return;
    diagnostics_.warning(
        Lint::kMtuTooLarge, interface.line,
        "interfaces.{}.mtu: {} is more than fits into a path MTU of {}: set mtu = {} or less", interface.name,
        interface.mtu, path_mtu, room);
  }

  void check_vti(const Interface& vti) {
    bool has_state = false;
    for (const State& state : model_.states) {
      if (state.direction != Direction::kOut || state.vti.value != vti.name) continue;
      const uint32_t path_mtu = topology_.mtu_of(state.source);
      check_mtu(vti, esp_payload(path_mtu, ip_header(state.source), EspLayout::of(&state)), path_mtu);
      check_loop(vti, state.destination);
      has_state = true;
    }
    if (!has_state) check_bound(vti);
  }

  // A vti whose SAs IKE will make.
  void check_bound(const Interface& vti) {
    IpAddress local = vti.local_ip.is_unspecified() ? IpAddress(Ipv4Address{}) : vti.local_ip;
    const auto peer = std::find_if(model_.vpn.peers.begin(), model_.vpn.peers.end(),
                                   [&](const Peer& p) { return p.vti && p.vti->bind.value == vti.name; });
    const bool bound = peer != model_.vpn.peers.end();
    if (bound && !peer->local_address.value.is_unspecified()) local = peer->local_address.value;
    const uint32_t path_mtu = topology_.mtu_of(local), header = ip_header(local);
    check_mtu(vti,
              bound ? esp_payload(path_mtu, header, *peer, model_.vpn) : esp_payload(path_mtu, header, {}),
              path_mtu);
    if (!bound) return;
    for (const auto& remote : peer->remote_addresses)
      if (const auto address = parse_address(remote.value)) check_loop(vti, *address);
  }

  void check_loop(const Interface& tunnel, const IpAddress& peer) {
    const auto ways = topology_.ways_to(IpPrefix::host(peer));
    if (ways.size() != 1 || &model_.interfaces[ways[0]] != &tunnel) return;
    diagnostics_.warning(Lint::kTunnelLoop, tunnel.line,
                         "interfaces.{}: the route to its peer {} leads into the tunnel itself, so nothing "
                         "leaves: add a route to {} by the wire",
                         tunnel.name, to_text(peer), to_text(peer));
  }

  // By a tunnel of a peer, or by a VTI that the route leads into.
  bool is_protected_otherwise(const Interface& gre) const {
    const auto egress = topology_.egress(IpPrefix::host(gre.remote_ip));
    const bool by_vti = std::any_of(egress.begin(), egress.end(), [&](size_t index) {
      return model_.interfaces[index].type == InterfaceType::kVti;
    });
    return by_vti || std::any_of(traffic_.begin(), traffic_.end(), [&](const Protected& p) {
             return takes_gre(p.protocol, p.local, p.remote, gre);
           });
  }

  void check_gre(const Interface& gre) {
    const uint32_t path_mtu = topology_.mtu_of(gre.local_ip), header = ip_header(gre.local_ip);
    const Policy* policy = find_policy(gre, model_);
    uint32_t room = path_mtu;
    if (policy != nullptr && policy->action == PolicyAction::kProtect)
      room = room_in_templates(*policy, model_, path_mtu, gre.local_ip);
    else if (policy == nullptr && is_protected_otherwise(gre))
      room = esp_payload(path_mtu, header, {});
    else if (policy == nullptr || policy->action == PolicyAction::kBypass)
      warn_of_clear(gre);
    check_loop(gre, gre.remote_ip);
    const uint32_t around = header + kGreHeader + (gre.gre_key ? kGreKey : 0);
    check_mtu(gre, room > around ? room - around : 0, path_mtu);
  }

  void warn_of_clear(const Interface& gre) {
    diagnostics_.warning(Lint::kGreInClear, gre.line,
                         "interfaces.{}: no policy protects GRE from {} to {}, so {}: add a tunnel or policy "
                         "with protocol \"gre\" between them",
                         gre.name, to_text(gre.local_ip), to_text(gre.remote_ip),
                         gre.protect ? "nothing leaves (protect = true)" : "it leaves in clear");
  }

  const Model& model_;
  const Topology& topology_;
  const std::vector<Protected>& traffic_;
  Diagnostics& diagnostics_;
};

}  // namespace

void lint_tunnel_interfaces(const Model& model, const Topology& topology,
                            const std::vector<Protected>& traffic, Diagnostics& diagnostics) {
  TunnelLint(model, topology, traffic, diagnostics).run();
}

}  // namespace espalier::config
