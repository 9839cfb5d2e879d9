#include "dataplane/sa_watch.hpp"

namespace espalier::dataplane {
namespace {

bool reached(uint64_t limit, uint64_t value) {
  return limit != 0 && value >= limit;
}

uint64_t packets_of(const Sa& sa) {
  return sa.counters().packets.load(std::memory_order_relaxed);
}
uint64_t bytes_of(const Sa& sa) {
  return sa.counters().bytes.load(std::memory_order_relaxed);
}

// Without ESN a fast link uses all numbers up in minutes, and nothing leaves behind the last (RFC 4303
// section 3.3.3): so with nine tenths of them a soft limit is reached, whatever others there are.
bool numbers_run_short(const Sa& sa) {
  if (sa.direction() != Direction::kOut) return false;
  const uint64_t end = sa.outbound().sequence_end.load(std::memory_order_relaxed);
  return sa.outbound().next_sequence.load(std::memory_order_relaxed) >= end - end / 10;
}

}  // namespace

// Of an SA that an earlier process used, what it counted is known already.
SaWatch::Seen SaWatch::first_sight(const Sa& sa, uint64_t now_ms) {
  Seen seen{.sent_ms = now_ms};
  if (sa.counters().last_used_s.load(std::memory_order_relaxed) != 0) seen.packets = packets_of(sa);
  return seen;
}

// To a tenth of a second, and at no cost for workers.
void SaWatch::look_at_use(const Sa& sa, Seen& seen, uint32_t now_s) {
  const uint64_t packets = packets_of(sa);
  if (packets == seen.packets) return;
  seen.packets = packets;
  sa.counters().note_use(now_s);
}

// Packets and bytes over a hard limit are the workers' to notice, exactly; time is not theirs.
void SaWatch::look_at_limits(const SaStore& store, const Sa& sa, Seen& seen, uint32_t now_s,
                             Findings& findings) {
  const SaLimits& limits = sa.limits();
  CellCounters& counters = sa.counters();
  const uint32_t since = store.installed_s(sa.index());
  const uint64_t age_s = since == 0 || now_s < since ? 0 : now_s - since;
  if (reached(limits.hard_seconds, age_s)) counters.expire(kExpiredHard);
  if (reached(limits.soft_seconds, age_s) || reached(limits.soft_packets, packets_of(sa)) ||
      reached(limits.soft_bytes, bytes_of(sa)) || numbers_run_short(sa))
    counters.expire(kExpiredSoft);
  for (const Expired limit : {kExpiredSoft, kExpiredHard}) {
    if (!counters.has_expired(limit) || (seen.told & limit)) continue;
    seen.told |= limit;
    findings.any_gone |= limit == kExpiredHard;
    findings.expired.push_back({.sa = sa, .hard = limit == kExpiredHard});
  }
}

void SaWatch::look_at_peer(const SaStore& store, const Sa& sa, Seen& seen, Findings& findings) {
  LearnedPeer& learned = store.peer(sa.index());
  const auto known = learned.get();
  const auto before = known.value_or(LearnedPeer::Endpoint{sa.source(), sa.encap_source_port().host()});
  const bool again = std::exchange(seen.tell_peer, false) && known;
  const auto peer = sa.peer_watch().take();
  if (!peer && !again) return;
  const auto now = peer ? LearnedPeer::Endpoint{peer->address, peer->port.host()} : before;
  if (peer) learned.learn(now);
  findings.moved.push_back({.sa = sa, .before = before, .now = now});
}

// RFC 3948 section 2.3: only when nothing else was sent for that long.
void SaWatch::look_at_silence(const Sa& sa, Seen& seen, uint64_t now_ms, Findings& findings) {
  const uint64_t sequence = sa.outbound().next_sequence.load(std::memory_order_relaxed);
  if (sequence != seen.sequence) {
    seen.sequence = sequence;
    seen.sent_ms = now_ms;
  }
  if (now_ms - seen.sent_ms < sa.keepalive_s() * uint64_t{1000}) return;
  seen.sent_ms = now_ms;
  findings.silent.push_back(&sa);
}

void SaWatch::tell_again(const SaStore& store) {
  for (auto& [index, seen] : seen_)
    if (store.is_ike(index)) seen.told = 0, seen.tell_peer = true;
}

void SaWatch::forget(std::span<const SaIndex> removed) {
  for (const SaIndex index : removed) seen_.erase(index);
}

SaWatch::Findings SaWatch::look(const SaStore& store, uint64_t now_ms, uint32_t now_s) {
  Findings findings;
  store.sad().for_each([&](const Sa& sa) {
    Seen& seen = seen_.try_emplace(sa.index(), first_sight(sa, now_ms)).first->second;
    look_at_use(sa, seen, now_s);
    const bool encap_in = sa.direction() == Direction::kIn && sa.has(kSaEncap);
    const bool encap_out = sa.direction() == Direction::kOut && sa.has(kSaEncap) && sa.keepalive_s() != 0;
    const bool limited = !(sa.limits() == SaLimits{}) || sa.direction() == Direction::kOut;
    if (limited) look_at_limits(store, sa, seen, now_s, findings);
    if (encap_in) look_at_peer(store, sa, seen, findings);
    if (encap_out) look_at_silence(sa, seen, now_ms, findings);
  });
  return findings;
}

}  // namespace espalier::dataplane
