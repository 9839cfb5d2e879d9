// The parts of the neighbour table that allocate and free, apart from those that run per packet.
#include "dataplane/neighbor_table.hpp"

#include <random>

namespace espalier::dataplane {

NeighborTable::NeighborTable()
    : entries_(std::make_unique<Entry[]>(kSlots)),
      buckets_(std::make_unique<std::atomic<uint32_t>[]>(kBuckets)),
      free_(std::make_unique<uint16_t[]>(kSlots)) {
  std::random_device random;
  seed_ = _mm_set_epi32(static_cast<int>(random()), static_cast<int>(random()), static_cast<int>(random()),
                        static_cast<int>(random()));
  for (uint32_t i = 0; i < kBuckets; ++i) buckets_[i].store(kEnd, std::memory_order_relaxed);
  for (uint32_t i = 0; i < kSlots; ++i) free_[i] = static_cast<uint16_t>(i);
}

NeighborTable::~NeighborTable() = default;

}  // namespace espalier::dataplane
