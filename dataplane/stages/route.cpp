// Stages `route` and `ttl`.
//
// Route decides whose packet it is: forwarded, for the gateway itself, or nobody's; and refuses addresses
// that no packet may have. Configuration: FIB, interfaces. A missing route is answered before any policy is
// asked.
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/stop.hpp"

namespace espalier::dataplane {
namespace {

bool is_this_network(Ipv4Address a) {
  return (a.host() >> 24) == 0;
}

bool is_bad_source(const Context& ctx, Ipv4Address a) {
  return is_this_network(a) || a.is_loopback() || a.is_multicast() || a.host() >= 0xf0000000 ||
         ctx.tables->interfaces->is_own_address(a);
}

bool is_bad_destination(Ipv4Address a) {
  return is_this_network(a) || a.is_loopback() || a.host() >= 0xf0000000;
}

bool answer(Decision& d, rte_mbuf* mbuf, DropReason reason, uint8_t type, uint8_t code) {
  d.answer = {.type = type, .code = code};
  return stop(mbuf, reason);
}

}  // namespace

bool route(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Ipv4Address destination = d.before_snat.destination;
  if (d.way != Way::kFromGateway && is_bad_source(ctx, packet(mbuf).tuple.source))
    return stop(mbuf, DropReason::kIpBadSource);
  if (destination.is_multicast()) return stop(mbuf, DropReason::kIpMulticast);
  if (is_bad_destination(destination)) return stop(mbuf, DropReason::kIpBadDestination);

  d.route = ctx.tables->fib->lookup(destination);
  switch (d.route.verdict) {
    case RouteVerdict::kForward:
      if (d.way == Way::kForwarded && (packet(mbuf).flags & kInvalid))
        return stop(mbuf, DropReason::kSessionInvalid);
      return true;
    case RouteVerdict::kLocal:
      if (d.way == Way::kFromGateway) return stop(mbuf, DropReason::kIpBadDestination);
      d.way = Way::kToGateway;
      return true;
    case RouteVerdict::kNoRoute:
      return answer(d, mbuf, DropReason::kNoRoute, kIcmpUnreachable, kIcmpNetUnreachable);
    case RouteVerdict::kBlackhole:
      return stop(mbuf, DropReason::kRouteBlackhole);
    case RouteVerdict::kUnreachable:
      return answer(d, mbuf, DropReason::kRouteUnreachable, kIcmpUnreachable, kIcmpHostUnreachable);
    case RouteVerdict::kProhibit:
      return answer(d, mbuf, DropReason::kRouteProhibit, kIcmpUnreachable, kIcmpAdminProhibited);
  }
  return stop(mbuf, DropReason::kNoRoute);
}

bool ttl(Context&, rte_mbuf* mbuf, Decision& d) {
  if (ip_header(mbuf).ttl > 1) return true;
  return answer(d, mbuf, DropReason::kTtlExceeded, kIcmpTimeExceeded, 0);
}

}  // namespace espalier::dataplane
