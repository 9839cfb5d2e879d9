// Stage `flow_lookup`: the cached decision of the packet's flow, if it still holds and serves this packet;
// else the walk through the first-packet stages.
//
// Per-packet questions stay per packet: TTL, size with DF, the state of the session. Who fails one is walked,
// which finds the right answer for its sender.
#include <rte_prefetch.h>

#include <array>
#include <utility>

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/esp.hpp"
#include "dataplane/stages/first_packet.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/way_out.hpp"

namespace espalier::dataplane {
namespace {

// The addresses that the flow's packets leave with.
std::pair<IpAddress, IpAddress> sent_addresses(const Packet& p, const FlowDecision& d) {
  if (d.flags & kDecidedRewrite) return {d.rewrite.source, d.rewrite.destination};
  return {p.tuple.source, p.tuple.destination};
}

// Nothing changed since the decision was last found valid, or nothing that touches this flow. What goes into
// a tunnel interface depends on the tunnel's own way as well, which a flow does not know: any change may be
// it.
bool is_still_valid(const Context& ctx, const Packet& p, FlowDecision& d) {
  const ChangeLog& changes = ctx.tables->changes;
  if (d.epoch == changes.epoch()) [[likely]]
    return true;
  if (d.flags & kDecidedTunnel) return false;
  const auto [sent_source, sent_destination] = sent_addresses(p, d);
  const std::array<std::pair<IpAddress, IpAddress>, 3> pairs{{{p.tuple.source, p.tuple.destination},
                                                              {p.tuple.source, sent_destination},
                                                              {sent_source, sent_destination}}};
  if (changes.touched_since(d.epoch, pairs)) return false;
  d.epoch = changes.epoch();
  return true;
}

bool fits_way(const Context& ctx, const Packet& p, const FlowDecision& d, PolicyIndex policy) {
  const WayOut way{.out = d.out, .policy = policy, .gre_policy = d.gre_policy, .gre_out = d.gre_out};
  const uint32_t mtu = mtu_of(ctx, way, p.tuple.family());
  return p.ip_bytes <= mtu;
}

bool fits(const Context& ctx, const Packet& p, const FlowDecision& d) {
  if (!(p.flags & kDontFragment) || p.ip_bytes <= ctx.tables->fits_everywhere_bytes) return true;
  return fits_way(ctx, p, d, d.policy) && (d.first_policy == d.policy || fits_way(ctx, p, d, d.first_policy));
}

// The session takes note of the packet. False: the packet has to be walked (the session is over).
bool note_in_session(Context& ctx, const Packet& p, const FlowDecision& d, bool& invalid) {
  if (!(d.flags & kDecidedTracked)) return true;
  const auto verdict =
      ctx.sessions->update(d.session, {.bytes = p.ip_bytes, .tcp_flags = p.tcp_flags}, ctx.now_ms);
  invalid = verdict == nat::Verdict::kInvalid;
  return verdict != nat::Verdict::kOver;
}

// UDP for a port of ESP may be IKE as well, and the other way round.
bool is_served_by(const Context& ctx, rte_mbuf* mbuf, LocalService service) {
  const bool may_be_other = service == LocalService::kEsp || service == LocalService::kIke;
  return !may_be_other || is_esp(ctx, mbuf) == (service == LocalService::kEsp);
}

// Whether the packet may be decided as its flow was, or is `invalid` in its session.
bool serves(Context& ctx, rte_mbuf* mbuf, FlowDecision& d, bool& invalid) {
  const Packet& p = packet(mbuf);
  if (!is_still_valid(ctx, p, d)) return false;
  if (d.service == LocalService::kNone && !(p.flags & kFromGateway) &&
      (hop_limit(mbuf) <= 1 || !fits(ctx, p, d)))
    return false;
  return is_served_by(ctx, mbuf, d.service) && note_in_session(ctx, p, d, invalid);
}

bool replay(Context& ctx, rte_mbuf* mbuf, uint32_t index) {
  Packet& p = packet(mbuf);
  FlowEntry& entry = (*ctx.flows)[index];
  const FlowDecision& d = entry.decision;
  entry.used_ms = ctx.now_ms;
  p.flow = index;
  if (d.in_policy != kNoPolicy) ctx.stats->policies[d.in_policy.value].add(1, p.ip_bytes);
  p.service = d.service;
  if (d.service != LocalService::kNone || apply_egress(ctx, mbuf, d)) return true;
  ask_for_sa(ctx, mbuf, d.out, d.policy);
  return false;
}

// Where a packet's entry should be; what earlier packets of the burst do to the cache may prove it wrong.
struct Guess {
  uint32_t hash;
  uint32_t index;
};

// Who is followed through the stages is walked, to see what decides. A flow's entry says what it was decided
// to do, no longer why.
bool may_replay(const Packet& p) {
  return may_record(p) && p.story == 0;
}

// Every packet is a hit or a miss, and a miss is walked.
bool look_up(Context& ctx, rte_mbuf* mbuf, const Guess& guess) {
  const Packet& p = packet(mbuf);
  const uint32_t index = may_replay(p) ? ctx.flows->find(FlowKey::of(p), guess.hash, guess.index) : kNone32;
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
    guesses[i].hash = ctx.flows->hash(FlowKey::of(packet(burst[i])));
    ctx.flows->prefetch(guesses[i].hash);
  }
  for (size_t i = 0; i < burst.size(); ++i) guesses[i].index = ctx.flows->guess(guesses[i].hash);
  if (ctx.tables->track_sessions[0] || ctx.tables->track_sessions[1])
    for (size_t i = 0; i < burst.size(); ++i)
      if (guesses[i].index != kNone32)
        ctx.sessions->prefetch_update((*ctx.flows)[guesses[i].index].decision.session);
  size_t i = 0;
  return partition(burst, [&](rte_mbuf* mbuf) { return look_up(ctx, mbuf, guesses[i++]); });
}

}  // namespace espalier::dataplane
