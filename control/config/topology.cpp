#include "control/config/topology.hpp"

#include <algorithm>

namespace espalier::config {
namespace {

// Calls `found(entry)` for the entries of the longest network that contains `prefix`.
template <class Networks, class Found>
void longest_match(const Networks& networks, const IpPrefix& prefix, Found found) {
  const int shortest = prefix.is_v4() ? IpPrefix::kMappedBits : 0;
  for (int length = prefix.length; length >= shortest; --length) {
    const IpPrefix network = network_of({prefix.address, static_cast<uint8_t>(length)});
    auto at = networks.lower_bound({network, 0});
    if (at == networks.end() || at->first != network) continue;
    for (; at != networks.end() && at->first == network; ++at) found(*at);
    return;
  }
}

}  // namespace

Topology::Topology(const Model& model) : model_(model) {
  for (size_t i = 0; i < model.interfaces.size(); ++i) {
    names_.emplace(model.interfaces[i].name, i);
    for (const auto& address : model.interfaces[i].addresses) {
      own_.emplace(address.value.address, i);
      if (!address.value.address.is_link_local()) connected_.emplace(network_of(address.value), i);
    }
  }
  routed_ = connected_;
  for (const Route& route : model.routes) add_route(route);
}

void Topology::add_route(const Route& route) {
  if (!route.interface.value.empty()) {
    if (const auto index = interface(route.interface.value)) routed_.emplace(route.prefix, *index);
    return;
  }
  for (const auto& via : route.via)
    if (const auto index = connected(via.value)) routed_.emplace(route.prefix, *index);
}

std::optional<size_t> Topology::interface(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? std::nullopt : std::optional<size_t>(found->second);
}

std::optional<size_t> Topology::connected(const IpAddress& address) const {
  std::optional<size_t> result;
  longest_match(connected_, IpPrefix::host(address),
                [&](const auto& entry) { result = std::min(result.value_or(entry.second), entry.second); });
  return result;
}

bool Topology::is_own_on(const IpAddress& address, size_t interface) const {
  const auto& addresses = model_.interfaces[interface].addresses;
  return std::any_of(addresses.begin(), addresses.end(),
                     [&](const auto& own) { return own.value.address == address; });
}

bool Topology::is_connected_on(const IpAddress& address, size_t interface) const {
  const auto& addresses = model_.interfaces[interface].addresses;
  return std::any_of(addresses.begin(), addresses.end(), [&](const auto& own) {
    return address.is_link_local() ? own.value.family() == Family::kIpv6 : own.value.contains(address);
  });
}

std::vector<size_t> Topology::ways_to(const IpPrefix& destination) const {
  std::vector<size_t> result;
  longest_match(routed_, destination, [&](const auto& entry) { result.push_back(entry.second); });
  return result;
}

std::vector<size_t> Topology::egress(const IpPrefix& destination) const {
  std::vector<size_t> result = ways_to(destination);
  // IPv4 lies in the midst of IPv6, and is no part of it.
  auto at = routed_.lower_bound({network_of(destination), 0});
  for (; at != routed_.end() && at->first.address <= destination.last(); ++at)
    if (contains(destination, at->first)) result.push_back(at->second);
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

IpAddress Topology::next_hop(const IpAddress& destination, size_t interface) const {
  IpAddress result = destination;
  int longest = -1;
  if (is_connected_on(destination, interface)) return result;
  for (const Route& route : model_.routes)
    for (const auto& via : route.via)
      if (route.prefix.length > longest && route.prefix.contains(destination) &&
          (route.interface.value.empty() ? connected(via.value) == interface
                                         : route.interface.value == model_.interfaces[interface].name))
        result = via.value, longest = route.prefix.length;
  return result;
}

uint32_t Topology::mtu_of(const IpAddress& address) const {
  const auto found = own_.find(address);
  return found == own_.end() ? 1500 : model_.interfaces[found->second].mtu;
}

}  // namespace espalier::config
