// What the host path changes in the host's kernel: links, addresses, routes. One rtnetlink request each.
//
// Links go by the kernel's index, which stays when a link is renamed. Errors say what was refused and the
// kernel's reason. Owner: main lcore.
#pragma once

#include <span>
#include <string>

#include "control/shared/records.hpp"
#include "dataplane/host/netlink.hpp"

namespace espalier::dataplane {

// rtm_protocol of the routes that we write into the kernel. `ip route` shows the number.
inline constexpr uint8_t kRouteProtocol = 201;

class HostLinks {
 public:
  // In the namespace of the calling thread.
  static Result<HostLinks> open();

  // 0: no link has this name.
  int index_of(const std::string& name);

  Result<void> set_name(int link, const std::string& name);
  Result<void> set_mac(int link, const MacAddress& mac);
  Result<void> set_mtu(int link, uint32_t bytes);
  Result<void> set_up(int link, bool up);
  // Packets leave without a question for the neighbour's MAC address; no duplicate address detection.
  Result<void> set_without_neighbors(int link);

  // No error if it is there already.
  Result<void> add_address(int link, const IpPrefix& address);
  // Has the kernel tell its listeners of an address once more.
  Result<void> repeat_address(int link, const IpPrefix& address);
  // No error if it is gone already.
  Result<void> remove_address(int link, const IpPrefix& address);

  // Into the main table. `links`: of the record's next hops; 0 for those to leave out, not for all of them.
  // IPv6: one next hop only unless all have a `via`, which the kernel demands.
  // No error if the kernel has a route of this prefix and metric already, which then stays.
  Result<void> add_route(const RouteRecord& route, std::span<const int> links);
  // One of kRouteProtocol. No error if it is gone already.
  Result<void> remove_route(const RouteRecord& route);

 private:
  explicit HostLinks(Netlink netlink) : netlink_(std::move(netlink)) {}
  Netlink netlink_;
};

}  // namespace espalier::dataplane
