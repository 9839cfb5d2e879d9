// What a worker knows of its own sessions: which they are (new ones apart from assured ones), and which
// indices it may use for further ones.
//
// Owner: the worker. Indices come from a pool that all workers share, a batch at a time, and return to it a
// batch at a time, so that one busy worker can use nearly all of them and no worker keeps what it does not
// need.
#pragma once

#include <array>
#include <span>

#include "nat/session.hpp"
#include "nat/spin_lock.hpp"

namespace espalier::nat {

// The indices that no worker holds.
class IndexPool {
 public:
  // `storage` holds the free indices and has room for all of them.
  explicit IndexPool(std::span<uint32_t> storage)
      : indices_(storage), count_(storage.size()), untouched_(storage.size()) {}
  // Moves up to into.size() indices out of the pool, the last first; returns how many.
  size_t take(std::span<uint32_t> into);
  void give(std::span<const uint32_t> from);
  // How many of the first indices never were out of the pool. Any thread.
  size_t untouched() const { return untouched_.load(std::memory_order_acquire); }

 private:
  SpinLock lock_;
  std::span<uint32_t> indices_;
  size_t count_;
  std::atomic<size_t> untouched_;
};

class alignas(64) OwnedSessions {
 public:
  enum class List : uint8_t { kNew, kAssured };
  static constexpr size_t kBatch = 64;
  // The most indices that a worker keeps without using them.
  static constexpr size_t kMaxUnused = 2 * kBatch;

  OwnedSessions() = default;
  // Each storage has room for all sessions of the table.
  void attach(Session* sessions, IndexPool* pool, uint32_t* new_storage, uint32_t* assured_storage);

  // An unused index; 0: there is none.
  uint32_t take_index();
  void give_index(uint32_t index);

  // A session's list follows from its flags (kAssured); it is in none before add() and after remove().
  void add(uint32_t index);
  void remove(uint32_t index);
  size_t count(List list) const { return lists_[static_cast<size_t>(list)].count; }

  // Goes round a list: the session under the cursor, or the next one. 0: the list is empty.
  uint32_t current(List list);
  void advance(List list) { ++lists_[static_cast<size_t>(list)].cursor; }

  statistics::Counter evictions;

 private:
  // Dense, in no order: the last one takes the place of one that leaves.
  struct Members {
    uint32_t* indices = nullptr;
    uint32_t count = 0;
    uint32_t cursor = 0;
  };
  Members& list_of(uint32_t index);

  Session* sessions_ = nullptr;
  IndexPool* pool_ = nullptr;
  std::array<Members, 2> lists_{};
  size_t unused_count_ = 0;
  std::array<uint32_t, kMaxUnused> unused_{};
};

}  // namespace espalier::nat
