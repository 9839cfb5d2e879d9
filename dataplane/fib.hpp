// The forwarding table of both families: longest-prefix match over the routes, the interfaces' networks and
// the gateway's own addresses. Immutable after build; a change of routes builds a new one (main lcore) that
// the next snapshot publishes. What changes without that is which links are up: it is read at every look-up.
// Looked up for the first packet of a flow only.
//
// A next hop whose link is down is not used. A route without any left makes way for the one of the next
// higher metric to the same prefix and then for routes to wider prefixes, with two exceptions, so that losing
// a link never sends packets where nobody meant them to go, in clear perhaps:
//   - the routes of a VTI or a protected GRE (Interface::fails_closed) become unreachable: their flows may
//   take
//     another such tunnel, or a route of higher metric that the configuration has, but neither a next hop
//     beside the tunnel nor a route that was imported;
//   - the network of an interface that is down stays its network: packets are dropped as egress_down.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "control/shared/error.hpp"
#include "dataplane/interfaces.hpp"
#include "dataplane/prefix_ranges.hpp"

namespace espalier::dataplane {

enum class RouteVerdict : uint8_t { kForward, kLocal, kNoRoute, kBlackhole, kUnreachable, kProhibit };

struct RouteResult {
  RouteVerdict verdict = RouteVerdict::kNoRoute;
  // kForward: egress; kLocal: the interface that has the address; kUnreachable: the tunnel that is down, if
  // that is why.
  InterfaceIndex interface = kNoInterface;
  RouteIndex route = kNoRoute;  // that of the record, kNoRoute for connected and local ones
  uint32_t metric = 0;
  IpAddress next_hop;  // kForward: whom to resolve (the destination itself when connected); tunnels ignore it
};

// One entry as `show route` lists it.
struct RouteEntry {
  IpPrefix prefix;
  RouteVerdict verdict = RouteVerdict::kForward;
  uint8_t imported = 0;
  uint8_t next_hops = 0;        // kForward: how many
  InterfaceIndex owner;         // kLocal: the interface that has the address
  RouteIndex route = kNoRoute;  // kNoRoute: an interface's network or own address
  uint32_t metric = 0;
  uint32_t first_next_hop = 0;  // Fib::next_hops() knows them
};

// Which of several next hops a flow takes: as Linux's fib_multipath_hash_policy 1, over addresses, protocol
// and ports.
uint32_t flow_hash(const Tuple& tuple);

class Fib {
 public:
  // Precedence among equal prefixes: own and broadcast addresses, then the interfaces' networks (lowest
  // interface first), then `routes` by metric, the first one among equals. Link-local addresses and networks
  // are not in the table: see lookup_on_link(). Main lcore. The links of `interfaces` must live on. Errors: a
  // route whose interface does not exist, whose next hop is an own address or of the other family, or is on
  // no interface's network while the route names none.
  static Result<std::unique_ptr<Fib>> build(std::span<const RouteRecord> routes,
                                            const InterfaceTable& interfaces);
  Fib(const Fib&) = delete;
  Fib& operator=(const Fib&) = delete;

  // Any thread. `destination` may be any address; those of this network, loopback, multicast and broadcast
  // are the caller's to refuse. Own addresses are kLocal, and so are the last addresses of IPv4 networks up
  // to /30, which Linux takes as broadcasts: they are never forwarded, and InterfaceTable::is_own_address
  // tells the two apart, as it does for addresses that are not usable. The first address of a network is a
  // host like any other (Linux since 5.14; of IPv6 networks: no subnet-router anycast).
  RouteResult lookup(IpAddress destination, uint32_t flow_hash = 0) const;

  // The same for link-local addresses, which mean something on a link only: that of `on` (RFC 4291 section
  // 2.5.6). Own addresses are kLocal; without IPv6 there, or with kNoInterface, the answer is kNoRoute.
  RouteResult lookup_on_link(IpAddress destination, InterfaceIndex on) const;

  // Whether packets to `source` go into a VTI or a protected GRE, or would if its link was up: in clear,
  // nobody but a forger sends from there (docs/packet-order.md).
  bool leads_into_tunnel(IpAddress source) const;

  std::span<const RouteEntry> entries() const { return entries_; }  // IPv4 first, by prefix
  std::span<const NextHop> next_hops(const RouteEntry& entry) const {
    return std::span(next_hops_).subspan(entry.first_next_hop, entry.next_hops);
  }
  // Whether it has a next hop whose link is up, or needs none.
  bool is_usable(const RouteEntry& entry) const;

 private:
  // What of an interface decides about its routes.
  struct Gate {
    const LinkState* link = nullptr;
    bool enabled = false;
    bool fails_closed = false;
    bool has_ipv6 = false;
    std::vector<IpAddress> link_local;  // own addresses
  };
  // The entries of one prefix, best first.
  struct Node {
    uint32_t first = 0;
    uint32_t count = 0;
    uint32_t holder = kNone32;  // the entry that keeps packets from wider prefixes when none is usable
  };
  template <class Value>
  struct Tree {
    PrefixRanges<Value> ranges;
    std::vector<Node> nodes;  // by position in `ranges`
  };

  Fib() = default;
  template <class Value>
  Tree<Value> build_tree(uint32_t begin, uint32_t end) const;
  uint32_t find_holder(const Node& node) const;

  std::span<const RouteEntry> entries_of(const Node& node) const {
    return std::span(entries_).subspan(node.first, node.count);
  }
  bool is_up(InterfaceIndex interface) const;
  bool fails_closed(const RouteEntry& entry) const;
  template <class MayUse>
  const NextHop* pick_of(const RouteEntry& entry, uint32_t flow_hash, MayUse may_use) const;
  const NextHop* pick(const RouteEntry& entry, uint32_t flow_hash) const;
  // Calls `visit` with the nodes around `address`, the narrowest first, until it returns true.
  template <class Visit>
  void walk(IpAddress address, Visit visit) const;
  bool ask(const Node& node, IpAddress destination, uint32_t flow_hash, RouteResult& result) const;
  RouteResult hold(const RouteEntry& holder, IpAddress destination) const;

  std::vector<RouteEntry> entries_;  // by family, prefix and precedence
  std::vector<NextHop> next_hops_;
  std::vector<Gate> gates_;  // by interface
  Tree<uint32_t> ipv4_;
  Tree<uint128> ipv6_;

  friend class FibBuilder;
};

}  // namespace espalier::dataplane
