#include "dataplane/stages/first_packet.hpp"

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/measure.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"
#include "nat/rewrite.hpp"

namespace espalier::dataplane {
namespace {

void count_rules(Context& ctx, const nat::PendingSession& pending, uint32_t bytes) {
  auto& rules = ctx.stats->nat_rules;
  if (pending.source_rule_index < statistics::kMaxNatRules)
    rules[static_cast<size_t>(NatKind::kSource)][pending.source_rule_index].add(1, bytes);
  if (pending.destination_rule_index < statistics::kMaxNatRules)
    rules[static_cast<size_t>(NatKind::kDestination)][pending.destination_rule_index].add(1, bytes);
}

// The session takes note of the packet, or begins with it. kNone, or why the packet must be dropped; `again`:
// the session that was found is over, the packet has to be decided anew.
DropReason settle_session(Context& ctx, rte_mbuf* mbuf, Decision& d, bool& again) {
  const Packet& p = packet(mbuf);
  const nat::PacketFacts facts{.bytes = p.ip_bytes, .tcp_flags = p.tcp_flags};
  if (d.pending) {
    const auto confirmed = ctx.sessions->confirm(*d.pending, ctx.worker, ctx.now_ms);
    if (!confirmed) {
      // Another packet of this very flow was faster: then there is a session to follow.
      again = confirmed.error() == DropReason::kNatClash && ctx.sessions->lookup(p.tuple).has_value();
      return confirmed.error();
    }
    count_rules(ctx, *d.pending, p.ip_bytes);
    d.session = *confirmed;
    return DropReason::kNone;
  }
  if (!d.session || d.is_related_error) return DropReason::kNone;
  switch (ctx.sessions->update(*d.session, facts, ctx.now_ms)) {
    case nat::Verdict::kAccept:
      return DropReason::kNone;
    case nat::Verdict::kInvalid:
      return DropReason::kSessionInvalid;
    case nat::Verdict::kOver:
      again = true;
      break;
  }
  return DropReason::kSessionInvalid;
}

PolicyIndex index_of(const PolicyRecord* policy) {
  return policy ? policy->index : kNoPolicy;
}

FlowDecision decision_of(const Context& ctx, const Packet& p, const Decision& d) {
  FlowDecision f;
  f.epoch = ctx.tables->changes.epoch();
  f.out = d.route.interface;
  if (d.first_sa) f.first_policy = d.first_policy->index;
  f.policy = index_of(d.policy);
  f.in_policy = index_of(d.in_policy);
  f.next_hop = d.route.next_hop;
  f.sent_source = d.as_sent.source;
  f.sent_destination = d.as_sent.destination;
  f.neighbor = ctx.neighbors->find(f.out, f.next_hop).value;
  if (d.session) {
    f.flags |= kDecidedTracked;
    f.session = *d.session;
  }
  if (d.as_sent != p.tuple && !d.is_related_error) {
    f.flags |= kDecidedRewrite;
    f.rewrite = nat::make_rewrite(p.tuple, d.as_sent);
  }
  return f;
}

// What policies let pass is counted where it is let pass; here what they discarded.
void count_discarded(Context& ctx, const Packet& p, const Decision& d) {
  const PolicyRecord* policy = p.reason == DropReason::kInPolicyBlock    ? d.in_policy
                               : p.reason == DropReason::kOutPolicyBlock ? d.policy
                                                                         : nullptr;
  if (policy) ctx.stats->policies[policy->index.value].add(1, p.ip_bytes);
}

// Whether later packets may replay the decision. Fragments and ICMP errors have keys that say too little;
// what the gateway made is rare.
bool may_record(const Packet& p) {
  return !(p.flags & (kFragment | kIcmpError | kFromGateway));
}

bool settle(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  Packet& p = packet(mbuf);
  const FlowDecision decision = decision_of(ctx, p, d);
  if (may_record(p)) {
    const FlowKey key = flow_key(p);
    p.flow = ctx.flows->record(key, ctx.flows->hash(key), decision, ctx.now_ms);
  } else {
    p.flow = ctx.flows->place_unrecorded(decision);
  }
  return apply_egress(ctx, mbuf, decision);
}

}  // namespace

bool is_on_the_way(const FirstPacketStage& stage, Way way) {
  switch (way) {
    case Way::kForwarded:
      return stage.forwarded;
    case Way::kToGateway:
      return stage.to_gateway;
    case Way::kFromGateway:
      return stage.from_gateway;
  }
  return false;
}

bool is_bypass(const Context& ctx, PolicyIndex policy) {
  return ctx.tables->spd->policies()[policy.value].action == PolicyAction::kBypass;
}

FlowKey flow_key(const Packet& p) {
  return {.tuple = p.tuple, .path = p.path, .in = p.in};
}

Ipv4Address error_source(const Context& ctx, const Packet& p, const Decision& d) {
  if (!d.answer_source.is_unspecified()) return d.answer_source;
  // An error about a packet whose destination was translated comes from where the packet was sent to.
  if (d.before_snat.destination != p.tuple.destination && d.answer_about.is_unspecified())
    return p.tuple.destination;
  const Ipv4Address about = d.answer_about.is_unspecified() ? p.tuple.source : d.answer_about;
  const RouteResult back = ctx.tables->fib->lookup(about);
  if (back.verdict == RouteVerdict::kLocal) return about;  // translated to an address of the gateway
  const InterfaceIndex interface = back.verdict == RouteVerdict::kForward ? back.interface : p.in;
  return ctx.is_interface(interface) ? ctx.interface(interface).address_towards(back.next_hop)
                                     : Ipv4Address{};
}

void answer_with_icmp_error(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  if (d.answer.type == 0 || d.way == Way::kFromGateway || !may_answer_with_icmp_error(mbuf)) return;
  const Ipv4Address source = error_source(ctx, packet(mbuf), d);
  if (source.is_unspecified()) return;
  auto& drops = ctx.stats->drops[packet(mbuf).in.value];
  ctx.stats->made.add(1);
  const uint32_t rate = IcmpRateLimit::share(ctx.tables->settings.icmp_errors_per_second, ctx.workers);
  if (!ctx.icmp_limit.take(rate, ctx.now_ms))
    return drops[static_cast<size_t>(DropReason::kIcmpRateLimited)].add(1);
  if (d.answer_after_ttl) lower_ttl(ip_header(mbuf));
  const uint16_t id = ctx.next_ip_id();
  rte_mbuf* error = make_icmp_error(mbuf, d.answer, source, id, ctx.pool);
  if (!error) return drops[static_cast<size_t>(DropReason::kNoMbuf)].add(1);
  if (ctx.made.push(error)) return;
  rte_pktmbuf_free(error);
  drops[static_cast<size_t>(DropReason::kNoMbuf)].add(1);
}

bool apply_egress(Context& ctx, rte_mbuf* mbuf, const FlowDecision& decision) {
  Packet& p = packet(mbuf);
  p.out = decision.out;
  p.next_hop = decision.next_hop;
  p.neighbor = decision.neighbor;
  p.mtu_bytes = ctx.interface(decision.out).mtu_bytes;
  p.sa = kNoSa;
  if (decision.policy == kNoPolicy) return true;
  p.sa = (*ctx.tables->policy_sas)[decision.policy];
  if (p.sa == kNoSa && !is_bypass(ctx, decision.policy)) return stop(mbuf, DropReason::kOutNoState);
  ctx.stats->policies[decision.policy.value].add(1, p.ip_bytes);
  return true;
}

namespace {

bool decide(Context& ctx, size_t stage, rte_mbuf* mbuf, Decision& d) {
  const DecideStage decide = kFirstPacket[stage].decide;
  if (ctx.explaining) return decide(ctx, mbuf, d);
  return measure(ctx.stats->stages[first_packet_counter(stage)], 1, is_sampled(ctx),
                 [&] { return decide(ctx, mbuf, d); });
}

}  // namespace

bool walk(Context& ctx, rte_mbuf* mbuf, Decision& d, size_t* stopped_at) {
  d = Decision{};
  if (packet(mbuf).flags & kFromGateway) d.way = Way::kFromGateway;
  for (size_t i = 0; i < kFirstPacket.size(); ++i) {
    if (stopped_at) *stopped_at = i;
    if (is_on_the_way(kFirstPacket[i], d.way) && !decide(ctx, i, mbuf, d)) return false;
  }
  if (stopped_at) *stopped_at = kFirstPacket.size();
  return true;
}

bool first_packet(Context& ctx, rte_mbuf* mbuf) {
  Decision d;
  constexpr int kTries = 2;  // again when the session ended or began in between; then it is another's
  DropReason reason = DropReason::kNone;
  for (int i = 0; i < kTries; ++i) {
    if (!walk(ctx, mbuf, d)) {
      count_discarded(ctx, packet(mbuf), d);
      answer_with_icmp_error(ctx, mbuf, d);
      return false;
    }
    bool again = false;
    reason = settle_session(ctx, mbuf, d, again);
    if (!again) break;
  }
  if (reason != DropReason::kNone) return stop(mbuf, reason);
  if (d.in_policy) ctx.stats->policies[d.in_policy->index.value].add(1, packet(mbuf).ip_bytes);
  if (d.way != Way::kToGateway) return settle(ctx, mbuf, d);
  deliver(ctx, mbuf, d);
  answer_with_icmp_error(ctx, mbuf, d);
  return false;
}

}  // namespace espalier::dataplane
