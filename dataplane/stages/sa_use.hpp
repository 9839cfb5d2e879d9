// What packets do to their SA beside being encrypted or decrypted by it: numbers, limits, counters, the
// peer's address. A rehearsal asks what would come of it, and the SA stays as it is.
#pragma once

#include "dataplane/context.hpp"
#include "dataplane/scratch.hpp"

namespace espalier::dataplane {

inline void count(const Context& ctx, std::atomic<uint64_t>& counter, uint64_t n) {
  if (!ctx.scratch) CellCounters::add(counter, n);
}

inline SequenceRun take_numbers(const Context& ctx, const Sa& sa, uint32_t n) {
  if (!ctx.scratch) [[likely]]
    return sa.outbound().take(n);
  Scratch::Use& use = ctx.scratch->of(sa.index());
  const SequenceRun run = sa.outbound().look(n, use.numbers);
  use.numbers += run.granted;
  return run;
}

// Of an SA with limits: counts the packet, if they leave room for it.
inline bool count_within_limits(const Context& ctx, const Sa& sa, uint64_t bytes) {
  if (!ctx.scratch) [[likely]]
    return sa.count_within_limits(bytes);
  Scratch::Use& use = ctx.scratch->of(sa.index());
  if (!sa.leaves_room(use.packets, use.bytes)) return false;
  ++use.packets;
  use.bytes += bytes;
  return true;
}

// Without a replay window whoever recorded a packet could say where the peer is (RFC 7296 section 2.23).
inline void note_peer(const Context& ctx, const Sa& sa, const Packet& p) {
  if (sa.has(kSaEncap) && sa.window().size() != 0 && !ctx.scratch)
    sa.peer_watch().see({p.tuple.source, p.tuple.source_port});
}

// Commits what is authentic to the SA's replay window, in one run under its lock; in a rehearsal to its
// notes.
class WindowRun {
 public:
  WindowRun(const Context& ctx, const Sa& sa) : scratch_(ctx.scratch), sa_(sa.index()) {
    if (!scratch_) [[likely]]
      run_.emplace(sa.window());
  }
  [[nodiscard]] bool commit(ReplayWindow::Ticket&& ticket, const crypto::Authenticated& proof) {
    return run_ ? run_->commit(std::move(ticket), proof) : scratch_->accept(sa_, ticket.number().value);
  }

 private:
  std::optional<ReplayWindow::Run> run_;
  Scratch* const scratch_;
  const SaIndex sa_;
};

}  // namespace espalier::dataplane
