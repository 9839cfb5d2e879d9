#include "dataplane/stages/first_packet.hpp"

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/measure.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/way_out.hpp"
#include "nat/rewrite.hpp"

namespace espalier::dataplane {
namespace {

void count_rules(const Context& ctx, const nat::PendingSession& pending, uint32_t bytes) {
  auto& rules = ctx.stats->nat_rules;
  if (pending.source_rule_index < statistics::kMaxNatRules)
    rules[static_cast<size_t>(NatKind::kSource)][pending.source_rule_index].add(1, bytes);
  if (pending.destination_rule_index < statistics::kMaxNatRules)
    rules[static_cast<size_t>(NatKind::kDestination)][pending.destination_rule_index].add(1, bytes);
}

// What settle_session() would say, as far as one can without touching a session.
DropReason rehearse_session(const Context& ctx, const Packet& p, const Decision& d) {
  if (d.pending) {
    count_rules(ctx, *d.pending, p.ip_bytes);
    return ctx.sessions->is_free(d.pending->reply, ctx.worker, ctx.now_ms) ? DropReason::kNone
                                                                           : DropReason::kNatClash;
  }
  if (!d.session || d.is_related_error) return DropReason::kNone;
  const nat::PacketFacts facts{.bytes = p.ip_bytes, .tcp_flags = p.tcp_flags};
  return ctx.sessions->judge(*d.session, facts, ctx.now_ms) == nat::Verdict::kAccept
             ? DropReason::kNone
             : DropReason::kSessionInvalid;
}

// The session takes note of the packet, or begins with it. kNone, or why the packet must be dropped; `again`:
// the session that was found is over, the packet has to be decided anew.
DropReason settle_session(Context& ctx, rte_mbuf* mbuf, Decision& d, bool& again) {
  const Packet& p = packet(mbuf);
  if (ctx.scratch) return rehearse_session(ctx, p, d);
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

bool is_protecting(const PolicyRecord* policy, const Sa* sa) {
  return policy != nullptr && sa != nullptr;
}

// What TCP connections of the flow are clamped to: the least that an interface on its way asks for.
uint16_t mss_of(const Context& ctx, const Packet& p, const Decision& d) {
  if (p.tuple.protocol != kProtoTcp || d.way == Way::kToGateway) return 0;
  const uint32_t headers = sizeof(TcpHeader) + (p.tuple.is_v4() ? sizeof(Ipv4Header) : sizeof(Ipv6Header));
  uint32_t least = 0;
  for (const InterfaceIndex i : {p.in, d.route.interface}) {
    if (i == kNoInterface || ctx.interface(i).mss_clamp_bytes == 0) continue;
    uint32_t mss = ctx.interface(i).mss_clamp_bytes;
    if (mss == kMssToPathMtu) {
      const uint32_t mtu = std::min(mtu_of(ctx, way_of(d), p.tuple.family()),
                                    p.in == kNoInterface ? UINT32_MAX : ctx.interface(p.in).mtu_bytes);
      mss = mtu > headers ? mtu - headers : 0;
    }
    if (mss != 0 && (least == 0 || mss < least)) least = mss;
  }
  return static_cast<uint16_t>(least);
}

FlowDecision decision_of(const Context& ctx, const Packet& p, const Decision& d) {
  FlowDecision f;
  f.epoch = ctx.tables->changes.epoch();
  f.service = d.service;
  f.out = d.route.interface;
  if (d.first_sa) f.first_policy = d.first_policy->index;
  f.policy = index_of(d.policy);
  if (is_protecting(d.policy, d.sa)) f.templates = d.policy->templates;
  f.in_policy = index_of(d.in_policy);
  f.gre_policy = index_of(d.gre_policy);
  f.gre_out = d.gre_out;
  if (d.into_tunnel) f.flags |= kDecidedTunnel;
  f.next_hop = d.route.next_hop;
  f.neighbor = ctx.neighbors->find(f.out, f.next_hop).value;
  f.mss_bytes = mss_of(ctx, p, d);
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

// The SA of the policy's first template. False: one is required and there is none.
bool take_first_sa(const Context& ctx, Packet& p, const FlowDecision& decision) {
  p.policy = decision.policy;
  p.templates = decision.templates;
  p.template_at = 0;
  p.sa = ctx.tables->policy_sas->at(decision.policy, 0);
  if (p.sa == kNoSa) [[unlikely]]
    p.sa = next_sa(ctx, (*ctx.tables->spd)[decision.policy], p.template_at);
  return p.sa != kNoSa || p.template_at == p.templates;
}

bool settle(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  Packet& p = packet(mbuf);
  const FlowDecision decision = decision_of(ctx, p, d);
  if (may_record(p)) {
    const FlowKey key = FlowKey::of(p);
    p.flow = ctx.flows->record(key, ctx.flows->hash(key), decision, ctx.now_ms);
  } else {
    p.flow = ctx.flows->place_unrecorded(decision);
  }
  p.service = d.service;
  return d.service != LocalService::kNone || apply_egress(ctx, mbuf, decision);
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

IpAddress error_source(const Context& ctx, const Packet& p, const Decision& d) {
  if (!d.answer_source.is_unspecified()) return d.answer_source;
  // An error about a packet whose destination was translated comes from where the packet was sent to.
  if (d.before_snat.destination != p.tuple.destination) return p.tuple.destination;
  const IpAddress about = d.answer_about.is_unspecified() ? p.tuple.source : d.answer_about;
  const RouteResult back = about.is_link_local() ? ctx.route_on_link(about, p.in)
                                                 : ctx.tables->fib->lookup(about, flow_hash(p.tuple));
  if (back.verdict == RouteVerdict::kLocal) return about;  // translated to an address of the gateway
  // Of IPv4 the interface that the error leaves by names it, of IPv6 the one that the packet came in by.
  const bool by_route = (about.is_v4() || !ctx.is_interface(p.in)) && back.verdict == RouteVerdict::kForward;
  const InterfaceIndex interface = by_route ? back.interface : p.in;
  const IpAddress target = by_route && !back.next_hop.is_unspecified() ? back.next_hop : about;
  return ctx.is_interface(interface) ? ctx.tables->interfaces->address_towards(interface, target)
                                     : IpAddress{};
}

void answer_with_icmp_error(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  const Packet& p = packet(mbuf);
  if (d.answer.reason == IcmpReason::kNone || !may_answer_with_icmp_error(mbuf)) return;
  if (d.way == Way::kFromGateway && !(p.flags & kFromHost)) return;
  const IpAddress source = error_source(ctx, p, d);
  if (source.is_unspecified()) return;
  auto& drops = ctx.stats->drops[p.in == kNoInterface ? 0 : p.in.value];
  ctx.stats->made.add(1);
  const uint32_t rate = IcmpRateLimit::share(ctx.tables->settings.icmp_errors_per_second, ctx.workers);
  if (!ctx.icmp_limit.take(rate, ctx.now_ms))
    return drops[static_cast<size_t>(DropReason::kIcmpRateLimited)].add(1);
  if (d.answer_after_ttl && !(p.flags & kFromGateway)) lower_hop_limit(mbuf);
  const uint16_t id = ctx.next_ip_id();
  rte_mbuf* error = make_icmp_error(mbuf, d.answer, source, id, ctx.pool);
  if (!error) return drops[static_cast<size_t>(DropReason::kNoMbuf)].add(1);
  packet(error).again = Entry::kMade;
  if (ctx.again.push(error)) return;
  rte_pktmbuf_free(error);
  drops[static_cast<size_t>(DropReason::kNoMbuf)].add(1);
}

namespace {

// A packet that no SA takes now. Its flow was decided by another, which may have been free to leave in clear,
// or when an SA was there that the policy does not insist on.
bool may_leave_without_sa(const Context& ctx, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  if (p.into_tunnel) return !ctx.tables->tunnels->is_vti(p.out) || stop(mbuf, DropReason::kVtiDown);
  if (p.flags & kEncrypted) return true;
  if (p.flags & kMustProtect) return stop(mbuf, DropReason::kGreUnprotected);
  return !(p.flags & kAboutProtected) || stop(mbuf, DropReason::kIcmpErrorClear);
}

}  // namespace

void ask_for_sa(Context& ctx, rte_mbuf* mbuf, InterfaceIndex out, PolicyIndex policy) {
  constexpr uint64_t kEveryMs = 100;  // a few packets are enough
  Packet& p = packet(mbuf);
  const bool by_vti = ctx.is_interface(out) && ctx.tables->tunnels->is_vti(out);
  const bool wants_sa = p.reason == DropReason::kOutNoState || p.reason == DropReason::kVtiDown ||
                        (p.reason == DropReason::kRouteUnreachable && by_vti);
  uint64_t& due_ms = ctx.acquire_due_ms[(by_vti ? out.value : policy.value) % ctx.acquire_due_ms.size()];
  if (!wants_sa || ctx.now_ms < due_ms) return;
  due_ms = ctx.now_ms + kEveryMs;
  p.out = out;
  p.policy = policy;
  stop_for_main(mbuf, p.reason);
}

bool apply_egress(Context& ctx, rte_mbuf* mbuf, const FlowDecision& decision) {
  Packet& p = packet(mbuf);
  p.out = decision.out;
  p.next_hop = decision.next_hop;
  p.neighbor = decision.neighbor;
  p.mtu_bytes = ctx.interface(decision.out).mtu_bytes;
  p.into_tunnel = decision.flags & kDecidedTunnel;
  p.sa = kNoSa;
  if (decision.templates != 0 && !take_first_sa(ctx, p, decision)) return stop(mbuf, DropReason::kOutNoState);
  if (p.sa == kNoSa && !may_leave_without_sa(ctx, mbuf)) return false;
  if (decision.policy != kNoPolicy) ctx.stats->policies[decision.policy.value].add(1, p.ip_bytes);
  return true;
}

namespace {

bool decide(Context& ctx, size_t stage, rte_mbuf* mbuf, Decision& d) {
  return measure(ctx.stats->stages[first_packet_counter(stage)], 1, is_sampled(ctx),
                 [&] { return kFirstPacket[stage].decide(ctx, mbuf, d); });
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
    size_t stopped_at = 0;
    const bool goes_on = walk(ctx, mbuf, d, &stopped_at);
    if (ctx.observer && ctx.observer->follows()) [[unlikely]]
      ctx.observer->decided(ctx, mbuf, d, stopped_at);
    if (!goes_on) {
      if (packet(mbuf).reason == DropReason::kNatMoved && !ctx.scratch) ctx.sessions->erase(*d.session);
      count_discarded(ctx, packet(mbuf), d);
      ask_for_sa(ctx, mbuf, d.route.interface, index_of(d.policy));
      answer_with_icmp_error(ctx, mbuf, d);
      return false;
    }
    bool again = false;
    reason = settle_session(ctx, mbuf, d, again);
    if (!again) break;
  }
  if (reason != DropReason::kNone) return stop(mbuf, reason);
  if (d.in_policy) ctx.stats->policies[d.in_policy->index.value].add(1, packet(mbuf).ip_bytes);
  if (d.way == Way::kToGateway) deliver(ctx, mbuf, d);
  if (d.way != Way::kToGateway || d.service != LocalService::kNone) return settle(ctx, mbuf, d);
  answer_with_icmp_error(ctx, mbuf, d);
  return false;
}

}  // namespace espalier::dataplane
