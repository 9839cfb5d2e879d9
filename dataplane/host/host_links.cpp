#include "dataplane/host/host_links.hpp"

#include <net/if.h>

#include <algorithm>

#include "control/shared/text.hpp"

namespace espalier::dataplane {
namespace {

uint8_t family_of(const IpAddress& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

Result<void> result_of(int error, int tolerated, const std::string& what) {
  if (error == 0 || error == tolerated) return {};
  return fail("{}: {}", what, ::strerrordesc_np(error));
}

// A change of `link`, to which attributes may be added.
ifinfomsg& begin_change(NetlinkRequest& request, int link) {
  auto& body = request.body<ifinfomsg>();
  body.ifi_index = link;
  return body;
}

int change_flags(Netlink& netlink, int link, unsigned flags, unsigned mask) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  ifinfomsg& body = begin_change(request, link);
  body.ifi_flags = flags;
  body.ifi_change = mask;
  return netlink.ask(request);
}

void put_address(NetlinkRequest& request, int link, const IpPrefix& prefix) {
  auto& body = request.body<ifaddrmsg>();
  body.ifa_family = family_of(prefix.address);
  body.ifa_prefixlen = prefix.written_length();
  body.ifa_flags = IFA_F_NODAD;  // Espalier has done it
  body.ifa_scope = prefix.address.is_link_local() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  body.ifa_index = static_cast<uint32_t>(link);
  request.put(IFA_LOCAL, prefix.address);
  request.put(IFA_ADDRESS, prefix.address);
  if (prefix.is_v4() && prefix.written_length() < 31) request.put(IFA_BROADCAST, prefix.last());
}

// Which link a next hop is on is decided already: the kernel shall not look for it among its networks.
uint8_t flags_of(const NextHop& hop) {
  return hop.via.is_unspecified() ? 0 : RTNH_F_ONLINK;
}

// Without next hops.
rtmsg& begin_route(NetlinkRequest& request, const RouteRecord& route) {
  auto& body = request.body<rtmsg>();
  body.rtm_family = family_of(route.prefix.address);
  body.rtm_dst_len = route.prefix.written_length();
  body.rtm_table = RT_TABLE_MAIN;
  body.rtm_protocol = kRouteProtocol;
  body.rtm_type = RTN_UNICAST;
  request.put(RTA_DST, route.prefix.network());
  // The kernel takes an IPv6 route's 0 for 1024.
  request.put(RTA_PRIORITY, std::max(route.metric, route.prefix.is_v4() ? 0u : 1u));
  return body;
}

void put_only_next_hop(NetlinkRequest& request, rtmsg& body, const NextHop& hop, int link) {
  body.rtm_flags = flags_of(hop);
  request.put(RTA_OIF, static_cast<uint32_t>(link));
  if (!hop.via.is_unspecified()) request.put(RTA_GATEWAY, hop.via);
}

// The attribute's value is a row of rtnexthop, each with attributes of its own and the length of both.
void put_next_hops(NetlinkRequest& request, const RouteRecord& route, std::span<const int> links) {
  nlattr* row = mnl_attr_nest_start(request.header(), RTA_MULTIPATH);
  for (size_t i = 0; i < links.size(); ++i) {
    if (links[i] == 0) continue;
    auto& body = request.body<rtnexthop>();
    body.rtnh_ifindex = links[i];
    body.rtnh_flags = flags_of(route.next_hops[i]);
    if (!route.next_hops[i].via.is_unspecified()) request.put(RTA_GATEWAY, route.next_hops[i].via);
    const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(request.header()));
    body.rtnh_len = static_cast<uint16_t>(end - reinterpret_cast<const char*>(&body));
  }
  mnl_attr_nest_end(request.header(), row);
}

}  // namespace

Result<HostLinks> HostLinks::open() {
  return HostLinks(TRY(Netlink::open()));
}

int HostLinks::index_of(const std::string& name) {
  NetlinkRequest request(RTM_GETLINK, 0);
  request.body<ifinfomsg>();
  request.put(IFLA_IFNAME, name);
  int index = 0;
  netlink_.ask(request, [&](const nlmsghdr& message) {
    index = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message))->ifi_index;
  });
  return index;
}

Result<void> HostLinks::set_name(int link, const std::string& name) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  begin_change(request, link);
  request.put(IFLA_IFNAME, name);
  return result_of(netlink_.ask(request), 0, "name");
}

Result<void> HostLinks::set_mac(int link, const MacAddress& mac) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  begin_change(request, link);
  request.put_bytes(IFLA_ADDRESS, mac);
  return result_of(netlink_.ask(request), 0, "MAC address");
}

Result<void> HostLinks::set_mtu(int link, uint32_t bytes) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  begin_change(request, link);
  request.put(IFLA_MTU, bytes);
  return result_of(netlink_.ask(request), 0, fmt::format("MTU {}", bytes));
}

Result<void> HostLinks::set_up(int link, bool up) {
  return result_of(change_flags(netlink_, link, up ? IFF_UP : 0, IFF_UP), 0, up ? "up" : "down");
}

Result<void> HostLinks::set_without_neighbors(int link) {
  return result_of(change_flags(netlink_, link, IFF_NOARP, IFF_NOARP), 0, "noarp");
}

Result<void> HostLinks::add_address(int link, const IpPrefix& address) {
  NetlinkRequest request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  put_address(request, link, address);
  return result_of(netlink_.ask(request), EEXIST, to_text(address));
}

Result<void> HostLinks::repeat_address(int link, const IpPrefix& address) {
  NetlinkRequest request(RTM_NEWADDR, NLM_F_REPLACE);
  put_address(request, link, address);
  return result_of(netlink_.ask(request), 0, to_text(address));
}

Result<void> HostLinks::remove_address(int link, const IpPrefix& address) {
  NetlinkRequest request(RTM_DELADDR, 0);
  put_address(request, link, address);
  return result_of(netlink_.ask(request), EADDRNOTAVAIL, to_text(address));
}

Result<void> HostLinks::add_route(const RouteRecord& route, std::span<const int> links) {
  NetlinkRequest request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  rtmsg& body = begin_route(request, route);
  if (std::ranges::count(links, 0) + 1 == std::ssize(links)) {
    const auto only = std::ranges::find_if(links, [](int link) { return link != 0; }) - links.begin();
    put_only_next_hop(request, body, route.next_hops[only], links[only]);
  } else {
    put_next_hops(request, route, links);
  }
  return result_of(netlink_.ask(request), EEXIST, to_text(route.prefix));
}

Result<void> HostLinks::remove_route(const RouteRecord& route) {
  NetlinkRequest request(RTM_DELROUTE, 0);
  begin_route(request, route);
  return result_of(netlink_.ask(request), ESRCH, to_text(route.prefix));
}

}  // namespace espalier::dataplane
