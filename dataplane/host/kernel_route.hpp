// Routes and next hop objects as rtnetlink messages tell of them, and reading them from such messages.
#pragma once

#include <libmnl/libmnl.h>

#include <optional>
#include <tuple>
#include <vector>

#include "control/shared/records.hpp"

namespace espalier::dataplane {

// What tells routes of one table apart, but for several that the kernel keeps behind each other.
struct RouteKey {
  IpPrefix prefix;
  uint32_t metric = 0;
  friend bool operator==(const RouteKey&, const RouteKey&) = default;
  friend bool operator<(const RouteKey& a, const RouteKey& b) {
    return std::tie(a.prefix.address, a.prefix.length, a.metric) <
           std::tie(b.prefix.address, b.prefix.length, b.metric);
  }
};

struct KernelNextHop {
  int link = 0;   // the kernel's index
  IpAddress via;  // unspecified: none
  friend bool operator==(const KernelNextHop&, const KernelNextHop&) = default;
};

struct KernelRoute {
  uint8_t protocol = 0;  // rtm_protocol
  RouteKind kind = RouteKind::kNextHop;
  uint32_t object = 0;  // its next hops are this object's; 0: they are `next_hops`
  std::vector<KernelNextHop> next_hops;
  friend bool operator==(const KernelRoute&, const KernelRoute&) = default;
};

// `ip nexthop`: one next hop, a group of others, or what a blackhole route does.
struct NextHopObject {
  bool blackhole = false;
  KernelNextHop next_hop;
  std::vector<uint32_t> members;  // of a group
  friend bool operator==(const NextHopObject&, const NextHopObject&) = default;
};

struct ParsedRoute {
  uint32_t table = 0;
  RouteKey key;
  KernelRoute route;
};

// Of an RTM_NEWROUTE or RTM_DELROUTE message. Nothing: it is no unicast or refusing route, the kernel's own
// or ours, or one that Espalier cannot have (by TOS, by source, encapsulating).
std::optional<ParsedRoute> parse_route(const nlmsghdr& message);

struct ParsedNextHop {
  uint32_t id = 0;
  NextHopObject object;
};
// Of an RTM_NEWNEXTHOP or RTM_DELNEXTHOP message. Nothing: it is damaged.
std::optional<ParsedNextHop> parse_next_hop(const nlmsghdr& message);

}  // namespace espalier::dataplane
