#include "nat/owned_sessions.hpp"

#include <algorithm>
#include <mutex>

namespace espalier::nat {

size_t IndexPool::take(std::span<uint32_t> into) {
  const std::lock_guard hold(lock_);
  const size_t taken = std::min(into.size(), count_);
  count_ -= taken;
  if (count_ < untouched()) untouched_.store(count_, std::memory_order_release);
  std::ranges::copy(indices_.subspan(count_, taken), into.begin());
  return taken;
}

void IndexPool::give(std::span<const uint32_t> from) {
  const std::lock_guard hold(lock_);
  std::ranges::copy(from, indices_.begin() + static_cast<ptrdiff_t>(count_));
  count_ += from.size();
}

void OwnedSessions::attach(Session* sessions, IndexPool* pool, uint32_t* new_storage,
                           uint32_t* assured_storage) {
  sessions_ = sessions;
  pool_ = pool;
  lists_[0].indices = new_storage;
  lists_[1].indices = assured_storage;
}

uint32_t OwnedSessions::take_index() {
  if (unused_count_ == 0) unused_count_ = pool_->take(std::span(unused_).first(kBatch));
  return unused_count_ == 0 ? 0 : unused_[--unused_count_];
}

void OwnedSessions::give_index(uint32_t index) {
  if (unused_count_ == kMaxUnused) {
    unused_count_ -= kBatch;
    pool_->give(std::span(unused_).subspan(unused_count_, kBatch));
  }
  unused_[unused_count_++] = index;
}

OwnedSessions::Members& OwnedSessions::list_of(uint32_t index) {
  const bool assured = sessions_[index].flags.load(std::memory_order_relaxed) & kAssured;
  return lists_[static_cast<size_t>(assured ? List::kAssured : List::kNew)];
}

void OwnedSessions::add(uint32_t index) {
  Members& list = list_of(index);
  sessions_[index].position = list.count;
  list.indices[list.count++] = index;
}

void OwnedSessions::remove(uint32_t index) {
  Members& list = list_of(index);
  const uint32_t last = list.indices[--list.count];
  const uint32_t position = sessions_[index].position;
  list.indices[position] = last;
  sessions_[last].position = position;
}

uint32_t OwnedSessions::current(List which) {
  Members& list = lists_[static_cast<size_t>(which)];
  if (list.count == 0) return 0;
  if (list.cursor >= list.count) list.cursor = 0;
  constexpr uint32_t kAhead = 4;
  if (list.cursor + kAhead < list.count)
    __builtin_prefetch(&sessions_[list.indices[list.cursor + kAhead]].expires_ms);
  return list.indices[list.cursor];
}

}  // namespace espalier::nat
