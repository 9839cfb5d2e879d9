// The scratch record of a packet that walks the first-packet stages: what each of them found. `explain`
// prints it, `record` turns it into the FlowDecision that later packets of the flow replay.
#pragma once

#include <optional>

#include "dataplane/context.hpp"
#include "nat/rules.hpp"

namespace espalier::dataplane {

enum class Way : uint8_t { kForwarded, kToGateway, kFromGateway };

struct Decision {
  Way way = Way::kForwarded;
  // conntrack: an existing session, or one that begins with this packet, or neither (not tracked).
  std::optional<nat::SessionRef> session;
  std::optional<nat::PendingSession> pending;
  bool is_related_error = false;  // an ICMP error about `session`
  // The packet's addresses: as received (Packet::tuple), after destination NAT, and after source NAT.
  Tuple before_snat;
  Tuple as_sent;
  // route
  RouteResult route;
  // policies; null: none matched
  const PolicyRecord* in_policy = nullptr;
  const PolicyRecord* first_policy = nullptr;  // out, before SNAT
  const PolicyRecord* policy = nullptr;        // out, deciding
  const Sa* first_sa = nullptr;                // of the first template
  const Sa* sa = nullptr;
  bool looked_up_again = false;
  // A route into a gre interface: what protects the GRE packet, and where that goes.
  const PolicyRecord* gre_policy = nullptr;
  InterfaceIndex gre_out = kNoInterface;
  bool into_tunnel = false;  // the route's vti or gre interface takes the packet
  LocalService service{};    // kToGateway
  // Where the packet stops: an ICMP error for its sender.
  IcmpAnswer answer;
  IpAddress answer_about;   // whose route gives the error's source address; unspecified: the packet's source
  IpAddress answer_source;  // specified: the error's source address itself
  bool answer_after_ttl = false;  // the quote shows the lowered TTL
};

}  // namespace espalier::dataplane
