// Stage `flow_lookup`: the cached decision of the packet's flow, if it still holds and serves this packet;
// else the walk through the first-packet stages.
//
// Per-packet questions stay per packet: TTL, size with DF, the state of the session. Who fails one is walked,
// which finds the right answer for its sender.
#include <rte_prefetch.h>

#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/first_packet.hpp"
#include "dataplane/stages/stop.hpp"

namespace espalier::dataplane {
namespace {

// Nothing changed since the decision was last found valid, or nothing that touches this flow.
bool is_still_valid(const Context& ctx, const Packet& p, FlowDecision& d) {
  const ChangeLog& changes = ctx.tables->changes;
  if (d.epoch == changes.epoch()) [[likely]]
    return true;
  const std::array<std::pair<Ipv4Address, Ipv4Address>, 3> pairs{{{p.tuple.source, p.tuple.destination},
                                                                  {p.tuple.source, d.sent_destination},
                                                                  {d.sent_source, d.sent_destination}}};
  if (changes.touched_since(d.epoch, pairs)) return false;
  d.epoch = changes.epoch();
  return true;
}

bool fits(const Context& ctx, rte_mbuf* mbuf, const FlowDecision& d) {
  const Packet& p = packet(mbuf);
  if (!ip_header(mbuf).dont_fragment()) return true;
  // What passes without asking: no interface has a smaller MTU and no tunnel a smaller path MTU.
  const uint32_t smallest_mtu = std::min(kMinPathMtu, ctx.tables->interfaces->smallest_mtu_bytes());
  if (p.ip_bytes <= inner_mtu(smallest_mtu)) return true;
  const auto fits_policy = [&](PolicyIndex policy) {
    const bool fits_clear = p.ip_bytes <= ctx.interface(d.out).mtu_bytes;
    if (policy == kNoPolicy) return fits_clear;
    const SaIndex index = (*ctx.tables->policy_sas)[policy];
    if (index == kNoSa) return is_bypass(ctx, policy) && fits_clear;
    const Sa* sa = ctx.sad->at(index);
    return sa && p.ip_bytes <= inner_mtu(ctx.outer_mtu(*sa));
  };
  return fits_policy(d.policy) && (d.first_policy == d.policy || fits_policy(d.first_policy));
}

// The session takes note of the packet. False: the packet has to be walked (the session is over).
bool note_in_session(Context& ctx, const Packet& p, const FlowDecision& d, bool& invalid) {
  if (!(d.flags & kDecidedTracked)) return true;
  const auto verdict =
      ctx.sessions->update(d.session, {.bytes = p.ip_bytes, .tcp_flags = p.tcp_flags}, ctx.now_ms);
  invalid = verdict == nat::Verdict::kInvalid;
  return verdict != nat::Verdict::kOver;
}

// Whether the packet may be decided as its flow was, or is `invalid` in its session.
bool serves(Context& ctx, rte_mbuf* mbuf, FlowDecision& d, bool& invalid) {
  const Packet& p = packet(mbuf);
  return is_still_valid(ctx, p, d) && ip_header(mbuf).ttl > 1 && fits(ctx, mbuf, d) &&
         note_in_session(ctx, p, d, invalid);
}

bool replay(Context& ctx, rte_mbuf* mbuf, uint32_t index) {
  Packet& p = packet(mbuf);
  FlowEntry& entry = (*ctx.flows)[index];
  const FlowDecision& d = entry.decision;
  entry.used_ms = ctx.now_ms;
  p.flow = index;
  if (d.in_policy != kNoPolicy) ctx.stats->policies[d.in_policy.value].add(1, p.ip_bytes);
  return apply_egress(ctx, mbuf, d);
}

// Where a packet's entry should be; what earlier packets of the burst do to the cache may prove it wrong.
struct Guess {
  uint32_t hash;
  uint32_t index;
};

bool is_cacheable(const Packet& p) {
  return !(p.flags & (kFragment | kIcmpError | kFromGateway));
}

// Every packet is a hit or a miss, and a miss is walked.
bool look_up(Context& ctx, rte_mbuf* mbuf, const Guess& guess) {
  const Packet& p = packet(mbuf);
  const uint32_t index = is_cacheable(p) ? ctx.flows->find(flow_key(p), guess.hash, guess.index) : kNone32;
  bool invalid = false;
  if (index == kNone32 || !serves(ctx, mbuf, (*ctx.flows)[index].decision, invalid)) {
    ctx.stats->flow_misses.add(1);
    return first_packet(ctx, mbuf);
  }
  ctx.stats->flow_hits.add(1);
  return invalid ? stop(mbuf, DropReason::kSessionInvalid) : replay(ctx, mbuf, index);
}

}  // namespace

uint16_t flow_lookup(Context& ctx, MbufSpan burst) {
  std::array<Guess, kBurst * 2> guesses;
  for (size_t i = 0; i < burst.size(); ++i) {
    guesses[i].hash = ctx.flows->hash(flow_key(packet(burst[i])));
    ctx.flows->prefetch(guesses[i].hash);
  }
  for (size_t i = 0; i < burst.size(); ++i) guesses[i].index = ctx.flows->guess(guesses[i].hash);
  if (ctx.tables->track_sessions)
    for (size_t i = 0; i < burst.size(); ++i)
      if (guesses[i].index != kNone32)
        ctx.sessions->prefetch_update((*ctx.flows)[guesses[i].index].decision.session);
  size_t i = 0;
  return partition(burst, [&](rte_mbuf* mbuf) { return look_up(ctx, mbuf, guesses[i++]); });
}

}  // namespace espalier::dataplane
