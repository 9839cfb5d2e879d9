// Longest-prefix match by binary search. Prefixes nest or are disjoint, so they cut the addresses into
// ranges, each of which belongs to the smallest prefix around it: a sorted array of where ranges begin
// answers a look-up, and a parent for each prefix leads from a match to the next wider one. Immutable after
// build; 4 or 16 bytes for each range, at most two ranges for each prefix.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "control/shared/types.hpp"

namespace espalier::dataplane {

// `Value`: an address as a number, uint32_t or uint128.
template <class Value>
class PrefixRanges {
 public:
  struct Range {
    Value first;
    Value last;  // inclusive
  };

  PrefixRanges() = default;
  // `prefixes` are distinct and sorted by first address, the wider one first among those that begin together.
  explicit PrefixRanges(std::span<const Range> prefixes) : parents_(prefixes.size(), kNone32) {
    std::vector<uint32_t> open;  // around the present address, the narrowest last
    const auto innermost = [&] { return open.empty() ? kNone32 : open.back(); };
    const auto close_before = [&](const Range* next) {
      while (!open.empty() && (next == nullptr || prefixes[open.back()].last < next->first)) {
        const Value last = prefixes[open.back()].last;
        open.pop_back();
        if (last != static_cast<Value>(-1)) begin_range(last + 1, innermost());
      }
    };
    for (uint32_t i = 0; i < prefixes.size(); ++i) {
      close_before(&prefixes[i]);
      parents_[i] = innermost();
      open.push_back(i);
      begin_range(prefixes[i].first, i);
    }
    close_before(nullptr);
  }

  // The position of the narrowest prefix around `address`, kNone32 if there is none.
  uint32_t find(Value address) const {
    const auto next = std::upper_bound(starts_.begin(), starts_.end(), address);
    return next == starts_.begin() ? kNone32 : owners_[next - starts_.begin() - 1];
  }
  // That of the narrowest prefix around this one.
  uint32_t parent(uint32_t prefix) const { return parents_[prefix]; }

 private:
  // Where several begin, the last one told is the narrowest.
  void begin_range(Value start, uint32_t owner) {
    if (starts_.empty() || starts_.back() != start) {
      starts_.push_back(start);
      owners_.push_back(owner);
    } else {
      owners_.back() = owner;
    }
  }

  std::vector<Value> starts_;
  std::vector<uint32_t> owners_;
  std::vector<uint32_t> parents_;
};

}  // namespace espalier::dataplane
