#include "dataplane/flow_cache.hpp"

#include <algorithm>

namespace espalier::dataplane {

uint32_t FlowCache::guess(uint32_t hash) const {
  const uint32_t set = (hash & set_mask_) * kWays;
  for (uint32_t way = 0; way < kWays; ++way) {
    if (tags_[set + way] != (hash | 1)) continue;
    const auto* lines = reinterpret_cast<const char*>(&entries_[set + way]);
    for (size_t at = 0; at < sizeof(FlowEntry); at += 64) __builtin_prefetch(lines + at);
    return set + way;
  }
  return kNone32;
}

uint32_t FlowCache::find(const FlowKey& key, uint32_t hash) const {
  const uint32_t set = (hash & set_mask_) * kWays;
  for (uint32_t way = 0; way < kWays; ++way)
    if (tags_[set + way] == (hash | 1) && entries_[set + way].key == key)
      return enabled_ ? set + way : kNone32;
  return kNone32;
}

uint32_t FlowCache::record(const FlowKey& key, uint32_t hash, const FlowDecision& decision, uint64_t now_ms) {
  uint32_t index = find(key, hash);
  if (index == kNone32) {
    const uint32_t set = (hash & set_mask_) * kWays;
    index = set;
    for (uint32_t i = set; i < set + kWays; ++i)
      if (tags_[i] == 0 || (tags_[index] != 0 && entries_[i].used_ms < entries_[index].used_ms)) index = i;
  }
  // An entry that this burst uses may not go before the burst is through: its packets look into it again.
  if (tags_[index] != 0 && entries_[index].used_ms == now_ms && !(entries_[index].key == key))
    return place_unrecorded(decision);
  tags_[index] = hash | 1;
  entries_[index] = {.key = key, .used_ms = now_ms, .decision = decision};
  return index;
}

uint32_t FlowCache::place_unrecorded(const FlowDecision& decision) {
  const uint32_t index = capacity_ + next_unrecorded_++ % kUnrecorded;
  entries_[index].decision = decision;
  return index;
}

void FlowCache::clear() {
  std::fill_n(tags_.data(), capacity_, 0);
}

}  // namespace espalier::dataplane
