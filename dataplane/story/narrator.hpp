// Says in sentences for operators what happens to the packets that are followed: which stage saw what, which
// rule, policy, SA, route or session decided, why a packet ended, what left. `explain` (a rehearsal) and
// `trace` (real packets in a worker) tell the same story in the same words.
//
// A packet is followed when its record has a story (Packet::story). Whoever chooses does so in
// Observer::received(): he writes the story of each frame's record, 0 for none, and `parse` keeps it. It goes
// on with all that becomes of the packet: what was inside of it, GRE and ESP around it, its fragments, the
// datagram that it was a part of; and, told apart by kAnswer, the ICMP error or ping answer that it brought
// about.
//
// Owner: one thread, the one that runs the pipeline. A story may go on with another thread's narrator (a
// packet that is handed over): all that outlives a burst is in the packet's record, and what a narrator
// remembers of a story is only how its result would be worded.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/pipeline.hpp"

namespace espalier::dataplane::story {

inline constexpr uint8_t kMostStories = 127;  // that are told at once: 1 .. kMostStories
// The part of a story that is about the gateway's own answer to the packet.
inline constexpr uint8_t kAnswer = Packet::kAnswerStory;
constexpr uint8_t story_of(uint8_t story) {
  return story & static_cast<uint8_t>(~kAnswer);
}

// Who collects the lines. Called by the narrator's thread.
class Listener {
 public:
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // `story`: without kAnswer; `stage`: of the pipeline, or one of
  //   "packet"  what it is, at its beginning and each time it became another one
  //   "result"  how it ended or left; a packet that became several has several
  //   "answer"  what the gateway answers
  // with "answer: " before it for what became of the answer; at most 31 characters. `text`: a sentence
  // without a full stop, at most 239 characters. Both are valid during the call.
  virtual void say(uint8_t story, std::string_view stage, std::string_view text) = 0;

 protected:
  Listener() = default;
  ~Listener() = default;
};

// An Observer; others may own one and pass on what it is to see. It does not choose whom to follow:
// received() is the caller's to do before it is passed on.
class Narrator final : public Observer {
 public:
  explicit Narrator(Listener& listener) : listener_(listener) {}

  void received(const Context& ctx, MbufSpan frames) override;
  void entering(const Context& ctx, size_t stage, MbufSpan burst) override;
  void passed(const Context& ctx, size_t stage, MbufSpan kept, MbufSpan stopped) override;
  void decided(const Context& ctx, rte_mbuf* mbuf, const Decision& decision, size_t stopped_at) override;
  void sent(rte_mbuf* frame, InterfaceIndex out) override;
  void ended(rte_mbuf* mbuf, DropReason reason) override;

 private:
  // What a packet was when it entered the stage; lives as long as the burst is in it.
  struct Before {
    const rte_mbuf* mbuf;
    Packet record;
    std::string text;  // what can be told only before the stage changed the packet
  };
  void say(const Packet& p, std::string_view stage, std::string_view text);
  void say_dropped(const Packet& p, DropReason reason);
  void say_leaving(const Packet& p);
  const Before* before(const rte_mbuf* mbuf) const;
  void look_ahead(const Context& ctx, BurstStage stage, rte_mbuf* mbuf);
  void tell_kept(size_t stage, rte_mbuf* mbuf);
  void tell_whole(std::string_view stage, rte_mbuf* mbuf);
  void tell_stopped(const Context& ctx, size_t stage, rte_mbuf* mbuf);
  void tell_punted(const Packet& p);
  void tell_again(size_t stage, rte_mbuf* mbuf);
  std::string_view name(InterfaceIndex interface) const;

  Listener& listener_;
  const Context* ctx_ = nullptr;  // of the last call that had one
  std::vector<Before> before_;
  // By story with kAnswer: the result, should the packet leave; said once.
  std::array<std::string, 256> leaving_;
  std::array<std::string, 256> why_;  // and should it be dropped; empty: the reason's help text
};

}  // namespace espalier::dataplane::story
