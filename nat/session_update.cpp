// What a packet does to its session: state, time to live, assurance, counters.
#include <algorithm>

#include "nat/session_table.hpp"

namespace espalier::nat {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr uint64_t kStreamAfterMs = 2000;  // UDP flows that live longer are streams (as in Linux)

bool has(const Session& session, SessionFlags flag) {
  return session.flags.load(kRelaxed) & flag;
}

void set(Session& session, SessionFlags flag) {
  session.flags.store(session.flags.load(kRelaxed) | flag, kRelaxed);
}

// Answers count from the next packet on, so the answer itself still finds the flow unanswered.
void account(Session& session, FlowDirection direction, uint32_t bytes) {
  session.traffic[static_cast<size_t>(direction)].add(1, bytes);
  if (direction == FlowDirection::kReply && !has(session, kSeenReply)) set(session, kSeenReply);
}

}  // namespace

uint64_t SessionTable::tcp_timeout(TcpState state, bool seen_reply) const {
  const uint64_t timeout = timeouts_.tcp(state);
  const bool half_seen = state == TcpState::kEstablished && !seen_reply;
  return half_seen ? std::min(timeout, timeouts_.tcp_unacknowledged()) : timeout;
}

uint64_t SessionTable::first_timeout(const PendingSession& pending) const {
  switch (pending.original.protocol) {
    case kProtoTcp:
      return tcp_timeout(pending.tcp.state, false);
    case kProtoUdp:
      return timeouts_.udp();
    case kProtoIcmp:
    case kProtoIcmpv6:
      return timeouts_.icmp();
  }
  return timeouts_.generic();
}

void SessionTable::assure(uint32_t index) {
  Session& session = sessions_[index];
  if (has(session, kAssured)) return;
  OwnedSessions& owned = owned_[owner_of(index)];
  owned.remove(index);
  set(session, kAssured);
  owned.add(index);
}

// What follows from a step of the state machine that was made.
void SessionTable::after_tcp_step(uint32_t index, TcpState old, const TcpTrack& track, uint8_t flags,
                                  uint64_t now_ms) {
  Session& session = sessions_[index];
  const bool seen_reply = has(session, kSeenReply);
  uint64_t timeout = tcp_timeout(track.state, seen_reply);
  if (!seen_reply) {
    // Refused at once: nothing was established, the session is over with this packet.
    if (flags & kTcpRst) timeout = 0;
    // A SYN repeated for ever must not keep a session that nobody answers.
    if (classify_tcp(flags) == TcpPacket::kSyn && old == TcpState::kSynSent) return;
  }
  session.expires_ms.store(now_ms + timeout, kRelaxed);
  const bool handshake_done = old == TcpState::kSynRecv || old == TcpState::kEstablished;
  if (seen_reply && handshake_done && track.state == TcpState::kEstablished) assure(index);
}

Verdict SessionTable::update_tcp(uint32_t index, FlowDirection direction, uint8_t flags, uint64_t now_ms) {
  Session& session = sessions_[index];
  TcpTrack track = session.tcp.load(kRelaxed);
  const TcpState old = track.state;
  const TcpOutcome outcome = advance_tcp(track, direction, flags);
  session.tcp.store(track, kRelaxed);
  switch (outcome) {
    case TcpOutcome::kAdvanced:
      after_tcp_step(index, old, track, flags, now_ms);
      return Verdict::kAccept;
    case TcpOutcome::kIgnored:
      return Verdict::kAccept;
    case TcpOutcome::kInvalid:
      return Verdict::kInvalid;
    case TcpOutcome::kReopened:
      break;
  }
  end(index);
  return Verdict::kOver;
}

void SessionTable::update_udp(uint32_t index, uint64_t now_ms) {
  Session& session = sessions_[index];
  const bool stream = has(session, kSeenReply) && now_ms > session.began_ms + kStreamAfterMs;
  session.expires_ms.store(now_ms + (stream ? timeouts_.udp_stream() : timeouts_.udp()), kRelaxed);
  if (stream) assure(index);
}

void SessionTable::update_other(uint32_t index, FlowDirection direction, uint64_t now_ms) {
  Session& session = sessions_[index];
  const bool icmp = session.protocol == kProtoIcmp || session.protocol == kProtoIcmpv6;
  if (icmp) return session.expires_ms.store(now_ms + timeouts_.icmp(), kRelaxed);
  session.expires_ms.store(now_ms + timeouts_.generic(), kRelaxed);
  if (direction == FlowDirection::kReply) assure(index);
}

Verdict SessionTable::judge(const SessionRef& ref, const PacketFacts& facts, uint64_t now_ms) const {
  const Session& session = sessions_[ref.index];
  if (session.owned_generation.load(kRelaxed) != ref.generation) return Verdict::kOver;
  if (now_ms >= session.expires_ms.load(kRelaxed)) return Verdict::kOver;
  if (session.protocol != kProtoTcp) return Verdict::kAccept;
  TcpTrack track = session.tcp.load(kRelaxed);
  switch (advance_tcp(track, ref.direction, facts.tcp_flags)) {
    case TcpOutcome::kAdvanced:
    case TcpOutcome::kIgnored:
      return Verdict::kAccept;
    case TcpOutcome::kInvalid:
      return Verdict::kInvalid;
    case TcpOutcome::kReopened:
      break;
  }
  return Verdict::kOver;
}

Verdict SessionTable::update(const SessionRef& ref, const PacketFacts& facts, uint64_t now_ms) {
  Session& session = sessions_[ref.index];
  if (session.owned_generation.load(kRelaxed) != ref.generation) return Verdict::kOver;
  if (now_ms >= session.expires_ms.load(kRelaxed)) {
    end(ref.index);
    return Verdict::kOver;
  }
  Verdict verdict = Verdict::kAccept;
  if (session.protocol == kProtoTcp)
    verdict = update_tcp(ref.index, ref.direction, facts.tcp_flags, now_ms);
  else if (session.protocol == kProtoUdp)
    update_udp(ref.index, now_ms);
  else
    update_other(ref.index, ref.direction, now_ms);
  if (verdict == Verdict::kAccept) account(session, ref.direction, facts.bytes);
  return verdict;
}

}  // namespace espalier::nat
