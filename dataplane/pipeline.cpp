#include "dataplane/pipeline.hpp"

#include "dataplane/stages/measure.hpp"

namespace espalier::dataplane {
namespace {

constexpr size_t first_stage(Entry entry) {
  switch (entry) {
    case Entry::kReceived:
      return 0;
    case Entry::kHandedOver:
      return 1;
    case Entry::kMade:
      return 4;
  }
  return 0;
}
static_assert(kEveryPacket[first_stage(Entry::kReceived)].run == parse);
static_assert(kEveryPacket[first_stage(Entry::kHandedOver)].run == reassemble);
static_assert(kEveryPacket[first_stage(Entry::kMade)].run == flow_lookup);
static_assert(kEveryPacket.size() + kFirstPacket.size() <= statistics::kMaxStages);

void run_stages(Context& ctx, MbufSpan burst, Entry entry) {
  const bool sampled = is_sampled(ctx);
  for (size_t i = first_stage(entry); i < kEveryPacket.size() && !burst.empty(); ++i) {
    const uint16_t kept =
        measure(ctx.stats->stages[i], burst.size(), sampled, [&] { return kEveryPacket[i].run(ctx, burst); });
    for (rte_mbuf* mbuf : burst.subspan(kept)) leave(ctx, mbuf);
    burst = burst.first(kept);
  }
}

void count_and_free(Context& ctx, rte_mbuf* mbuf, DropReason reason) {
  const InterfaceIndex in = packet(mbuf).in;
  ctx.stats->drops[in == kNoInterface ? 0 : in.value][static_cast<size_t>(reason)].add(1);
  rte_pktmbuf_free(mbuf);
}

}  // namespace

void leave(Context& ctx, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  const DropReason reason = p.reason;
  switch (p.exit) {
    case Exit::kDrop:
      return count_and_free(ctx, mbuf, reason);
    case Exit::kHeld:
      return rte_pktmbuf_free(mbuf);
    case Exit::kToMain:
      if (!(reason == DropReason::kUsedArp ? ctx.arp : ctx.main)->push(mbuf))
        count_and_free(ctx, mbuf, DropReason::kPuntFull);
      return;
    case Exit::kToWorker:
      p.reason = DropReason::kNone;
      p.exit = Exit::kDrop;
      ctx.stats->handed_over.add(1);
      if (!ctx.handover[p.to_worker.value]->push(mbuf)) count_and_free(ctx, mbuf, DropReason::kHandoverFull);
      return;
  }
}

void run_pipeline(Context& ctx, MbufSpan burst, Entry entry) {
  run_stages(ctx, burst, entry);
  // What was made may make more (never an error about an error), so the list is emptied first.
  while (!ctx.made.empty()) {
    std::array<rte_mbuf*, kBurst * 2> made;
    const MbufSpan waiting = ctx.made.span();
    std::copy(waiting.begin(), waiting.end(), made.begin());
    ctx.made.clear();
    run_stages(ctx, MbufSpan(made.data(), waiting.size()), Entry::kMade);
  }
  ctx.transmitter->flush();
}

}  // namespace espalier::dataplane
