#include "dataplane/host/kernel_route.hpp"

#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

#include <array>

#include "dataplane/host/host_links.hpp"

namespace espalier::dataplane {
namespace {

template <size_t Count>
using Attributes = std::array<const nlattr*, Count>;

// Attributes that this version does not know are left out.
template <size_t Count>
Attributes<Count> attributes_in(const void* begin, size_t bytes) {
  Attributes<Count> found{};
  const auto* attribute = static_cast<const nlattr*>(begin);
  const char* end = static_cast<const char*>(begin) + bytes;
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
    const uint16_t type = mnl_attr_get_type(attribute);
    if (type < Count) found[type] = attribute;
    attribute = mnl_attr_next(attribute);
  }
  return found;
}

template <size_t Count, class Body>
Attributes<Count> attributes_of(const nlmsghdr& message) {
  const size_t before = MNL_ALIGN(sizeof(Body));
  const auto* payload = static_cast<const char*>(mnl_nlmsg_get_payload(&message));
  return attributes_in<Count>(payload + before, mnl_nlmsg_get_payload_len(&message) - before);
}

template <class Body>
const Body* body_of(const nlmsghdr& message) {
  if (mnl_nlmsg_get_payload_len(&message) < MNL_ALIGN(sizeof(Body))) return nullptr;
  return static_cast<const Body*>(mnl_nlmsg_get_payload(&message));
}

// 0 where there is none.
uint32_t number(const nlattr* attribute) {
  return attribute && mnl_attr_get_payload_len(attribute) == sizeof(uint32_t) ? mnl_attr_get_u32(attribute)
                                                                              : 0;
}

IpAddress address(const nlattr* attribute) {
  return attribute ? address_of(*attribute) : IpAddress{};
}

std::optional<RouteKind> kind_of(uint8_t rtm_type) {
  switch (rtm_type) {
    case RTN_UNICAST:
      return RouteKind::kNextHop;
    case RTN_BLACKHOLE:
      return RouteKind::kBlackhole;
    case RTN_UNREACHABLE:
      return RouteKind::kUnreachable;
    case RTN_PROHIBIT:
      return RouteKind::kProhibit;
  }
  return {};
}

constexpr size_t kRouteAttributes = RTA_MAX + 1;
using RouteAttributes = Attributes<kRouteAttributes>;

// False: not one that Espalier can have.
bool read_next_hop(int link, const RouteAttributes& attributes, std::vector<KernelNextHop>& hops) {
  if (attributes[RTA_ENCAP] || attributes[RTA_VIA]) return false;
  hops.push_back({.link = link, .via = address(attributes[RTA_GATEWAY])});
  return true;
}

// The value is a row of rtnexthop, each with attributes behind it.
bool read_next_hops(const nlattr& multipath, std::vector<KernelNextHop>& hops) {
  const auto* hop = static_cast<const rtnexthop*>(mnl_attr_get_payload(&multipath));
  int left = mnl_attr_get_payload_len(&multipath);
  for (; RTNH_OK(hop, left); left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
    const auto attributes =
        attributes_in<kRouteAttributes>(RTNH_DATA(hop), hop->rtnh_len - sizeof(rtnexthop));
    if (!read_next_hop(hop->rtnh_ifindex, attributes, hops)) return false;
  }
  return true;
}

bool read_next_hops(const RouteAttributes& attributes, KernelRoute& route) {
  route.object = number(attributes[RTA_NH_ID]);
  if (route.object != 0 || route.kind != RouteKind::kNextHop) return true;
  if (attributes[RTA_MULTIPATH]) return read_next_hops(*attributes[RTA_MULTIPATH], route.next_hops);
  return read_next_hop(static_cast<int>(number(attributes[RTA_OIF])), attributes, route.next_hops);
}

// The address of a default route is not in the message.
IpPrefix prefix_of(const rtmsg& body, const nlattr* destination) {
  if (destination) return IpPrefix::of(address_of(*destination), body.rtm_dst_len);
  return IpPrefix::any(body.rtm_family == AF_INET ? Family::kIpv4 : Family::kIpv6);
}

bool is_for_us(const rtmsg& body) {
  const bool family = body.rtm_family == AF_INET || body.rtm_family == AF_INET6;
  const bool foreign = body.rtm_protocol != RTPROT_KERNEL && body.rtm_protocol != kRouteProtocol;
  const bool plain = body.rtm_tos == 0 && body.rtm_src_len == 0 && !(body.rtm_flags & RTM_F_CLONED);
  return family && foreign && plain;
}

}  // namespace

std::optional<ParsedRoute> parse_route(const nlmsghdr& message) {
  const auto* body = body_of<rtmsg>(message);
  if (!body || !is_for_us(*body)) return {};
  const auto kind = kind_of(body->rtm_type);
  if (!kind) return {};
  const auto attributes = attributes_of<kRouteAttributes, rtmsg>(message);
  ParsedRoute parsed;
  parsed.table = attributes[RTA_TABLE] ? number(attributes[RTA_TABLE]) : body->rtm_table;
  parsed.key.prefix = prefix_of(*body, attributes[RTA_DST]);
  parsed.key.metric = number(attributes[RTA_PRIORITY]);
  parsed.route.protocol = body->rtm_protocol;
  parsed.route.kind = *kind;
  if (parsed.key.prefix.is_v4() != (body->rtm_family == AF_INET)) return {};
  if (!read_next_hops(attributes, parsed.route)) return {};
  return parsed;
}

std::optional<ParsedNextHop> parse_next_hop(const nlmsghdr& message) {
  if (!body_of<nhmsg>(message)) return {};
  const auto attributes = attributes_of<NHA_MAX + 1, nhmsg>(message);
  ParsedNextHop parsed{.id = number(attributes[NHA_ID]), .object = {}};
  if (parsed.id == 0) return {};
  parsed.object.blackhole = attributes[NHA_BLACKHOLE] != nullptr;
  if (!attributes[NHA_ENCAP])
    parsed.object.next_hop = {static_cast<int>(number(attributes[NHA_OIF])),
                              address(attributes[NHA_GATEWAY])};
  if (const nlattr* group = attributes[NHA_GROUP]) {
    const auto* members = static_cast<const nexthop_grp*>(mnl_attr_get_payload(group));
    for (size_t i = 0; i < mnl_attr_get_payload_len(group) / sizeof(nexthop_grp); ++i)
      parsed.object.members.push_back(members[i].id);
  }
  return parsed;
}

}  // namespace espalier::dataplane
