// Stages `route` and `ttl`.
//
// Route decides whose packet it is: forwarded, for the gateway itself, or nobody's; and refuses addresses
// that no packet may have. Configuration: FIB, interfaces. A missing route is answered before any policy is
// asked.
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/ike.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"

namespace espalier::dataplane {
namespace {

bool is_this_network(IpAddress a) {
  return a.is_v4() && (a.v4().host() >> 24) == 0;
}
bool is_reserved(IpAddress a) {
  return a.is_v4() && a.v4().host() >= 0xf0000000;
}

bool is_bad_source(const Context& ctx, const Packet& p) {
  const IpAddress a = p.tuple.source;
  return a.is_unspecified() || is_this_network(a) || a.is_loopback() || a.is_multicast() || is_reserved(a) ||
         ctx.tables->interfaces->is_own_address(a, p.in);
}

bool is_bad_destination(IpAddress a) {
  return a.is_unspecified() || is_this_network(a) || a.is_loopback() || is_reserved(a);
}

bool answer(Decision& d, rte_mbuf* mbuf, DropReason reason, IcmpReason answer) {
  d.answer = {.reason = answer};
  return stop(mbuf, reason);
}

// Of its own link only, or of the whole gateway: what multicast the host may have joined (RFC 5771 section 4,
// RFC 4291 section 2.7).
bool is_for_this_link(IpAddress group) {
  return group.is_v4() ? (group.v4().host() >> 8) == 0xe00000 : (group.high.host() >> 48 & 0xf) == 2;
}

// Multicast is not forwarded. The host gets what is for its link, and sends it by the interface that it
// chose.
bool route_multicast(const Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  const IpAddress group = d.before_snat.destination;
  if ((p.flags & kFromHost) && ctx.is_interface(p.out)) {
    d.route = {.verdict = RouteVerdict::kForward, .interface = p.out, .next_hop = group};
    return true;
  }
  const bool heard = d.way != Way::kFromGateway &&
                     ((ctx.tables->host_path && is_for_this_link(group)) || ctx.interface(p.in).hears(group));
  if (!heard) return stop(mbuf, DropReason::kIpMulticast);
  d.way = Way::kToGateway;
  d.route = {.verdict = RouteVerdict::kLocal, .interface = p.in, .next_hop = group};
  return true;
}

// Link-local addresses have no meaning on another link (RFC 4291 section 2.5.6).
RouteResult find_route(const Context& ctx, const Packet& p, const Decision& d) {
  const IpAddress destination = d.before_snat.destination;
  if (destination.is_link_local())
    return ctx.route_on_link(destination, (p.flags & kFromGateway) ? p.out : p.in);
  return ctx.tables->fib->lookup(destination, flow_hash(d.before_snat));
}

// What comes in clear from behind a tunnel was not sent by who is there (docs/packet-order.md, deviation 3).
// ESP and IKE come from the tunnel's other end and not from behind it.
bool is_from_behind_tunnel(const Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  const Packet& p = packet(mbuf);
  if (p.path != kClear || (p.flags & kCameProtected)) return false;
  if (!ctx.tables->fib->leads_into_tunnel(p.tuple.source)) return false;
  const bool is_ike = p.tuple.protocol == kProtoUdp && p.tuple.destination_port == be16::from_host(kIkePort);
  return d.way != Way::kToGateway ||
         !(p.tuple.protocol == kProtoEsp || is_ike ||
           (p.tuple.protocol == kProtoUdp && ctx.tables->encap_ports.contains(p.tuple.destination_port)));
}

// What the gateway sends to itself: ICMP errors for its host go there, the rest has no use.
bool stop_local_loop(const Context& ctx, rte_mbuf* mbuf) {
  if (ctx.tables->host_path && (packet(mbuf).flags & kIcmpError))
    return stop_for_main(mbuf, DropReason::kUsedHost);
  return stop(mbuf, DropReason::kIpBadDestination);
}

bool follow(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  switch (d.route.verdict) {
    case RouteVerdict::kForward:
      if (d.way != Way::kForwarded) return true;
      if (p.flags & kInvalid) return stop(mbuf, DropReason::kSessionInvalid);
      if (d.before_snat.destination.is_link_local()) return stop(mbuf, DropReason::kIpBadDestination);
      if (p.tuple.source.is_link_local()) return stop(mbuf, DropReason::kIpBadSource);
      return true;
    case RouteVerdict::kLocal:
      if (d.way == Way::kFromGateway) return stop_local_loop(ctx, mbuf);
      d.way = Way::kToGateway;
      return true;
    case RouteVerdict::kNoRoute:
      return answer(d, mbuf, DropReason::kNoRoute, IcmpReason::kNetUnreachable);
    case RouteVerdict::kBlackhole:
      return stop(mbuf, DropReason::kRouteBlackhole);
    case RouteVerdict::kUnreachable:
      return answer(
          d, mbuf, DropReason::kRouteUnreachable,
          p.tuple.is_v4() ? IcmpReason::kHostUnreachable : IcmpReason::kNetUnreachable);  // as Linux
    case RouteVerdict::kProhibit:
      return answer(d, mbuf, DropReason::kRouteProhibit, IcmpReason::kProhibited);
  }
  return stop(mbuf, DropReason::kNoRoute);
}

}  // namespace

bool route(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  if (d.way != Way::kFromGateway && is_bad_source(ctx, p)) return stop(mbuf, DropReason::kIpBadSource);
  if (d.before_snat.destination.is_multicast()) return route_multicast(ctx, mbuf, d);
  if (is_bad_destination(d.before_snat.destination)) return stop(mbuf, DropReason::kIpBadDestination);
  d.route = find_route(ctx, p, d);
  if (!follow(ctx, mbuf, d)) return false;
  const bool from_wire = d.way != Way::kFromGateway;
  return !from_wire || !is_from_behind_tunnel(ctx, mbuf, d) || stop(mbuf, DropReason::kClearFromTunnel);
}

bool ttl(Context&, rte_mbuf* mbuf, Decision& d) {
  if (hop_limit(mbuf) > 1) return true;
  return answer(d, mbuf, DropReason::kTtlExceeded, IcmpReason::kTimeExceeded);
}

}  // namespace espalier::dataplane
