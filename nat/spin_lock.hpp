// A lock for the slow path of tables that workers share: held for some dozen instructions, never while
// waiting for anything else.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <functional>

namespace espalier::nat {

class alignas(64) SpinLock {
 public:
  void lock() {
    for (uint32_t turns = 0; held_.exchange(true, std::memory_order_acquire); ++turns) wait(turns);
  }
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  // Workers have cores of their own; threads that share one let the holder run.
  static void wait(uint32_t turns) {
    if (turns < kTurns) return __builtin_ia32_pause();
    sched_yield();
  }
  static constexpr uint32_t kTurns = 1000;
  std::atomic<bool> held_{false};
};

// Holds one lock or two, which may be the same. In address order, so that two holders never wait for each
// other.
class SpinLockPair {
 public:
  SpinLockPair(SpinLock& a, SpinLock& b)
      : first_(std::less<>{}(&a, &b) ? a : b), second_(&first_ == &a ? b : a) {
    first_.lock();
    if (&first_ != &second_) second_.lock();
  }
  ~SpinLockPair() {
    if (&first_ != &second_) second_.unlock();
    first_.unlock();
  }
  SpinLockPair(const SpinLockPair&) = delete;
  SpinLockPair& operator=(const SpinLockPair&) = delete;

 private:
  SpinLock& first_;
  SpinLock& second_;
};

}  // namespace espalier::nat
