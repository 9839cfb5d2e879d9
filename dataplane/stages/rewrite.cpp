// Stage `rewrite`: does to the packet what was decided - addresses, ports, TTL, checksums. Decides nothing.
#include "nat/rewrite.hpp"
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"

namespace espalier::dataplane {
namespace {

// False: the session is gone, or the quote cannot be translated; then nothing may leave.
bool translate_error(Context& ctx, rte_mbuf* mbuf, const nat::SessionRef& session) {
  const auto tuples = ctx.sessions->tuples(session);
  if (!tuples) return false;
  for (const auto step : {nat::NatStep::kDestination, nat::NatStep::kSource})
    if (!nat::translate_icmp_error(bytes(mbuf), tuples->original, tuples->reply, session.direction, step))
      return false;
  return true;
}

bool rewrite_one(Context& ctx, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const FlowDecision& d = (*ctx.flows)[p.flow].decision;
  Ipv4Header& ip = ip_header(mbuf);
  if (d.flags & kDecidedRewrite)
    nat::apply(d.rewrite, reinterpret_cast<uint8_t*>(&ip), l4_header(mbuf), p.ip_bytes - p.l4_offset);
  else if ((p.flags & (kIcmpError | kFromGateway)) == kIcmpError && (d.flags & kDecidedTracked) &&
           !translate_error(ctx, mbuf, d.session))
    return stop(mbuf, DropReason::kSessionInvalid);
  if (!(p.flags & kFromGateway)) lower_ttl(ip);
  return true;
}

}  // namespace

uint16_t rewrite(Context& ctx, MbufSpan burst) {
  return partition(burst, [&](rte_mbuf* mbuf) { return rewrite_one(ctx, mbuf); });
}

}  // namespace espalier::dataplane
