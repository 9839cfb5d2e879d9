// SAs as a bit per slot: to ask of a packet's SA, before anything else, whether somebody wants to see it.
//
// Writer: main lcore; readers: any thread.
#pragma once

#include <atomic>
#include <vector>

#include "control/shared/types.hpp"

namespace espalier::dataplane {

class SaSet {
 public:
  // `capacity`: of the SAD.
  explicit SaSet(uint32_t capacity) : words_((capacity + 63) / 64) {}

  bool has(SaIndex sa) const {
    return words_[sa.value / 64].load(std::memory_order_relaxed) >> (sa.value % 64) & 1;
  }
  // Of `sad` those for which `is_wanted(sa)` holds; no others from now on.
  template <class SaDatabase, class IsWanted>
  void follow(const SaDatabase& sad, IsWanted is_wanted) {
    std::vector<uint64_t> wanted(words_.size());
    sad.for_each([&](const auto& sa) {
      if (is_wanted(sa)) wanted[sa.index().value / 64] |= uint64_t{1} << (sa.index().value % 64);
    });
    for (size_t i = 0; i < wanted.size(); ++i) words_[i].store(wanted[i], std::memory_order_relaxed);
  }

 private:
  std::vector<std::atomic<uint64_t>> words_;
};

}  // namespace espalier::dataplane
