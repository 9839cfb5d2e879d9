// Stages `conntrack`, `destination_nat` and `source_nat`: which session a packet belongs to, and where NAT
// sends a flow that begins.
//
// A packet of a session that another worker owns goes to that worker. Rules are asked for a flow's first
// packet only; answers and later packets follow the session. What can neither join nor begin a session is
// invalid: unlike Linux it is not forwarded with its inside source (docs/packet-order.md, deviation 1).
// Configuration: NAT rules, nat.sessions.
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/way_out.hpp"
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
    if (d.way != Way::kFromGateway) packet(mbuf).flags |= kInvalid;
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

// The address of the interface that the packet leaves by. Linux asks for the next hop's network; of IPv6
// (nf_nat_masquerade_ipv6) for the destination's.
IpAddress masquerade(const Context& ctx, const Decision& d, InterfaceIndex out) {
  const IpAddress towards = d.as_sent.is_v4() ? d.route.next_hop : d.as_sent.destination;
  return ctx.tables->interfaces->address_towards(out, towards);
}

// nf_nat_oif_changed(): a masqueraded flow must not leave by another interface with the first one's address.
// Linux compares the interfaces, which would end flows here when the list of them changes.
bool has_moved(const Context& ctx, const Decision& d) {
  if (!d.session || d.is_related_error || d.way == Way::kToGateway) return false;
  if (d.session->direction != nat::FlowDirection::kOriginal) return false;
  const InterfaceIndex out = interface_for_nat(ctx, d);
  if (!ctx.is_interface(out) || !ctx.sessions->is_masqueraded(*d.session)) return false;
  const IpAddress source = d.as_sent.source;
  return !ctx.interface(out).has_address(source) && masquerade(ctx, d, out) != source;
}

}  // namespace

bool conntrack(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  Packet& p = packet(mbuf);
  d.before_snat = d.as_sent = p.tuple;
  if (!ctx.tables->tracks(p.tuple.family())) return true;
  if (p.flags & kIcmpError) {
    // An error that the gateway made quotes the packet as its sender knows it: nothing is left to translate.
    // Its host quotes what it got.
    return is_made_here(p) || join_quoted_session(ctx, mbuf, d);
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

// No rules are asked about what is for the gateway, but a clash is solved for it as well (Linux: nat INPUT).
bool source_nat(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  if (!d.pending) return !has_moved(ctx, d) || stop(mbuf, DropReason::kNatMoved);
  const bool is_protected = d.first_sa != nullptr || (packet(mbuf).flags & kEncrypted);
  const bool asks_rules = d.way != Way::kToGateway;
  const InterfaceIndex out = interface_for_nat(ctx, d);
  const NatRuleRecord* rule =
      asks_rules ? ctx.tables->rules->match_source(d.before_snat, out, is_protected) : nullptr;
  const IpAddress own = asks_rules ? masquerade(ctx, d, out) : IpAddress{};
  const DropReason reason = nat::translate_source(rule, own, *d.pending, tuple_search(ctx));
  d.as_sent = d.pending->packet_tuple();
  return reason == DropReason::kNone || stop(mbuf, reason);
}

}  // namespace espalier::dataplane
