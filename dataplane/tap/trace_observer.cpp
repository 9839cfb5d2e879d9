#include "dataplane/tap/trace_observer.hpp"

namespace espalier::dataplane {

void TraceObserver::received(const Context& ctx, MbufSpan frames) {
  for (rte_mbuf* frame : frames) {
    uint8_t& story = packet(frame).story;
    story = 0;
    if (!tap_.ethernet_filter().matches(bytes(frame), frame->pkt_len)) continue;
    story = book_.begin(ctx.tables->interfaces->by_wire(frame->port, 0));
    if (story == 0) tap_.count_lost(thread_);
  }
  narrator_.received(ctx, frames);
}

// What another thread goes on with, or what waits for its other fragments, is not over, whatever was said of
// it.
void TraceObserver::passed(const Context& ctx, size_t stage, MbufSpan kept, MbufSpan stopped) {
  narrator_.passed(ctx, stage, kept, stopped);
  for (rte_mbuf* mbuf : stopped) {
    const Packet& p = packet(mbuf);
    if (p.exit == Exit::kToMain || p.exit == Exit::kToWorker || p.exit == Exit::kHeld)
      book_.expect_more(story::story_of(p.story));
  }
}

void TraceObserver::sent(rte_mbuf* frame, InterfaceIndex out) {
  narrator_.sent(frame, out);
  book_.expect_end(story::story_of(packet(frame).story));
}

void TraceObserver::ended(rte_mbuf* mbuf, DropReason reason) {
  narrator_.ended(mbuf, reason);
  if (packet(mbuf).exit != Exit::kHeld) book_.expect_end(story::story_of(packet(mbuf).story));
}

}  // namespace espalier::dataplane
