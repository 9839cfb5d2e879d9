// The stories that a `trace` is being told: lines of the packets that are followed, from whatever thread has
// them, until nothing more is to come; then a story goes to the tap.
//
// A story has no end that one thread could see: its packet may become several, be handed to another worker,
// or wait for a next hop. It counts as over when something became of the packet and nothing was added for a
// moment, or when nothing at all was for kPatienceMs, in which a next hop answers or does not.
//
// Threads: any for begin() and add(), which lock for as long as a line takes to copy; main lcore for the
// rest.
#pragma once

#include <array>
#include <chrono>
#include <mutex>
#include <string>

#include "dataplane/story/narrator.hpp"
#include "dataplane/tap/packet_tap.hpp"

namespace espalier::dataplane {

class StoryBook {
 public:
  static constexpr uint32_t kMostPerSecond = 200;
  static constexpr uint64_t kQuietMs = 100, kPatienceMs = 4000;
  // What has no end by then may still come, as fragments do; its number is not given to another meanwhile.
  static constexpr uint64_t kForgetMs = 40'000;
  static constexpr size_t kMostBytes = 16384;  // of a story

  // A new story of a packet that came in by the interface; 0: as many are told as may be.
  uint8_t begin(InterfaceIndex in);
  void add(uint8_t story, std::string_view stage, std::string_view text);
  // Something became of the packet, or was said to and something else will. 0: no story.
  void expect_end(uint8_t story) { expect(story, true); }
  void expect_more(uint8_t story) { expect(story, false); }
  // Gives the tap what is over, the earliest first. `thread`: the caller's.
  void collect(PacketTap& tap, uint16_t thread);

 private:
  using Clock = std::chrono::steady_clock;
  struct Story {
    std::mutex mutex;
    bool is_told = false;
    bool has_end = false;
    Sighting seen;
    std::string text;  // lines of "STAGE\tTEXT\n"
    Clock::time_point last_line{}, free_from{};
  };
  bool may_begin(Clock::time_point now);
  void expect(uint8_t story, bool end);

  std::array<Story, story::kMostStories> stories_;  // number n is at n - 1
  std::mutex begin_mutex_;
  uint8_t next_ = 0;  // where the search for a free one begins: the longest unused comes first
  uint32_t begun_this_second_ = 0;
  Clock::time_point second_began_{};
};

}  // namespace espalier::dataplane
