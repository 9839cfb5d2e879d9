// The taps that run, and who looks at packets for them in each thread.
//
// Owner: main lcore. Workers get their observers by the snapshot: whoever changes the set publishes
// observers() and lets every worker have them before what they replace is freed (Gateway).
#pragma once

#include "dataplane/tap/capture_observer.hpp"
#include "dataplane/tap/fan_out.hpp"
#include "dataplane/tap/trace_observer.hpp"

namespace espalier::dataplane {

class Taps {
 public:
  static constexpr size_t kMost = 4;
  static constexpr uint64_t kUnreadMs = 5000;  // a tap that nobody reads for so long ends

  // `threads`: workers and main lcore, which is the last.
  Taps(const Sad& sad, uint16_t threads) : sad_(sad), threads_(threads) {}

  // A new tap; returns its id, that nothing else has had. Errors: kMost run, or no random numbers.
  Result<uint64_t> start(TapOptions options, uint64_t now_ms);
  // Null: there is none, or not any more. Finding one is reading it.
  PacketTap* find(uint64_t id, uint64_t now_ms);
  // Takes taps out of the set; they live, and their observers may be called, until forget_ended().
  bool end(uint64_t id);
  bool end_unread(uint64_t now_ms);  // true: there was one
  void forget_ended() { ended_.clear(), old_fans_.clear(); }

  // After SAs came or went.
  void follow_sas();

  // For the snapshot: by thread; null while there are no taps. What it points to lives until the set changes
  // and forget_ended() is called.
  std::shared_ptr<const Observers> observers();

 private:
  struct Running {
    uint64_t id;
    uint64_t read_ms;
    std::unique_ptr<PacketTap> tap;
    std::unique_ptr<StoryBook> book;  // of a trace
    // Either, by thread.
    std::vector<std::unique_ptr<CaptureObserver>> capture_eyes;
    std::vector<std::unique_ptr<TraceObserver>> trace_eyes;

    Observer* eye(uint16_t thread) const {
      return book ? static_cast<Observer*>(trace_eyes[thread].get()) : capture_eyes[thread].get();
    }
  };
  Running make(uint64_t id, TapOptions options, uint64_t now_ms) const;

  const Sad& sad_;
  uint16_t threads_;
  std::vector<Running> running_, ended_;
  std::vector<std::unique_ptr<FanOut>> fans_, old_fans_;  // by thread, while there are several taps
};

}  // namespace espalier::dataplane
