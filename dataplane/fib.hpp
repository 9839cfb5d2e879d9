// The forwarding table: longest-prefix match over the configured routes, the interfaces' networks and the
// gateway's own addresses. Immutable after build; a change of routes builds a new one (main lcore) that the
// next snapshot publishes. Looked up for the first packet of a flow only, so a compact tree (rte_rib) serves.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "control/shared/error.hpp"
#include "dataplane/interfaces.hpp"

struct rte_rib;

namespace espalier::dataplane {

enum class RouteVerdict : uint8_t { kForward, kLocal, kNoRoute, kBlackhole, kUnreachable, kProhibit };

struct RouteResult {
  RouteVerdict verdict = RouteVerdict::kNoRoute;
  InterfaceIndex interface = kNoInterface;  // kForward: egress; kLocal: the interface that has the address
  Ipv4Address next_hop;         // kForward: whom to resolve (the destination itself when connected)
  RouteIndex route = kNoRoute;  // the configured route, kNoRoute for connected and local ones
};

// One entry as `show route` lists it.
struct RouteEntry {
  Ipv4Prefix prefix;
  RouteVerdict verdict;
  InterfaceIndex interface;
  Ipv4Address via;  // zero when connected
  RouteIndex route;
};

class Fib {
 public:
  // Precedence among equal prefixes: own and broadcast addresses, then the interfaces' networks (lowest
  // interface first), then `routes`, of which the first one wins. Routes over interfaces that are down still
  // match (the packet is then dropped as egress_down, it never takes a wider route in clear). Main lcore;
  // memory comes from the EAL. Errors: a route whose interface does not exist, whose next hop is an own
  // address, or is on no interface's network while the route names none.
  static Result<std::unique_ptr<Fib>> build(std::span<const RouteRecord> routes,
                                            const InterfaceTable& interfaces);
  ~Fib();
  Fib(const Fib&) = delete;
  Fib& operator=(const Fib&) = delete;

  // Any thread. `destination` may be any address; 0.0.0.0/8, loopback, multicast and broadcast are the
  // caller's to refuse. Own addresses are kLocal, and so are the last addresses of networks up to /30, which
  // Linux takes as broadcasts: they are never forwarded, and InterfaceTable::is_own_address tells the two
  // apart. The first address of a network is a host like any other (Linux since 5.14).
  RouteResult lookup(Ipv4Address destination) const;
  std::span<const RouteEntry> entries() const { return entries_; }

 private:
  Fib() = default;
  Result<void> add(const RouteEntry& entry);

  struct rte_rib* rib_ = nullptr;
  std::vector<RouteEntry> entries_;  // the rib's next hop is an index into it
};

}  // namespace espalier::dataplane
