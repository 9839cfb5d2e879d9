// GRE that leaves in clear, and MTUs of tunnel interfaces that the way below does not bear.
#include <algorithm>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

constexpr uint32_t kUdpHeader = 8, kEspHeader = 8, kEspTrailer = 2, kGreHeader = 4, kGreKey = 4;

uint32_t ip_header(const IpAddress& address) {
  return address.is_v4() ? 20 : 40;
}

// How an SA is laid out on the wire. Without a state: AES-GCM, as IKE will choose.
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

const Policy* find_policy(const Interface& gre, const Model& model) {
  const auto found = std::find_if(model.policies.begin(), model.policies.end(), [&](const Policy& p) {
    return p.direction == Direction::kOut && p.action == PolicyAction::kProtect && p.vti.value.empty() &&
           takes_gre(p.selector.protocol, p.selector.source, p.selector.destination, gre);
  });
  return found == model.policies.end() ? nullptr : &*found;
}

class TunnelLint {
 public:
  TunnelLint(const Model& model, const Topology& topology, const std::vector<Protected>& traffic,
             Diagnostics& diagnostics)
      : model_(model), topology_(topology), traffic_(traffic), diagnostics_(diagnostics) {}

  void run() {
    for (const Interface& interface : model_.interfaces) {
      if (interface.type == InterfaceType::kVti) check_vti(interface);
      if (interface.type == InterfaceType::kGre) check_gre(interface);
    }
  }

 private:
  void check_mtu(const Interface& interface, uint32_t room, uint32_t path_mtu) {
    if (interface.mtu <= room) return;
    diagnostics_.warning(
        interface.line, "interfaces.{}.mtu: {} is more than fits into a path MTU of {}: set mtu = {} or less",
        interface.name, interface.mtu, path_mtu, room);
  }

  void check_vti(const Interface& vti) {
    bool has_state = false;
    for (const State& state : model_.states) {
      if (state.direction != Direction::kOut || state.vti.value != vti.name) continue;
      const uint32_t path_mtu = topology_.mtu_of(state.source);
      check_mtu(vti, esp_payload(path_mtu, ip_header(state.source), EspLayout::of(&state)), path_mtu);
      has_state = true;
    }
    if (has_state) return;
    IpAddress local = vti.local_ip.is_unspecified() ? IpAddress(Ipv4Address{}) : vti.local_ip;
    for (const Peer& peer : model_.vpn.peers)
      if (peer.vti && peer.vti->bind.value == vti.name && !peer.local_address.value.is_unspecified())
        local = peer.local_address.value;
    check_mtu(vti, esp_payload(topology_.mtu_of(local), ip_header(local), {}), topology_.mtu_of(local));
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
    if (policy != nullptr)
      room = room_in_templates(*policy, model_, path_mtu, gre.local_ip);
    else if (is_protected_otherwise(gre))
      room = esp_payload(path_mtu, header, {});
    else
      warn_of_clear(gre);
    const uint32_t around = header + kGreHeader + (gre.gre_key ? kGreKey : 0);
    check_mtu(gre, room > around ? room - around : 0, path_mtu);
  }

  void warn_of_clear(const Interface& gre) {
    diagnostics_.warning(gre.line,
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
