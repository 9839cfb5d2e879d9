#include <algorithm>
#include <bit>
#include <numeric>

#include "nat/session_table.hpp"

namespace espalier::nat {
namespace {

// Two tuples a session, four tuples a bucket when the table is full.
uint32_t buckets_for(uint32_t capacity) {
  return std::bit_ceil(capacity / 2 + 1);
}

// Indices that lie unused with workers must not be missing when the table fills up; index 0 is nobody's.
size_t indices_for(const SessionTable::Config& config) {
  return config.capacity + size_t{config.workers} * OwnedSessions::kMaxUnused + 1;
}

// Low indices are given out first.
std::span<uint32_t> fill(PageArray<uint32_t>& indices) {
  if (!indices) return {};
  std::iota(indices.data(), indices.data() + indices.size(), 1u);
  std::reverse(indices.data(), indices.data() + indices.size());
  return {indices.data(), indices.size()};
}

}  // namespace

Result<std::unique_ptr<SessionTable>> SessionTable::create(const Config& config) {
  if (config.capacity == 0 || config.capacity > kMaxCapacity)
    return fail("session table: capacity {} is not in 1..{}", config.capacity, kMaxCapacity);
  if (config.workers == 0 || config.workers > statistics::kMaxWorkers)
    return fail("session table: {} workers are not in 1..{}", config.workers, statistics::kMaxWorkers);
  std::unique_ptr<SessionTable> table(new SessionTable(config));
  if (!table->is_whole()) return fail("session table: no memory for {} sessions", config.capacity);
  table->attach_workers();
  return table;
}

SessionTable::SessionTable(const Config& config)
    : hash_(config.key),
      capacity_(config.capacity),
      bucket_mask_(buckets_for(config.capacity) - 1),
      buckets_(buckets_for(config.capacity)),
      sessions_(indices_for(config)),
      sources_(buckets_for(config.capacity)),
      locks_(kLocks),
      free_indices_(indices_for(config) - 1),
      owned_indices_(2 * indices_for(config) * config.workers),
      pool_(fill(free_indices_)),
      owned_(config.workers),
      limit_(config.capacity) {}

SessionTable::~SessionTable() = default;

bool SessionTable::is_whole() const {
  return buckets_ && sessions_ && sources_ && locks_ && free_indices_ && owned_indices_ && owned_;
}

void SessionTable::attach_workers() {
  // What no session has: an empty ref is never current.
  for (SessionSide& side : sessions_[0].sides)
    side.generation.store(kNeverCurrent, std::memory_order_relaxed);
  sessions_[0].owned_generation.store(kNeverCurrent, std::memory_order_relaxed);
  uint32_t* storage = owned_indices_.data();
  for (size_t worker = 0; worker < owned_.size(); ++worker) {
    owned_[worker].attach(sessions_.data(), &pool_, storage, storage + sessions_.size());
    storage += 2 * sessions_.size();
  }
}

bool SessionTable::apply(const SettingsRecord& settings) {
  if (settings.session_limit == 0 || settings.session_limit > capacity_) return false;
  limit_.store(settings.session_limit, std::memory_order_relaxed);
  timeouts_.set(settings);
  return true;
}

}  // namespace espalier::nat
