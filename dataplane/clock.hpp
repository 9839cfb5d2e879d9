// Milliseconds since this process's gateway began, from the TSC; read once per burst. Any thread.
#pragma once

#include <rte_cycles.h>

#include <atomic>

namespace espalier::dataplane {

class Clock {
 public:
  Clock() : begin_(rte_rdtsc()), ticks_per_ms_(rte_get_tsc_hz() / 1000) {}
  uint64_t now_ms() const {
    // From 1 on: zero means "never" in many a table.
    return 1 + (rte_rdtsc() - begin_) / ticks_per_ms_ + skipped_ms_.load(std::memory_order_relaxed);
  }
  // Lets time pass; for tests of timeouts.
  void skip(uint64_t ms) { skipped_ms_.fetch_add(ms, std::memory_order_relaxed); }

 private:
  uint64_t begin_;
  uint64_t ticks_per_ms_;
  std::atomic<uint64_t> skipped_ms_{0};
};

}  // namespace espalier::dataplane
