#include "control/config/validate.hpp"

#include <map>
#include <tuple>

#include "control/config/device.hpp"
#include "control/shared/limits.hpp"
#include "control/shared/sa_directory.hpp"

namespace espalier::config {
namespace {

// An address with the interface that has it, for comparing all with all.
struct OwnAddress {
  IpPrefix prefix;
  int line;
  const Interface* interface;
};

// `lines` are those of all elements of one kind: the first that is too many is named.
void check_count(const std::vector<int>& lines, size_t most, std::string_view what,
                 Diagnostics& diagnostics) {
  if (lines.size() > most)
    diagnostics.error(lines[most], "{}: {} are more than the {} that there can be", what, lines.size(), most);
}

template <class List>
std::vector<int> lines_of(const List& list) {
  std::vector<int> lines;
  for (const auto& element : list) lines.push_back(element.line);
  return lines;
}

void check_own_address(const OwnAddress& own, Diagnostics& diagnostics) {
  const IpAddress& a = own.prefix.address;
  const auto wrong = [&](std::string_view why) {
    diagnostics.error(own.line, "interfaces.{}.address: {} is {}", own.interface->name, to_text(a), why);
  };
  if (!is_unicast(a)) return wrong("no address of a host");
  if (!has_broadcast(own.prefix)) return;
  if (a == own.prefix.network()) wrong("the network's own address");
  if (a == own.prefix.last()) wrong("the network's broadcast address");
}

// RFC 8200 section 5: IPv6 is not on links with less, and the dataplane cuts nothing for them.
void check_mtu(const Interface& interface, Diagnostics& diagnostics) {
  constexpr uint32_t kLeastOfIpv6 = 1280;
  const bool has_ipv6 = std::any_of(interface.addresses.begin(), interface.addresses.end(),
                                    [](const auto& a) { return a.value.family() == Family::kIpv6; });
  if (has_ipv6 && interface.mtu < kLeastOfIpv6)
    diagnostics.error(interface.line, "interfaces.{}.mtu: {} is below the {} that its IPv6 address needs",
                      interface.name, interface.mtu, kLeastOfIpv6);
}

// The dataplane would know the way to the first of them only. Two addresses of one interface are fine, and so
// is fe80::/10 on every link.
void check_networks(const std::vector<OwnAddress>& addresses, Diagnostics& diagnostics) {
  for_each_duplicate(
      addresses, [](const OwnAddress& own) { return order_of(network_of(own.prefix)); },
      [&](const OwnAddress& first, const OwnAddress& second) {
        const bool told = first.prefix == second.prefix;  // as an address that stands twice
        if (first.interface == second.interface || told || first.prefix.address.is_link_local()) return;
        diagnostics.error(second.line, "interfaces.{}.address: {} is the network of {} already (line {})",
                          second.interface->name, to_text(network_of(second.prefix)), first.interface->name,
                          first.line);
      });
}

void check_addresses(const Model& model, Diagnostics& diagnostics) {
  std::vector<OwnAddress> addresses;
  for (const Interface& interface : model.interfaces)
    for (const auto& address : interface.addresses)
      addresses.push_back({address.value, address.line, &interface});
  check_count(lines_of(addresses), limits::kAddresses, "addresses", diagnostics);
  for (const Interface& interface : model.interfaces) check_mtu(interface, diagnostics);
  for (const OwnAddress& own : addresses) check_own_address(own, diagnostics);
  for_each_duplicate(
      addresses,
      [](const OwnAddress& own) {
        return std::pair(own.prefix.address, own.prefix.address.is_link_local() ? own.interface : nullptr);
      },
      [&](const OwnAddress& first, const OwnAddress& second) {
        diagnostics.error(second.line, "interfaces.{}.address: {} is an address of {} already (line {})",
                          second.interface->name, to_text(second.prefix.address), first.interface->name,
                          first.line);
      });
  check_networks(addresses, diagnostics);
}

void check_devices(const Model& model, Diagnostics& diagnostics) {
  std::vector<const Interface*> ports;
  for (const Interface& interface : model.interfaces)
    if (interface.type == InterfaceType::kEthernet) ports.push_back(&interface);
  std::vector<int> lines;
  for (const Interface* port : ports) lines.push_back(port->line);
  check_count(lines, limits::kPorts, "interfaces with a device", diagnostics);
  for_each_duplicate(
      ports, [](const Interface* port) { return device_identity(port->device); },
      [&](const Interface* first, const Interface* second) {
        diagnostics.error(second->line, "interfaces.{}.device: is the device of {} already (line {})",
                          second->name, first->name, first->line);
      });
}

// What the interfaces' addresses put into the routing table, by prefix: own addresses, broadcast addresses,
// networks. A route for one of these would never be asked (as in Linux, where the table "local" comes first).
struct Installed {
  std::string what;
  int line;
};
using InstalledPrefixes = std::map<IpPrefix, Installed, PrefixLess>;
InstalledPrefixes installed_by_addresses(const Model& model) {
  InstalledPrefixes installed;
  for (const Interface& interface : model.interfaces)
    for (const auto& [own, line] : interface.addresses) {
      installed.try_emplace(IpPrefix::host(own.address), Installed{"an address of " + interface.name, line});
      installed.try_emplace(network_of(own), Installed{"the network of " + interface.name, line});
      if (has_broadcast(own))
        installed.try_emplace(IpPrefix::host(own.last()),
                              Installed{"the broadcast address of " + interface.name, line});
    }
  return installed;
}

void check_next_hop_on(const Interface& interface, const IpAddress& via, auto wrong) {
  if (interface.type == InterfaceType::kDummy)
    return wrong(fmt::format("is on {}, which is a dummy: no other host is there", interface.name));
  for (const auto& own : interface.addresses)
    if (reserves(own.value, via))
      wrong(fmt::format("is no host's address in {}", to_text(network_of(own.value))));
}

void check_next_hop(const Route& route, const Located<IpAddress>& via, const Model& model,
                    const Topology& topology, Diagnostics& diagnostics) {
  const auto wrong = [&](std::string_view why) {
    diagnostics.error(via.line != 0 ? via.line : route.line, "routes {}.via: {} {}", to_text(route.prefix),
                      to_text(via.value), why);
  };
  if (!is_unicast(via.value)) return wrong("is no address of a host");
  const bool named = !route.interface.value.empty();
  if (via.value.is_link_local() && !named)
    return wrong("is link local, and could be on any interface: name it by interface");
  if (!via.value.is_link_local() && topology.is_own(via.value)) return wrong("is an address of this gateway");
  const auto index = named ? topology.interface(route.interface.value) : topology.connected(via.value);
  if (!index && !named) return wrong("is on no connected network");
  if (!index) return;
  if (topology.is_own_on(via.value, *index)) return wrong("is an address of this gateway");
  if (!topology.is_connected_on(via.value, *index))
    return wrong(fmt::format("is on no network of {}", route.interface.value));
  check_next_hop_on(model.interfaces[*index], via.value, wrong);
}

void check_vias(const Route& route, const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  for (const auto& via : route.via) check_next_hop(route, via, model, topology, diagnostics);
  for_each_duplicate(
      route.via, [](const Located<IpAddress>& via) { return via.value; },
      [&](const Located<IpAddress>& first, const Located<IpAddress>& second) {
        diagnostics.error(second.line, "routes {}.via: {} stands twice (line {})", to_text(route.prefix),
                          to_text(second.value), first.line);
      });
}

void check_import(const Model& model, Diagnostics& diagnostics) {
  if (model.import && !model.dataplane.host_path)
    diagnostics.error(
        model.import->line,
        "routes import: needs dataplane.host-path = true: the kernel's routes lead over its TAPs");
}

void check_routes(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  const auto installed = installed_by_addresses(model);
  for (const Route& route : model.routes) {
    if (const auto found = installed.find(route.prefix); found != installed.end())
      diagnostics.error(route.line,
                        "routes {}: is {} (line {}), so this route would never be asked: leave it out",
                        to_text(route.prefix), found->second.what, found->second.line);
    if (!route.interface.value.empty() && !topology.interface(route.interface.value))
      diagnostics.error(route.interface.line, "routes {}.interface: there is no interface {}",
                        to_text(route.prefix), quoted(route.interface.value));
    check_vias(route, model, topology, diagnostics);
  }
  for_each_duplicate(
      model.routes, [](const Route& route) { return std::pair(order_of(route.prefix), route.metric); },
      [&](const Route& first, const Route& second) {
        diagnostics.error(second.line, "routes {}: stands twice with the same metric (line {})",
                          to_text(second.prefix), first.line);
      });
}

bool is_neighbor_on(size_t index, const IpAddress& address, const Model& model, const Topology& topology) {
  const auto& networks = model.interfaces[index].addresses;
  const bool own = address.is_link_local() ? topology.is_own_on(address, index) : topology.is_own(address);
  return is_unicast(address) && !own && topology.is_connected_on(address, index) &&
         std::none_of(networks.begin(), networks.end(),
                      [&](const auto& network) { return reserves(network.value, address); });
}

void check_neighbors(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_count(lines_of(model.neighbors), limits::kNeighbors, "neighbors", diagnostics);
  for (const Neighbor& neighbor : model.neighbors) {
    const std::string path = fmt::format("neighbors {}", to_text(neighbor.address));
    const auto index = topology.interface(neighbor.interface.value);
    if (!index) {
      diagnostics.error(neighbor.interface.line, "{}.interface: there is no interface {}", path,
                        quoted(neighbor.interface.value));
      continue;
    }
    const InterfaceType type = model.interfaces[*index].type;
    if (type != InterfaceType::kEthernet && type != InterfaceType::kVif)
      diagnostics.error(neighbor.interface.line, "{}.interface: {} has no MAC addresses", path,
                        neighbor.interface.value);
    else if (!is_neighbor_on(*index, neighbor.address, model, topology))
      diagnostics.error(neighbor.line, "{}: is not a neighbor's address on a network of {}", path,
                        neighbor.interface.value);
  }
  for_each_duplicate(
      model.neighbors,
      [](const Neighbor& n) { return std::tuple(std::string_view(n.interface.value), n.address); },
      [&](const Neighbor& first, const Neighbor& second) {
        diagnostics.error(second.line, "neighbors {}: stands twice (line {})", to_text(second.address),
                          first.line);
      });
}

// Which tunnel a GRE packet belongs to is told by its addresses and key.
void check_gre(const Model& model, Diagnostics& diagnostics) {
  std::vector<const Interface*> tunnels;
  for (const Interface& interface : model.interfaces)
    if (interface.type == InterfaceType::kGre) tunnels.push_back(&interface);
  for_each_duplicate(
      tunnels, [](const Interface* i) { return std::tuple(i->local_ip, i->remote_ip, i->gre_key); },
      [&](const Interface* first, const Interface* second) {
        diagnostics.error(second->line,
                          "interfaces.{}: has the endpoints of {} (line {}): give each a key of its own",
                          second->name, first->name, first->line);
      });
}

void check_rules(const std::vector<NatRule>& rules, const Topology& topology, Diagnostics& diagnostics) {
  for (const NatRule& rule : rules) {
    const std::string& interface = rule.interface.value;
    if (interface != "any" && interface != "local" && !topology.interface(interface))
      diagnostics.error(rule.interface.line, "{}: there is no interface {}", path_of(rule),
                        quoted(interface));
  }
  for_each_duplicate(
      rules, [](const NatRule& rule) { return std::pair(rule.family, rule.number); },
      [&](const NatRule& first, const NatRule& second) {
        diagnostics.error(second.line, "{}: the number stands twice (line {})", path_of(second), first.line);
      });
}

// `explain --tunnel` and the tables name a state by its name. The two directions of a tunnel may share one.
void check_state_names(const Model& model, Diagnostics& diagnostics) {
  std::vector<const State*> named;
  for (const State& state : model.states)
    if (state.name != default_name(state)) named.push_back(&state);
  for_each_duplicate(
      named, [](const State* state) { return std::tuple(state->direction, std::string_view(state->name)); },
      [&](const State* first, const State* second) {
        diagnostics.error(second->line,
                          "xfrm.state 0x{:x}.name: is the name of state 0x{:x} already (line {})",
                          second->spi, first->spi, first->line);
      });
}

// The dataplane's cells are of this size, and all replay windows share one area.
void check_state_room(const Model& model, Diagnostics& diagnostics) {
  constexpr CellGeometry kRoom;
  check_count(lines_of(model.states), kRoom.capacity, "xfrm.state", diagnostics);
  uint32_t blocks = 0;
  for (const State& state : model.states) {
    if (state.direction == Direction::kIn)
      blocks += WindowAllocator::blocks(replay_words(state.replay_window));
    if (blocks <= kRoom.window_words / WindowAllocator::kBlockWords) continue;
    diagnostics.error(
        state.line,
        "xfrm.state 0x{:x}.replay-window: there is no room for {} packets beside the windows of "
        "the states before it: make some windows smaller",
        state.spi, state.replay_window);
    return;
  }
}

// Equal keys would let two states use a nonce twice (RFC 4106 section 3): fatal for AES-GCM and ChaCha20.
void check_keys(const Model& model, Diagnostics& diagnostics) {
  std::vector<const State*> states;
  for (const State& state : model.states)
    if (!state.key.empty()) states.push_back(&state);
  for_each_duplicate(
      states, [](const State* state) { return state->key.text(); },
      [&](const State* first, const State* second) {
        diagnostics.error(second->line,
                          "xfrm.state 0x{:x}.key: is the key of state 0x{:x} already (line {}): every state "
                          "needs its own{}",
                          second->spi, first->spi, first->line,
                          second->cipher->aead() ? ", or a nonce is used twice" : "");
      });
}

void check_vti(const Located<std::string>& vti, const std::string& path, const Model& model,
               const Topology& topology, Diagnostics& diagnostics) {
  if (vti.value.empty()) return;
  const auto index = topology.interface(vti.value);
  if (!index || model.interfaces[*index].type != InterfaceType::kVti)
    diagnostics.error(vti.line, "{}: there is no interface {} of type \"vti\"", path, quoted(vti.value));
}

// The endpoints of a vti, where it names some, are those of its states.
void check_vti_ends(const State& state, const Model& model, const Topology& topology,
                    Diagnostics& diagnostics) {
  const auto index = topology.interface(state.vti.value);
  if (state.vti.value.empty() || !index || model.interfaces[*index].local_ip.is_unspecified()) return;
  const Interface& vti = model.interfaces[*index];
  const bool out = state.direction == Direction::kOut;
  const IpAddress &local = out ? state.source : state.destination,
                  &remote = out ? state.destination : state.source;
  if (local != vti.local_ip || remote != vti.remote_ip)
    diagnostics.error(state.vti.line,
                      "xfrm.state 0x{:x}.vti: {} is between {} and {} (line {}), and this state is not",
                      state.spi, vti.name, to_text(vti.local_ip), to_text(vti.remote_ip), vti.line);
}

void check_policy_interfaces(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  for (const Policy& policy : model.policies) {
    check_vti(policy.vti, fmt::format("xfrm.{}.vti", policy.name), model, topology, diagnostics);
    const std::string& interface = policy.interface.value;
    if (!interface.empty() && !topology.interface(interface))
      diagnostics.error(policy.interface.line, "xfrm.{}.interface: there is no interface {}", policy.name,
                        quoted(interface));
  }
}

}  // namespace

void validate_network(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_addresses(model, diagnostics);
  check_devices(model, diagnostics);
  check_routes(model, topology, diagnostics);
  check_import(model, diagnostics);
  check_neighbors(model, topology, diagnostics);
  check_gre(model, diagnostics);
}

void validate_nat(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_rules(model.nat.source, topology, diagnostics);
  check_rules(model.nat.destination, topology, diagnostics);
  if (model.nat.session_limit.value_or(0) > model.dataplane.sessions)
    diagnostics.error(model.nat.session_limit_line,
                      "nat.limits.sessions: {} is above the {} of dataplane.sessions",
                      *model.nat.session_limit, model.dataplane.sessions);
}

void validate_xfrm(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  for_each_duplicate(
      model.states, [](const State& state) { return std::tuple(state.destination, state.spi); },
      [&](const State& first, const State& second) {
        diagnostics.error(second.line, "xfrm.state 0x{:x}: stands twice with dst {} (line {})", second.spi,
                          to_text(second.destination), first.line);
      });
  check_state_names(model, diagnostics);
  check_state_room(model, diagnostics);
  check_keys(model, diagnostics);
  for (const State& state : model.states) {
    check_vti(state.vti, fmt::format("xfrm.state 0x{:x}.vti", state.spi), model, topology, diagnostics);
    check_vti_ends(state, model, topology, diagnostics);
  }
  check_policy_interfaces(model, topology, diagnostics);
}

void validate(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  validate_network(model, topology, diagnostics);
  validate_nat(model, topology, diagnostics);
  validate_xfrm(model, topology, diagnostics);
  validate_vpn(model, topology, diagnostics);
}

}  // namespace espalier::config
