// The eyes of a `trace` in one thread: chooses packets as they are received, and has the narrator tell what
// becomes of them.
#pragma once

#include "dataplane/story/narrator.hpp"
#include "dataplane/tap/story_book.hpp"

namespace espalier::dataplane {

class TraceObserver final : public Observer, private story::Listener {
 public:
  // `thread`: a worker's number, or that of workers for the main lcore.
  TraceObserver(PacketTap& tap, StoryBook& book, uint16_t thread)
      : tap_(tap), book_(book), thread_(thread), narrator_(*this) {}

  void received(const Context& ctx, MbufSpan frames) override;
  void entering(const Context& ctx, size_t stage, MbufSpan burst) override {
    narrator_.entering(ctx, stage, burst);
  }
  void passed(const Context& ctx, size_t stage, MbufSpan kept, MbufSpan stopped) override;
  void decided(const Context& ctx, rte_mbuf* mbuf, const Decision& decision, size_t stopped_at) override {
    narrator_.decided(ctx, mbuf, decision, stopped_at);
  }
  void sent(rte_mbuf* frame, InterfaceIndex out) override;
  void ended(rte_mbuf* mbuf, DropReason reason) override;

 private:
  void say(uint8_t story, std::string_view stage, std::string_view text) override {
    book_.add(story, stage, text);
  }

  PacketTap& tap_;
  StoryBook& book_;
  uint16_t thread_;
  story::Narrator narrator_;
};

}  // namespace espalier::dataplane
