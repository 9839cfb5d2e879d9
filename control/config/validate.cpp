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
    diagnostics.error(own.line, "interfaces.{}.address: {} is {}", own.interface->name, to_string(a), why);
  };
  if (!a.is_unicast()) return wrong("no address of a host");
  if (!own.prefix.has_broadcast()) return;
  if (a == own.prefix.network().address) wrong("the network's own address");
  if (a == own.prefix.last()) wrong("the network's broadcast address");
}

// The dataplane would know the way to the first of them only. Two addresses of one interface are fine.
void check_networks(const std::vector<OwnAddress>& addresses, Diagnostics& diagnostics) {
  for_each_duplicate(
      addresses, [](const OwnAddress& own) { return own.prefix.network(); },
      [&](const OwnAddress& first, const OwnAddress& second) {
        const bool told = first.prefix == second.prefix;  // as an address that stands twice
        if (first.interface == second.interface || told) return;
        diagnostics.error(second.line, "interfaces.{}.address: {} is the network of {} already (line {})",
                          second.interface->name, to_string(second.prefix.network()), first.interface->name,
                          first.line);
      });
}

void check_addresses(const Model& model, Diagnostics& diagnostics) {
  std::vector<OwnAddress> addresses;
  for (const Interface& interface : model.interfaces)
    for (const auto& address : interface.addresses)
      addresses.push_back({address.value, address.line, &interface});
  check_count(lines_of(addresses), limits::kAddresses, "addresses", diagnostics);
  for (const OwnAddress& own : addresses) check_own_address(own, diagnostics);
  for_each_duplicate(
      addresses, [](const OwnAddress& own) { return own.prefix.address; },
      [&](const OwnAddress& first, const OwnAddress& second) {
        diagnostics.error(second.line, "interfaces.{}.address: {} is an address of {} already (line {})",
                          second.interface->name, to_string(second.prefix.address), first.interface->name,
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
std::map<IpPrefix, Installed> installed_by_addresses(const Model& model) {
  std::map<IpPrefix, Installed> installed;
  for (const Interface& interface : model.interfaces)
    for (const auto& [own, line] : interface.addresses) {
      const auto host = static_cast<uint8_t>(own.address.bits());
      installed.try_emplace({own.address, host}, Installed{"an address of " + interface.name, line});
      installed.try_emplace(own.network(), Installed{"the network of " + interface.name, line});
      if (own.has_broadcast())
        installed.try_emplace({own.last(), host},
                              Installed{"the broadcast address of " + interface.name, line});
    }
  return installed;
}

void check_next_hop_on(const Interface& interface, const IpAddress& via, auto wrong) {
  if (interface.type == InterfaceType::kDummy)
    return wrong(fmt::format("is on {}, which is a dummy: no other host is there", interface.name));
  for (const auto& own : interface.addresses)
    if (own.value.reserves(via))
      wrong(fmt::format("is no host's address in {}", to_string(own.value.network())));
}

void check_next_hop(const Route& route, const Located<IpAddress>& via, const Model& model,
                    const Topology& topology, Diagnostics& diagnostics) {
  const auto wrong = [&](std::string_view why) {
    diagnostics.error(via.line != 0 ? via.line : route.line, "routes {}.via: {} {}", to_string(route.prefix),
                      to_string(via.value), why);
  };
  if (!via.value.is_unicast()) return wrong("is no address of a host");
  if (topology.is_own(via.value)) return wrong("is an address of this gateway");
  const bool named = !route.interface.value.empty();
  const auto index = named ? topology.interface(route.interface.value) : topology.connected(via.value);
  if (!index && !named) return wrong("is on no connected network");
  if (!index) return;
  if (!topology.is_connected_on(via.value, *index))
    return wrong(fmt::format("is on no network of {}", route.interface.value));
  check_next_hop_on(model.interfaces[*index], via.value, wrong);
}

void check_routes(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  const auto installed = installed_by_addresses(model);
  for (const Route& route : model.routes) {
    if (const auto found = installed.find(route.prefix); found != installed.end())
      diagnostics.error(route.line,
                        "routes {}: is {} (line {}), so this route would never be asked: leave it out",
                        to_string(route.prefix), found->second.what, found->second.line);
    if (!route.interface.value.empty() && !topology.interface(route.interface.value))
      diagnostics.error(route.interface.line, "routes {}.interface: there is no interface {}",
                        to_string(route.prefix), quoted(route.interface.value));
    for (const auto& via : route.via) check_next_hop(route, via, model, topology, diagnostics);
  }
  for_each_duplicate(
      model.routes, [](const Route& route) { return std::tuple(route.prefix, route.metric.value_or(0)); },
      [&](const Route& first, const Route& second) {
        diagnostics.error(second.line, "routes {}: stands twice with the same metric (line {})",
                          to_string(second.prefix), first.line);
      });
}

bool is_neighbor_on(size_t index, const IpAddress& address, const Model& model, const Topology& topology) {
  const auto& networks = model.interfaces[index].addresses;
  return address.is_unicast() && !topology.is_own(address) && topology.is_connected_on(address, index) &&
         std::none_of(networks.begin(), networks.end(),
                      [&](const auto& own) { return own.value.reserves(address); });
}

void check_neighbors(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_count(lines_of(model.neighbors), limits::kNeighbors, "neighbors", diagnostics);
  for (const Neighbor& neighbor : model.neighbors) {
    const std::string path = fmt::format("neighbors {}", to_string(neighbor.address));
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
        diagnostics.error(second.line, "neighbors {}: stands twice (line {})", to_string(second.address),
                          first.line);
      });
}

void check_gre(const Model& model, Diagnostics& diagnostics) {
  for (const Interface& interface : model.interfaces) {
    const std::string& peer = interface.protect.value;
    const bool known = std::any_of(model.vpn.peers.begin(), model.vpn.peers.end(),
                                   [&](const Peer& p) { return p.name == peer; });
    if (!peer.empty() && !known)
      diagnostics.error(interface.protect.line, "interfaces.{}.protect: there is no peer {}", interface.name,
                        quoted(peer));
  }
}

void check_rules(const std::vector<NatRule>& rules, std::string_view kind, const Topology& topology,
                 Diagnostics& diagnostics) {
  for (const NatRule& rule : rules) {
    const std::string& interface = rule.interface.value;
    if (interface != "any" && !topology.interface(interface))
      diagnostics.error(rule.interface.line, "nat.{} rule {}: there is no interface {}", kind, rule.number,
                        quoted(interface));
  }
  for_each_duplicate(
      rules, [](const NatRule& rule) { return rule.number; },
      [&](const NatRule& first, const NatRule& second) {
        diagnostics.error(second.line, "nat.{} rule {}: the number stands twice (line {})", kind,
                          second.number, first.line);
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

// Equal keys would let two states use a nonce twice (RFC 4106 section 3): fatal for AES-GCM.
void check_keys(const Model& model, Diagnostics& diagnostics) {
  std::vector<const State*> states;
  for (const State& state : model.states) states.push_back(&state);
  for_each_duplicate(
      states, [](const State* state) { return state->key.text(); },
      [&](const State* first, const State* second) {
        diagnostics.error(second->line,
                          "xfrm.state 0x{:x}.key: is the key of state 0x{:x} already (line {}): every state "
                          "needs its own{}",
                          second->spi, first->spi, first->line,
                          second->cipher->aead ? ", or a nonce is used twice" : "");
      });
}

void check_vti(const Located<std::string>& vti, const std::string& path, const Model& model,
               const Topology& topology, Diagnostics& diagnostics) {
  if (vti.value.empty()) return;
  const auto index = topology.interface(vti.value);
  if (!index || model.interfaces[*index].type != InterfaceType::kVti)
    diagnostics.error(vti.line, "{}: there is no interface {} of type \"vti\"", path, quoted(vti.value));
}

}  // namespace

void validate_network(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_addresses(model, diagnostics);
  check_devices(model, diagnostics);
  check_routes(model, topology, diagnostics);
  check_neighbors(model, topology, diagnostics);
  check_gre(model, diagnostics);
}

void validate_nat(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_rules(model.nat.source, "source", topology, diagnostics);
  check_rules(model.nat.destination, "destination", topology, diagnostics);
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
                          to_string(second.destination), first.line);
      });
  check_state_names(model, diagnostics);
  check_state_room(model, diagnostics);
  check_keys(model, diagnostics);
  for (const State& state : model.states)
    check_vti(state.vti, fmt::format("xfrm.state 0x{:x}.vti", state.spi), model, topology, diagnostics);
  for (const Policy& policy : model.policies)
    check_vti(policy.vti, fmt::format("xfrm.{}.vti", policy.name), model, topology, diagnostics);
}

void validate(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  validate_network(model, topology, diagnostics);
  validate_nat(model, topology, diagnostics);
  validate_xfrm(model, topology, diagnostics);
  validate_vpn(model, topology, diagnostics);
}

}  // namespace espalier::config
