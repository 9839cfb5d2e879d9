// What the interfaces' addresses and the routes of a configuration say about where an address is: looked up
// by prefix, so that 50,000 routes cost 50,000 lookups. Validation, lints and the compiler ask the same
// object, so they cannot disagree.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/config/model.hpp"

namespace espalier::config {

class Topology {
 public:
  // Keeps references into `model`, which must not change.
  explicit Topology(const Model& model);

  std::optional<size_t> interface(std::string_view name) const;
  // Of any interface. A link-local address (fe80::/10) may be on several.
  bool is_own(const IpAddress& address) const { return own_.contains(address); }
  bool is_own_on(const IpAddress& address, size_t interface) const;
  // The interface with the longest connected network that contains `address`, or the first of equal ones.
  // Nothing for link-local addresses: they are on every link.
  std::optional<size_t> connected(const IpAddress& address) const;
  // A link-local address is on every interface that has IPv6.
  bool is_connected_on(const IpAddress& address, size_t interface) const;
  // The interfaces that packets to `destination` can leave by: the route that contains all of it, and those
  // to parts of it. Sorted; empty if nothing leads there.
  std::vector<size_t> egress(const IpPrefix& destination) const;
  // The interfaces of the route that contains all of `destination` alone: several where it has several hops.
  std::vector<size_t> ways_to(const IpPrefix& destination) const;
  // Where packets to `destination` go on the interface: the gateway of the longest route, or itself.
  IpAddress next_hop(const IpAddress& destination, size_t interface) const;
  // MTU of the interface that has `address`, or 1500 where none has.
  uint32_t mtu_of(const IpAddress& address) const;

 private:
  struct NetworkLess {
    bool operator()(const std::pair<IpPrefix, size_t>& a, const std::pair<IpPrefix, size_t>& b) const {
      return std::pair(order_of(a.first), a.second) < std::pair(order_of(b.first), b.second);
    }
  };
  using Networks = std::set<std::pair<IpPrefix, size_t>, NetworkLess>;  // with the interface
  void add_route(const Route& route);

  const Model& model_;
  std::unordered_map<std::string_view, size_t> names_;
  std::map<IpAddress, size_t> own_;
  Networks connected_;
  Networks routed_;  // with the connected ones
};

}  // namespace espalier::config
