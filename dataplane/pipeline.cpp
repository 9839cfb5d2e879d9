#include "dataplane/pipeline.hpp"

#include "dataplane/stages/measure.hpp"

namespace espalier::dataplane {
namespace {

constexpr size_t place_of(BurstStage stage) {
  for (size_t i = 0; i < kEveryPacket.size(); ++i)
    if (kEveryPacket[i].run == stage) return i;
  return kEveryPacket.size();
}

constexpr size_t first_stage(Entry entry) {
  switch (entry) {
    case Entry::kReceived:
      return place_of(parse);
    case Entry::kHandedOver:
    case Entry::kDecapsulated:
      return place_of(reassemble);
    case Entry::kMade:
      return place_of(flow_lookup);
    case Entry::kToTunnel:
      return place_of(tunnel_output);
  }
  return 0;
}
static_assert(kEveryPacket.size() + kFirstPacket.size() <= statistics::kMaxStages);

void run_stages(Context& ctx, MbufSpan burst, Entry entry) {
  const bool sampled = is_sampled(ctx);
  Observer* const follower = ctx.observer && ctx.observer->follows() ? ctx.observer : nullptr;
  for (size_t i = first_stage(entry); i < kEveryPacket.size() && !burst.empty(); ++i) {
    if (follower) [[unlikely]]
      follower->entering(ctx, i, burst);
    const uint16_t kept =
        measure(ctx.stats->stages[i], burst.size(), sampled, [&] { return kEveryPacket[i].run(ctx, burst); });
    if (follower) [[unlikely]]
      follower->passed(ctx, i, burst.first(kept), burst.subspan(kept));
    for (rte_mbuf* mbuf : burst.subspan(kept)) leave(ctx, mbuf);
    burst = burst.first(kept);
  }
}

void count_and_free(Context& ctx, rte_mbuf* mbuf, DropReason reason) {
  if (ctx.observer) [[unlikely]]
    ctx.observer->ended(mbuf, reason);
  const InterfaceIndex in = packet(mbuf).in;
  ctx.stats->drops[in == kNoInterface ? 0 : in.value][static_cast<size_t>(reason)].add(1);
  rte_pktmbuf_free(mbuf);
}

// ARP and IKE have mailboxes of their own: see Gateway::main_mailboxes().
void to_main(Context& ctx, rte_mbuf* mbuf, DropReason reason) {
  const bool is_ike = reason == DropReason::kUsedIke;
  Mailbox* const mailbox = reason == DropReason::kUsedArp ? ctx.arp : is_ike ? ctx.ike : ctx.main;
  if (mailbox->push(mbuf)) return;
  count_and_free(ctx, mbuf, is_ike ? DropReason::kIkeFull : DropReason::kPuntFull);
}

}  // namespace

void leave(Context& ctx, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  const DropReason reason = p.reason;
  switch (p.exit) {
    case Exit::kDrop:
      return count_and_free(ctx, mbuf, reason);
    case Exit::kHeld:
      if (ctx.observer) [[unlikely]]
        ctx.observer->ended(mbuf, reason);
      return rte_pktmbuf_free(mbuf);
    case Exit::kToMain:
      return to_main(ctx, mbuf, reason);
    case Exit::kAgain:
      p.reason = DropReason::kNone;
      p.exit = Exit::kDrop;
      if (!ctx.again.push(mbuf)) count_and_free(ctx, mbuf, reason);
      return;
    case Exit::kToWorker:
      p.reason = DropReason::kNone;
      p.exit = Exit::kDrop;
      ctx.stats->handed_over.add(1);
      if (!ctx.handover[p.to_worker.value]->push(mbuf)) count_and_free(ctx, mbuf, DropReason::kHandoverFull);
      return;
  }
}

namespace {

// The next packets of `waiting` that come in at the same place; at most as many as stages take.
MbufSpan next_run(MbufSpan waiting) {
  size_t count = 1;
  while (count < std::min<size_t>(waiting.size(), kBurst * 2) &&
         packet(waiting[count]).again == packet(waiting[0]).again)
    ++count;
  return waiting.first(count);
}

}  // namespace

void run_pipeline(Context& ctx, MbufSpan burst, Entry entry) {
  if (ctx.observer && entry == Entry::kReceived) [[unlikely]]
    ctx.observer->received(ctx, burst);
  run_stages(ctx, burst, entry);
  // What goes through again may make more that does, so the list is emptied first. It ends: packets that were
  // wrapped or unwrapped too often are dropped, and there is no error about an error.
  while (!ctx.again.empty()) {
    auto list = ctx.again;
    ctx.again.clear();
    for (MbufSpan waiting = list.span(); !waiting.empty();) {
      const MbufSpan run = next_run(waiting);
      waiting = waiting.subspan(run.size());
      run_stages(ctx, run, packet(run[0]).again);
    }
  }
  ctx.transmitter->flush();
}

}  // namespace espalier::dataplane
