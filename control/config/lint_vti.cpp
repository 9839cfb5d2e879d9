// VTIs that cannot carry what is meant for them: without states, without a route, with policies for
// something else, or with tunnels whose traffic leads elsewhere.
#include <algorithm>
#include <set>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

class VtiLint {
 public:
  VtiLint(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : model_(model), topology_(topology), diagnostics_(diagnostics) {
    for (const Route& route : model.routes) {
      routed_.insert(route.interface.value);
      for (const auto& via : route.via) routed_.insert(interface_of(route, via.value));
    }
  }

  void run() {
    for (const Interface& interface : model_.interfaces) {
      if (interface.type != InterfaceType::kVti || interface.disable) continue;
      const bool carries = check_sas(interface);
      if (carries && !is_routed(interface))
        diagnostics_.warning(
            Lint::kVtiWithoutRoute, interface.line,
            "interfaces.{0}: nothing is routed into it: add a route with interface = \"{0}\", "
            "or give it an address",
            interface.name);
      check_policies(interface);
    }
    for (const Peer& peer : model_.vpn.peers)
      if (!peer.disable && peer.vti) check_tunnels(peer);
  }

 private:
  bool has_state(const Interface& vti, Direction direction) const {
    return std::any_of(model_.states.begin(), model_.states.end(),
                       [&](const State& s) { return s.direction == direction && s.vti.value == vti.name; });
  }

  // Whether it can be up: with states of both directions, or by IKE.
  bool check_sas(const Interface& vti) {
    const bool bound = peer_of(vti) != nullptr;
    const bool out = has_state(vti, Direction::kOut), in = has_state(vti, Direction::kIn);
    if (bound || (out && in)) return true;
    const char* missing = out ? "no in state" : in ? "no out state" : "no states";
    diagnostics_.warning(Lint::kVtiWithoutSa, vti.line,
                         "interfaces.{0}: {1} and no peer bound to it, so it stays down: add states of both "
                         "directions with vti = \"{0}\"",
                         vti.name, missing);
    return false;
  }

  bool is_routed(const Interface& vti) const {
    const auto is_network = [](const auto& address) {
      return !address.value.is_host() && !address.value.address.is_link_local();
    };
    return model_.import || routed_.contains(vti.name) ||
           std::any_of(vti.addresses.begin(), vti.addresses.end(), is_network);
  }

  std::string_view interface_of(const Route& route, const IpAddress& via) const {
    if (!route.interface.value.empty()) return route.interface.value;
    const auto interface = topology_.connected(via);
    return interface ? std::string_view(model_.interfaces[*interface].name) : std::string_view();
  }

  bool leads_into(const Route& route, const Interface& vti) const {
    return route.interface.value == vti.name ||
           std::any_of(route.via.begin(), route.via.end(),
                       [&](const auto& via) { return interface_of(route, via.value) == vti.name; });
  }

  // A vti that has policies carries nothing that they do not cover. Those of IKE are its tunnels' or those of
  // its own selectors.
  void check_policies(const Interface& vti) {
    std::vector<IpPrefix> carried;
    bool has_policies = false;
    for (const Policy& policy : model_.policies) {
      if (policy.vti.value != vti.name) continue;
      has_policies = true;
      if (policy.direction == Direction::kOut && policy.action == PolicyAction::kProtect)
        carried.push_back(policy.selector.destination);
    }
    const Peer* peer = peer_of(vti);
    if (peer != nullptr) add_destinations(*peer, carried);
    if (!has_policies && carried.empty()) return;
    for (const Route& route : model_.routes)
      if (leads_into(route, vti) && std::ranges::none_of(carried, [&](const IpPrefix& destination) {
            return destination.overlaps(route.prefix);
          }))
        warn_of_route(route, vti, has_policies ? nullptr : peer);
  }

  // That makes SAs for it.
  const Peer* peer_of(const Interface& vti) const {
    const auto has_child = [](const Peer& peer) {
      const auto is_enabled = [](const Tunnel& tunnel) { return !tunnel.disable; };
      return peer.tunnels.empty() || std::ranges::any_of(peer.tunnels, is_enabled);
    };
    const auto found = std::ranges::find_if(model_.vpn.peers, [&](const Peer& peer) {
      return !peer.disable && peer.vti && peer.vti->bind.value == vti.name && has_child(peer);
    });
    return found == model_.vpn.peers.end() ? nullptr : &*found;
  }

  static void add_destinations(const Peer& peer, std::vector<IpPrefix>& to) {
    for (const auto& remote : peer.vti->remote) to.push_back(remote.value);
    for (const Tunnel& tunnel : peer.tunnels)
      if (!tunnel.disable)
        for (const auto& remote : tunnel.remote.prefixes) to.push_back(remote.value);
  }

  void warn_of_route(const Route& route, const Interface& vti, const Peer* peer) {
    if (peer == nullptr)
      diagnostics_.warning(Lint::kVtiPolicyMissesRoute, route.line,
                           "routes {0}: leads into {1}, none of whose out policies is for it, so its packets "
                           "are dropped: add an out policy with vti = \"{1}\" for it, or remove those of {1}",
                           to_text(route.prefix), vti.name);
    else
      diagnostics_.warning(
          Lint::kVtiPolicyMissesRoute, route.line,
          "routes {}: leads into {}, and no remote prefix of peer {} is for it, so its packets "
          "are dropped: add it to one",
          to_text(route.prefix), vti.name, peer->name);
  }

  // Only routes decide what goes into a vti. "Everything" means whatever they lead there.
  void check_tunnels(const Peer& peer) {
    if (model_.import) return;
    for (const Tunnel& tunnel : peer.tunnels)
      for (const auto& remote : tunnel.remote.prefixes)
        if (!tunnel.disable && network_of(remote.value) != IpPrefix::any(remote.value.family()))
          check_way(peer, tunnel, remote.value);
  }

  void check_way(const Peer& peer, const Tunnel& tunnel, const IpPrefix& remote) {
    const std::string& vti = peer.vti->bind.value;
    const std::vector<size_t> ways = topology_.ways_to(remote);
    const auto is_own = [&](size_t way) { return model_.interfaces[way].name == vti; };
    const auto is_vti = [&](size_t way) { return model_.interfaces[way].type == InterfaceType::kVti; };
    // A second way by another vti is as safe.
    if (std::ranges::any_of(ways, is_own) && std::ranges::all_of(ways, is_vti)) return;
    const auto other = std::ranges::find_if_not(ways, is_own);
    diagnostics_.warning(
        Lint::kVtiTunnelNotRouted, tunnel.line,
        "vpn.ipsec.site-to-site.peer.{}.tunnel {}: {} leads {}: add a route to it with interface = \"{}\"",
        peer.name, tunnel.number, to_text(remote),
        ways.empty() ? "nowhere" : fmt::format("by {}, past {}", model_.interfaces[*other].name, vti), vti);
  }

  const Model& model_;
  const Topology& topology_;
  Diagnostics& diagnostics_;
  std::set<std::string_view> routed_;  // names of the interfaces that routes lead to
};

}  // namespace

void lint_vtis(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  VtiLint(model, topology, diagnostics).run();
}

}  // namespace espalier::config
