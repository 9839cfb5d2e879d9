// Stages `conntrack`, `destination_nat` and `source_nat`: which session a packet belongs to, and where NAT
// sends a flow that begins.
//
// A packet of a session that another worker owns goes to that worker. Rules are asked for a flow's first
// packet only; answers and later packets follow the session. What can neither join nor begin a session is
// invalid: unlike Linux it is not forwarded with its inside source (docs/packet-order.md, deviation 1).
// Configuration: NAT rules, nat.sessions.
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/stop.hpp"
#include "nat/rewrite.hpp"

namespace espalier::dataplane {
namespace {

// A session that is over is found until its owner looks at it, when the packet is settled, and then asked for
// once more. A rehearsal settles nothing.
std::optional<nat::SessionRef> find_session(const Context& ctx, const Packet& p) {
  const auto session = ctx.sessions->lookup(p.tuple);
  const nat::PacketFacts facts{.bytes = p.ip_bytes, .tcp_flags = p.tcp_flags};
  if (session && ctx.scratch && ctx.sessions->judge(*session, facts, ctx.now_ms) == nat::Verdict::kOver)
    return std::nullopt;
  return session;
}

// False: the packet goes to the session's owner.
bool join_session(Context& ctx, rte_mbuf* mbuf, Decision& d, const nat::SessionRef& session) {
  if (session.owner != ctx.worker && !ctx.scratch) return stop_for_worker(mbuf, session.owner);
  d.session = session;
  return true;
}

// The packet as it is routed and as it leaves, when its session is known.
void follow_session(const Context& ctx, Decision& d) {
  const auto tuples = ctx.sessions->tuples(*d.session);
  if (!tuples) {
    d.session.reset();
    return;
  }
  const nat::FlowPath path = nat::path_of(tuples->original, tuples->reply, d.session->direction);
  d.before_snat = path.routed;
  d.as_sent = path.sent;
}

bool is_redirect(const Tuple& tuple) {
  return tuple.protocol == kProtoIcmp && nat::icmp_type(tuple) == kIcmpRedirect;
}

// An ICMP error belongs to the session of the packet that it quotes, and changes no session.
bool join_quoted_session(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const auto tuple = nat::icmp_error_tuple(bytes(mbuf));
  const auto session = tuple ? ctx.sessions->lookup(*tuple) : std::nullopt;
  if (!session) {
    packet(mbuf).flags |= kInvalid;
    return true;
  }
  if (!join_session(ctx, mbuf, d, *session)) return false;
  d.is_related_error = true;
  const auto tuples = ctx.sessions->tuples(*session);
  if (!tuples) return true;
  const nat::FlowPath path = nat::path_of(tuples->original, tuples->reply, session->direction);
  // As nat::translate_icmp_error() will change the outer header.
  if (path.routed != path.received) d.before_snat.destination = path.routed.destination;
  d.as_sent = d.before_snat;
  if (path.sent != path.routed) d.as_sent.source = path.sent.source;
  // A redirect speaks of addresses that mean nothing on the other side of a translation.
  if (is_redirect(packet(mbuf).tuple) && path.sent != path.received) packet(mbuf).flags |= kInvalid;
  return true;
}

nat::TupleSearch tuple_search(Context& ctx) {
  return {.sessions = *ctx.sessions, .random = ctx.random, .worker = ctx.worker, .now_ms = ctx.now_ms};
}

}  // namespace

bool conntrack(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  Packet& p = packet(mbuf);
  d.before_snat = d.as_sent = p.tuple;
  if (!ctx.tables->tracks(p.tuple.family())) return true;
  if (p.flags & kIcmpError) {
    // An error that the gateway made quotes the packet as its sender knows it: nothing is left to translate.
    return d.way == Way::kFromGateway || join_quoted_session(ctx, mbuf, d);
  }
  if (const auto session = find_session(ctx, p)) {
    if (!join_session(ctx, mbuf, d, *session)) return false;
    follow_session(ctx, d);
    if (d.session) return true;
  }
  const auto begun = nat::begin_session(p.tuple, {.bytes = p.ip_bytes, .tcp_flags = p.tcp_flags});
  if (begun)
    d.pending = *begun;
  else if (begun.error() != DropReason::kNone)
    p.flags |= kInvalid;
  return true;
}

bool destination_nat(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  if (!d.pending) return true;
  const Packet& p = packet(mbuf);
  const bool is_local_output = d.way == Way::kFromGateway;
  const bool decrypted = p.path.value >= kNamedPaths;
  const NatRuleRecord* rule =
      ctx.tables->rules->match_destination(d.before_snat, p.in, decrypted, is_local_output);
  nat::translate_destination(rule, *d.pending, tuple_search(ctx));
  d.before_snat = d.as_sent = d.pending->packet_tuple();
  return true;
}

bool source_nat(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  if (!d.pending) return true;
  const bool is_protected = d.first_sa != nullptr || (packet(mbuf).flags & kEncrypted);
  const NatRuleRecord* rule = ctx.tables->rules->match_source(d.before_snat, d.route.interface, is_protected);
  const IpAddress masquerade = ctx.tables->interfaces->address_towards(d.route.interface, d.route.next_hop);
  const DropReason reason = nat::translate_source(rule, masquerade, *d.pending, tuple_search(ctx));
  d.as_sent = d.pending->packet_tuple();
  return reason == DropReason::kNone || stop(mbuf, reason);
}

}  // namespace espalier::dataplane
