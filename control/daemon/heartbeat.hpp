// Finds a dataplane that lives but does not move: each thread counts a heartbeat in the statistics segment.
//
// Owner: espalierd. The segment is the dataplane's word: the number of workers is limited before it is used.
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <string>

#include "control/shared/statistics.hpp"

namespace espalier::daemon {

class HeartbeatWatch {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kLimit{5};

  // Forgets the past; every thread has kLimit from `now` on.
  void start(const statistics::Segment& segment, TimePoint now);
  // The thread ("main", "worker 3") that has not moved for kLimit, if there is one. To be called about twice
  // a second.
  std::optional<std::string> find_hung(const statistics::Segment& segment, TimePoint now);

 private:
  struct Beat {
    uint64_t count = 0;
    TimePoint moved{};
  };
  std::array<Beat, statistics::kBlocks> beats_{};
};

}  // namespace espalier::daemon
