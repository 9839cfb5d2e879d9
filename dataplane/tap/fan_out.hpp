// One observer that is several. Owner: the thread whose pipeline it looks at.
#pragma once

#include <algorithm>
#include <vector>

#include "dataplane/observer.hpp"

namespace espalier::dataplane {

class FanOut final : public Observer {
 public:
  explicit FanOut(std::vector<Observer*> others)
      : Observer(Interests{.stages = std::ranges::any_of(others, &Observer::follows)}),
        others_(std::move(others)) {}

  void received(const Context& ctx, MbufSpan frames) override {
    for (Observer* other : others_) other->received(ctx, frames);
  }
  void entering(const Context& ctx, size_t stage, MbufSpan burst) override {
    for (Observer* other : others_) other->entering(ctx, stage, burst);
  }
  void passed(const Context& ctx, size_t stage, MbufSpan kept, MbufSpan stopped) override {
    for (Observer* other : others_) other->passed(ctx, stage, kept, stopped);
  }
  void decided(const Context& ctx, rte_mbuf* mbuf, const Decision& decision, size_t stopped_at) override {
    for (Observer* other : others_) other->decided(ctx, mbuf, decision, stopped_at);
  }
  void encrypting(const Sa& sa, MbufSpan packets) override {
    for (Observer* other : others_) other->encrypting(sa, packets);
  }
  void decrypted(const Sa& sa, rte_mbuf* mbuf) override {
    for (Observer* other : others_) other->decrypted(sa, mbuf);
  }
  void sent(rte_mbuf* frame, InterfaceIndex out) override {
    for (Observer* other : others_) other->sent(frame, out);
  }
  void ended(rte_mbuf* mbuf, DropReason reason) override {
    for (Observer* other : others_) other->ended(mbuf, reason);
  }

 private:
  std::vector<Observer*> others_;
};

}  // namespace espalier::dataplane
