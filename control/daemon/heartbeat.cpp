#include "control/daemon/heartbeat.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace espalier::daemon {

void HeartbeatWatch::start(const statistics::Segment& segment, TimePoint now) {
  for (size_t i = 0; i < statistics::kBlocks; ++i) beats_[i] = {segment.blocks[i].heartbeat.get(), now};
}

std::optional<std::string> HeartbeatWatch::find_hung(const statistics::Segment& segment, TimePoint now) {
  constexpr size_t kMain = statistics::kBlocks - 1;
  const size_t workers = std::min<size_t>(segment.workers, statistics::kMaxWorkers);
  for (size_t i = 0; i < statistics::kBlocks; ++i) {
    Beat& beat = beats_[i];
    const uint64_t count = segment.blocks[i].heartbeat.get();
    const bool exists = i < workers || i == kMain;
    if (!exists || count != beat.count) beat = {count, now};
    if (now - beat.moved >= kLimit) return i == kMain ? "main" : fmt::format("worker {}", i);
  }
  return std::nullopt;
}

}  // namespace espalier::daemon
