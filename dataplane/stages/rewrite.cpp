// Stage `rewrite`: does to the packet what was decided - addresses, ports, TTL, checksums. Decides nothing.
#include "nat/rewrite.hpp"
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/parse.hpp"

namespace espalier::dataplane {
namespace {

void translate_error(Context& ctx, rte_mbuf* mbuf, const nat::SessionRef& session) {
  const auto tuples = ctx.sessions->tuples(session);
  if (!tuples) return;
  for (const auto step : {nat::NatStep::kDestination, nat::NatStep::kSource})
    nat::translate_icmp_error(bytes(mbuf), tuples->original, tuples->reply, session.direction, step);
}

}  // namespace

uint16_t rewrite(Context& ctx, MbufSpan burst) {
  for (rte_mbuf* mbuf : burst) {
    const Packet& p = packet(mbuf);
    const FlowDecision& d = (*ctx.flows)[p.flow].decision;
    Ipv4Header& ip = ip_header(mbuf);
    if (d.flags & kDecidedRewrite)
      nat::apply(d.rewrite, reinterpret_cast<uint8_t*>(&ip), l4_header(mbuf), p.ip_bytes - p.l4_offset);
    else if ((p.flags & (kIcmpError | kFromGateway)) == kIcmpError && (d.flags & kDecidedTracked))
      translate_error(ctx, mbuf, d.session);
    if (!(p.flags & kFromGateway)) lower_ttl(ip);
  }
  return static_cast<uint16_t>(burst.size());
}

}  // namespace espalier::dataplane
