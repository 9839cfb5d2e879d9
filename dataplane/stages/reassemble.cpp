// Stage `reassemble`: puts together what sessions or ESP must see whole. Without sessions fragments for
// others pass one by one, as in Linux without conntrack. All fragments of a datagram meet at one worker. Runs
// before `esp_input` for the outer packets and after it for the inner ones. Configuration: nat.sessions.
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"

namespace espalier::dataplane {
namespace {

bool parse_whole(rte_mbuf* mbuf) {
  return parse_ip(mbuf, is_ipv4(mbuf) ? Family::kIpv4 : Family::kIpv6, false);
}

// Adds a fragment; `mbuf` becomes the whole when it is complete.
bool add_fragment(Context& ctx, rte_mbuf*& mbuf) {
  rte_mbuf* other = nullptr;
  DropReason reason = DropReason::kNone;
  const auto outcome = ctx.reassembler->add(mbuf, ctx.now_ms, other, reason);
  if (outcome != Reassembler::Outcome::kComplete) {
    if (other) leave(ctx, other);
    if (reason != DropReason::kNone) return stop(mbuf, reason);
    stop(mbuf, DropReason::kUsedFragment);
    packet(mbuf).exit = Exit::kHeld;
    return false;
  }
  if (packet(other).story == 0) packet(other).story = packet(mbuf).story;
  stop(mbuf, reason);
  leave(ctx, mbuf);
  mbuf = other;
  packet(mbuf).reason = DropReason::kNone;
  // The first fragment may have come in under tables with more interfaces.
  if (!ctx.is_interface(packet(mbuf).in)) return stop(mbuf, DropReason::kInterfaceDown);
  return parse_whole(mbuf);
}

bool must_be_whole(const Context& ctx, const Packet& p) {
  return ctx.tables->tracks(p.tuple.family()) || ctx.tables->interfaces->is_own_address(p.tuple.destination);
}

}  // namespace

uint16_t reassemble(Context& ctx, MbufSpan burst) {
  bool any = false;
  for (rte_mbuf* mbuf : burst) any |= packet(mbuf).flags & kFragment;
  if (!any) return static_cast<uint16_t>(burst.size());
  for (rte_mbuf*& mbuf : burst) {
    const Packet& p = packet(mbuf);
    if (!(p.flags & kFragment) || !must_be_whole(ctx, p)) continue;
    if (unwrap_atomic_fragment(mbuf)) {
      parse_whole(mbuf);
      continue;
    }
    const WorkerId worker{static_cast<uint16_t>(fragment_hash(mbuf) % ctx.workers)};
    if (worker != ctx.worker)
      stop_for_worker(mbuf, worker);
    else
      add_fragment(ctx, mbuf);
  }
  return partition(burst, [](rte_mbuf* mbuf) { return packet(mbuf).reason == DropReason::kNone; });
}

}  // namespace espalier::dataplane
