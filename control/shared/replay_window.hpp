// The anti-replay window of an inbound SA (RFC 4303 section 3.4.3), a bitmap in the manner of RFC 6479.
//
// The numbers lie in shared memory and outlive the process; the lock does not, it is this process's own. The
// order of use is part of the types: check() before decryption gives a Ticket, decryption gives an
// Authenticated, and only both together can be committed; commit() checks again, because another worker may
// have accepted the same number in between.
//
// A process may be killed between any two instructions of commit(), and check() may run at the same time
// without the lock. So the order of its stores matters: first `floor` (numbers below it are too old), then
// the words that are reused are cleared, then `top`, then the number's bit. Whatever a killed process leaves
// behind, a number that was accepted is below `floor` or has its bit; and no fresh number is ever refused.
//
// Numbers are 64 bits wide, and a packet carries the low 32. Without ESN they end at 2^32-1: what comes after
// is too old. With ESN the high half is inferred from where the window is (guess_extended_number), and the
// Ticket tells it, because the ICV covers it; so a number that fell out of the window is taken for one of the
// next 2^32, and it is the ICV that refuses it, as in Linux. Size 0 checks nothing (RFC 4303: the receiver
// has not enabled anti-replay), and accepts number 0 too, as Linux does; there is no ESN without a window.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <bit>
#include <cassert>
#include <optional>

#include "control/shared/records.hpp"

namespace espalier::crypto {
class Authenticated;  // crypto/verdict.hpp; only opening a packet makes one
}

namespace espalier {

// The part of a window that lies in its SA cell. All zero is not valid; reset() makes it so.
struct alignas(64) ReplayState {
  std::atomic<uint64_t> top;    // highest accepted number
  std::atomic<uint64_t> floor;  // lowest number that may still be accepted; at least 1
  std::atomic<uint64_t> shape;  // of the bitmap in the area: offset in words << 32 | size in numbers
  uint64_t reserved[5];

  // Accepts nothing up to and including `seen`.
  void reset(uint64_t seen) {
    floor.store(seen + 1, std::memory_order_release);
    top.store(seen, std::memory_order_release);
  }
};
static_assert(sizeof(ReplayState) == 64 && std::atomic<uint64_t>::is_always_lock_free);

// Words of 64 numbers that a window of `size` numbers needs. One more than the numbers fill, because a window
// rarely starts at a word's first bit; then a power of two, so that a number's word is found by a mask.
constexpr uint32_t replay_words(uint32_t size) {
  if (size == 0) return 0;
  return std::bit_ceil((size - 1 + 63) / 64 + 1);
}

// Keeps workers of one process from committing to one window at the same time. Not in shared memory: a killed
// process would leave it taken. Held for the commits of one run, some tens of nanoseconds.
class WindowLock {
 public:
  void acquire() {
    while (taken_.exchange(true, std::memory_order_acquire))
      while (taken_.load(std::memory_order_relaxed)) _mm_pause();
  }
  void release() { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_{false};
};

// The last number of an SA with ESN. 2^64-1 itself is never used, so that every number has a next one.
inline constexpr uint64_t kLastExtendedNumber = 0xffff'ffff'ffff'fffe;

// RFC 4303 appendix A2.2: the 64-bit number whose low half a packet carries, when the highest accepted number
// is `top` and the window has `size` numbers (at least 1). The RFC's cases come to this: of the 2^32 numbers
// that begin with the window's bottom exactly one ends in `low`. std::nullopt: it would lie before the SA's
// first number or behind its last.
constexpr std::optional<uint64_t> guess_extended_number(uint64_t top, uint32_t size, uint32_t low) {
  const uint64_t bottom = top - size + 1;  // below 0, that is huge, while the window reaches before number 0
  const uint64_t number = bottom + (low - static_cast<uint32_t>(bottom));  // the difference modulo 2^32
  const bool wrapped = number < bottom;
  if (wrapped != (top < bottom) || number > kLastExtendedNumber) return std::nullopt;
  return number;
}

// This process's view of one window: made by SaDirectory::window() from values that were checked, never from
// what shared memory says at the moment of use. Thread: any worker; small, copyable.
class ReplayWindow {
 public:
  // The right to commit one number. Used up by commit().
  class Ticket {
   public:
    Ticket(Ticket&&) = default;
    Ticket& operator=(Ticket&&) = default;
    SeqNo number() const { return SeqNo(number_); }

   private:
    friend class ReplayWindow;
    explicit Ticket(uint64_t number) : number_(number) {}
    uint64_t number_;
  };

  // Commits for one run of packets; holds the lock, if the window has one, until it dies.
  class Run {
   public:
    explicit Run(const ReplayWindow& window) : window_(window) {
      if (window_.lock_ != nullptr) window_.lock_->acquire();
    }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
      if (window_.lock_ != nullptr) window_.lock_->release();
    }
    // Accepts the number of an authentic packet. False: it is a replay, drop the packet.
    [[nodiscard]] bool commit(Ticket&& ticket, const crypto::Authenticated&) {
      return window_.accept(ticket.number_);
    }

   private:
    const ReplayWindow& window_;
  };

  // `words`: replay_words(size) of them, at least 1 if size is not 0; size is not 0 with `esn`. `lock`: null
  // when one worker only ever commits to this window. `state`, `words` and `lock` must outlive the view.
  ReplayWindow(ReplayState* state, std::atomic<uint64_t>* words, uint32_t size, bool esn, WindowLock* lock)
      : state_(state),
        words_(words),
        lock_(lock),
        size_(size),
        mask_(size == 0 ? 0 : replay_words(size) - 1),
        esn_(esn) {}

  uint32_t size() const { return size_; }
  bool esn() const { return esn_; }
  // The highest number that was accepted; 0: none yet. For people: it may be another by now.
  uint64_t highest() const { return state_->top.load(std::memory_order_relaxed); }

  // Before decryption, without lock. `low`: what the packet carries, host order. std::nullopt when the number
  // was seen or is too old. The high half of the ticket's number is what the ICV was made with.
  [[nodiscard]] std::optional<Ticket> check(uint32_t low) const {
    const uint64_t top = state_->top.load(std::memory_order_acquire);
    uint64_t number = low;
    if (esn_) {
      const auto extended = guess_extended_number(top, size_, low);
      if (!extended) return std::nullopt;
      number = *extended;
    }
    if (!is_new(number, top)) return std::nullopt;
    return Ticket(number);
  }

 private:
  std::atomic<uint64_t>& word_of(uint64_t number) const { return words_[number / 64 & mask_]; }
  static uint64_t bit_of(uint64_t number) { return uint64_t{1} << number % 64; }

  // `top` was loaded before anything else here is.
  bool is_new(uint64_t number, uint64_t top) const {
    if (size_ == 0 || number > top) return true;
    if (number < state_->floor.load(std::memory_order_acquire)) return false;
    return (word_of(number).load(std::memory_order_acquire) & bit_of(number)) == 0;
  }

  // Under the lock, or by the only worker.
  bool accept(uint64_t number) const {
    const uint64_t top = state_->top.load(std::memory_order_relaxed);
    if (size_ == 0) {
      // Kept although nothing asks for it now: a later configuration may give this SA a window.
      if (number > top) state_->top.store(number, std::memory_order_relaxed);
      return true;
    }
    if (!is_new(number, top)) return false;
    if (number > top) advance(top, number);
    auto& word = word_of(number);
    word.store(word.load(std::memory_order_relaxed) | bit_of(number), std::memory_order_release);
    return true;
  }

  // Every store is a release: neither the compiler nor a reader on another core may see them in another
  // order.
  void advance(uint64_t top, uint64_t number) const {
    const uint64_t floor = state_->floor.load(std::memory_order_relaxed);
    if (number >= size_ && number - size_ + 1 > floor)
      state_->floor.store(number - size_ + 1, std::memory_order_release);
    const uint64_t last = number / 64;
    uint64_t word = top / 64;
    if (last - word > mask_) word = last - mask_ - 1;  // all of them
    while (word++ != last) words_[word & mask_].store(0, std::memory_order_release);
    state_->top.store(number, std::memory_order_release);
  }

  ReplayState* state_;
  std::atomic<uint64_t>* words_;
  WindowLock* lock_;
  uint32_t size_;
  uint32_t mask_;
  bool esn_;
};

}  // namespace espalier
