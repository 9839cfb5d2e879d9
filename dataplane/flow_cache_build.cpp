#include "dataplane/flow_cache.hpp"

#include <new>

namespace espalier::dataplane {

FlowCache::FlowCache(uint32_t entries, const uint64_t (&random_seed)[4])
    : set_mask_(entries / kWays - 1),
      capacity_(entries),
      seed_{_mm_set_epi64x(static_cast<long long>(random_seed[0]), static_cast<long long>(random_seed[1])),
            _mm_set_epi64x(static_cast<long long>(random_seed[2]), static_cast<long long>(random_seed[3]))},
      tags_(entries),
      entries_(entries + kUnrecorded) {
  if (!tags_ || !entries_) throw std::bad_alloc();
}

}  // namespace espalier::dataplane
