// References inside vpn.ipsec.
#include <algorithm>
#include <set>

#include "control/config/validate.hpp"
#include "control/shared/statistics.hpp"

namespace espalier::config {
namespace {

using Names = std::set<std::string_view>;

constexpr size_t kPoliciesOfPair = 3;  // out, in, fwd

template <class Groups>
Names names_of(const Groups& groups) {
  Names names;
  for (const auto& group : groups) names.insert(group.name);
  return names;
}

using Prefixes = std::vector<Located<IpPrefix>>;

// Of one family each; no prefixes are one of either.
size_t number_of_pairs(const Prefixes& local, const Prefixes& remote) {
  size_t pairs = 0;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const auto number = [&](const Prefixes& side) {
      const auto found =
          std::ranges::count_if(side, [&](const auto& p) { return p.value.family() == family; });
      return side.empty() ? 1 : static_cast<size_t>(found);
    };
    pairs += number(local) * number(remote);
  }
  return pairs;
}

class PeerCheck {
 public:
  PeerCheck(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : model_(model),
        topology_(topology),
        diagnostics_(diagnostics),
        esp_groups_(names_of(model.vpn.esp_groups)),
        ike_groups_(names_of(model.vpn.ike_groups)) {}

  void run() {
    check_lifetimes();
    for (const Peer& peer : model_.vpn.peers) {
      path_ = "vpn.ipsec.site-to-site.peer." + peer.name;
      check_group(peer.ike_group, "ike-group", ike_groups_);
      check_group(peer.default_esp_group, "default-esp-group", esp_groups_);
      check_addresses(peer);
      check_tunnels(peer);
      if (peer.vti) check_vti(peer, *peer.vti);
    }
    check_number_of_policies();
  }

 private:
  // VyOS's minimum.
  void check_lifetimes() {
    constexpr uint32_t kShortest = 30;
    for (const EspGroup& group : model_.vpn.esp_groups)
      if (group.lifetime < kShortest && !model_.vpn.short_lifetimes)
        diagnostics_.error(group.line, "vpn.ipsec.esp-group.{}.lifetime: {} is not between {} and 86400",
                           group.name, group.lifetime, kShortest);
  }

  // Those of xfrm were counted where they are validated; every pair of prefixes becomes one of each
  // direction.
  void check_number_of_policies() {
    const size_t policies = kPoliciesOfPair * selectors_ + model_.policies.size();
    if (policies > statistics::kMaxPolicies)
      diagnostics_.error(model_.vpn.line,
                         "vpn.ipsec: {} pairs of local and remote prefixes and {} policies of xfrm make {} "
                         "policies, more than the {} that there can be",
                         selectors_, model_.policies.size(), policies, statistics::kMaxPolicies);
  }

  void check_group(const Located<std::string>& name, const char* key, const Names& groups) {
    if (name.value.empty() || groups.contains(name.value)) return;
    diagnostics_.error(name.line, "{}.{}: there is no such group {}", path_, key, quoted(name.value));
  }

  // A datagram has one family; and who initiates has to know where to.
  void check_addresses(const Peer& peer) {
    const IpAddress& local = peer.local_address.value;
    bool somewhere = false;
    for (const auto& remote : peer.remote_addresses) {
      somewhere |= remote.value != "any";
      const auto address = parse_address(remote.value);
      if (address && !local.is_unspecified() && address->family() != local.family())
        diagnostics_.error(remote.line, "{}.remote-address: {} is {}, and local-address {} is not", path_,
                           remote.value, name_of(address->family()), to_text(local));
    }
    if (peer.connection_type == ConnectionType::kInitiate && !somewhere)
      diagnostics_.error(peer.connection_type_line,
                         "{}.connection-type: \"initiate\" needs a remote-address beside \"any\"", path_);
  }

  // A tunnel or VTI without a group of its own takes the peer's default.
  void check_esp_group(const Peer& peer, const Located<std::string>& own, int line, const std::string& part) {
    check_group(own, (part + ".esp-group").c_str(), esp_groups_);
    if (own.value.empty() && peer.default_esp_group.value.empty())
      diagnostics_.error(line, "{}.{}: needs esp-group, or default-esp-group of the peer", path_, part);
  }

  void check_tunnels(const Peer& peer) {
    for (const Tunnel& tunnel : peer.tunnels) {
      const std::string part = fmt::format("tunnel {}", tunnel.number);
      check_esp_group(peer, tunnel.esp_group, tunnel.line, part);
      check_selectors(tunnel.line, part, tunnel.local.prefixes, tunnel.remote.prefixes);
      if (is_transport(peer, tunnel.esp_group)) check_transport(peer, tunnel, part);
      if (!peer.disable && !tunnel.disable)
        selectors_ += number_of_pairs(tunnel.local.prefixes, tunnel.remote.prefixes);
    }
    for_each_duplicate(
        peer.tunnels, [](const Tunnel& tunnel) { return tunnel.number; },
        [&](const Tunnel& first, const Tunnel& second) {
          diagnostics_.error(second.line, "{}.tunnel {}: the number stands twice (line {})", path_,
                             second.number, first.line);
        });
  }

  void check_selectors(int line, const std::string& part, const Prefixes& local, const Prefixes& remote) {
    check_families(line, part, local, remote);
    // RFC 7296 section 3.13: a TS payload counts its selectors in one byte.
    constexpr size_t kMost = 255;
    for (const Prefixes* end : {&local, &remote})
      if (end->size() > kMost)
        diagnostics_.error(line, "{}.{}: {} prefixes on one side; IKE's messages take {}: make two tunnels",
                           path_, part, end->size(), kMost);
  }

  // A local prefix without a remote one of its family could carry nothing. A VTI's side without prefixes
  // takes everything.
  void check_families(int line, const std::string& part, const Prefixes& local, const Prefixes& remote) {
    if (local.empty() || remote.empty()) return;
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      const auto is_of = [&](const auto& p) { return p.value.family() == family; };
      if (std::ranges::any_of(local, is_of) != std::ranges::any_of(remote, is_of))
        diagnostics_.error(line, "{}.{}: has {} prefixes on one side only", path_, part, name_of(family));
    }
  }

  static const std::string& group_of(const Peer& peer, const Located<std::string>& own) {
    return own.value.empty() ? peer.default_esp_group.value : own.value;
  }
  bool is_transport(const Peer& peer, const Located<std::string>& own) const {
    const std::string& name = group_of(peer, own);
    return std::any_of(
        model_.vpn.esp_groups.begin(), model_.vpn.esp_groups.end(),
        [&](const EspGroup& group) { return group.name == name && group.mode == EspMode::kTransport; });
  }

  // What its SAs carry is between the two gateways themselves (RFC 4301 section 4.1).
  void check_transport(const Peer& peer, const Tunnel& tunnel, const std::string& part) {
    const auto contains = [](const TunnelEnd& end, const IpAddress& address) {
      return std::any_of(end.prefixes.begin(), end.prefixes.end(),
                         [&](const auto& prefix) { return prefix.value.contains(address); });
    };
    const IpAddress& local = peer.local_address.value;
    if (!local.is_unspecified() && !contains(tunnel.local, local))
      diagnostics_.error(tunnel.line, "{}.{}: in transport mode its local prefix contains local-address {}",
                         path_, part, to_text(local));
    for (const auto& remote : peer.remote_addresses)
      if (const auto address = parse_address(remote.value); address && !contains(tunnel.remote, *address))
        diagnostics_.error(tunnel.line,
                           "{}.{}: in transport mode its remote prefix contains remote-address {}", path_,
                           part, remote.value);
  }

  void check_vti(const Peer& peer, const VtiBinding& vti) {
    if (peer.tunnels.empty())
      check_own_sa(peer, vti);
    else
      check_bound_tunnels(peer, vti);
    const auto index = topology_.interface(vti.bind.value);
    if (!index || model_.interfaces[*index].type != InterfaceType::kVti)
      return diagnostics_.error(vti.bind.line, "{}.vti.bind: there is no interface {} of type \"vti\"", path_,
                                quoted(vti.bind.value));
    if (!bound_.insert(vti.bind.value).second)
      diagnostics_.error(vti.bind.line, "{}.vti.bind: {} is bound to another peer already", path_,
                         vti.bind.value);
  }

  void check_own_sa(const Peer& peer, const VtiBinding& vti) {
    check_esp_group(peer, vti.esp_group, vti.line, "vti");
    if (is_transport(peer, vti.esp_group))
      diagnostics_.error(vti.line, "{}.vti: needs an esp-group of mode \"tunnel\"", path_);
    check_selectors(vti.line, "vti.traffic-selector", vti.local, vti.remote);
    if (!peer.disable) selectors_ += number_of_pairs(vti.local, vti.remote);
  }

  // The interface has the SAs of the peer's tunnels and none of its own, as in VyOS.
  void check_bound_tunnels(const Peer& peer, const VtiBinding& vti) {
    check_group(vti.esp_group, "vti.esp-group", esp_groups_);
    if (!vti.local.empty() || !vti.remote.empty())
      diagnostics_.error(vti.line,
                         "{}.vti.traffic-selector: the SAs of {} are those of the peer's tunnels: leave it "
                         "out, or the tunnels",
                         path_, vti.bind.value);
    for (const Tunnel& tunnel : peer.tunnels) {
      if (is_transport(peer, tunnel.esp_group))
        diagnostics_.error(tunnel.line, "{}.tunnel {}: needs an esp-group of mode \"tunnel\" for {}", path_,
                           tunnel.number, vti.bind.value);
      const std::string& group = group_of(peer, tunnel.esp_group);
      if (!vti.esp_group.value.empty() && !group.empty() && group != vti.esp_group.value)
        diagnostics_.error(
            vti.esp_group.line,
            "{}.vti.esp-group: the SAs of {} are those of the peer's tunnels, and tunnel {} has "
            "esp-group {}: leave it out",
            path_, vti.bind.value, tunnel.number, group);
    }
  }

  const Model& model_;
  const Topology& topology_;
  Diagnostics& diagnostics_;
  Names esp_groups_, ike_groups_, bound_;
  std::string path_;
  size_t selectors_ = 0;  // pairs of prefixes
};

// Without any address IKE would be taken to be free to use all of the gateway's.
void check_interfaces(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  size_t known = 0, addresses = 0;
  for (const auto& interface : model.vpn.interfaces) {
    if (const auto index = topology.interface(interface.value))
      ++known, addresses += model.interfaces[*index].addresses.size();
    else
      diagnostics.error(interface.line, "vpn.ipsec.interface: there is no interface {}",
                        quoted(interface.value));
  }
  if (known != 0 && addresses == 0)
    diagnostics.error(model.vpn.interfaces.front().line,
                      "vpn.ipsec.interface: none of them has an address that IKE could use");
}

}  // namespace

void validate_vpn(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_interfaces(model, topology, diagnostics);
  PeerCheck(model, topology, diagnostics).run();
}

}  // namespace espalier::config
