// What recent changes of the tables can have touched, so that an unrelated change invalidates no flow.
//
// Every publish raises the epoch and adds regions: a pair of prefixes within which decisions may now be
// others (a policy's selector; a route's prefix as destination; everything, where a change cannot be
// narrowed). A flow entry remembers the epoch it was decided or confirmed in. On its first packet after a
// publish the entry compares its own addresses with the regions since; untouched, it just takes the new
// epoch. Compared with a version per object this costs one integer compare per packet, and a new object that
// takes precedence over the one that a flow used is seen as well.
#pragma once

#include <array>

#include "control/shared/types.hpp"

namespace espalier::dataplane {

// The packets from one prefix to another, or all packets of both families.
class ChangedRegion {
 public:
  constexpr ChangedRegion() = default;  // everything
  constexpr ChangedRegion(IpPrefix source, IpPrefix destination)
      : source_(source), destination_(destination), everything_(false) {}
  // What a change of a route of `prefix` can touch: packets to there, and (by the check of sources behind
  // tunnels) those from there.
  static constexpr ChangedRegion towards(IpPrefix prefix) { return {IpPrefix::any(prefix.family()), prefix}; }
  static constexpr ChangedRegion from(IpPrefix prefix) { return {prefix, IpPrefix::any(prefix.family())}; }

  // True when packets between these addresses may be decided differently now.
  constexpr bool touches(IpAddress s, IpAddress d) const {
    return everything_ || (source_.contains(s) && destination_.contains(d));
  }

 private:
  IpPrefix source_;
  IpPrefix destination_;
  bool everything_ = true;
};
inline constexpr ChangedRegion kEverything{};

// Part of the immutable snapshot; the next one is made by with(). Main lcore builds, workers read.
class ChangeLog {
 public:
  static constexpr uint32_t kRegions = 64;

  uint32_t epoch() const { return epoch_; }

  // A new epoch whose changes are `regions`.
  template <class Regions>
  ChangeLog with(const Regions& regions) const {
    ChangeLog next = *this;
    next.epoch_ = epoch_ + 1;
    for (const ChangedRegion& region : regions) next.add(region);
    return next;
  }

  // Whether a change after `since` touches one of the (source, destination) pairs. Unknown counts as touched.
  template <class Pairs>
  bool touched_since(uint32_t since, const Pairs& pairs) const {
    if (since < oldest_complete_) return true;
    const uint32_t kept = count_ < kRegions ? count_ : kRegions;
    for (uint32_t i = 0; i < kept; ++i)
      if (entries_[i].epoch > since)
        for (const auto& [source, destination] : pairs)
          if (entries_[i].region.touches(source, destination)) return true;
    return false;
  }

 private:
  struct Entry {
    uint32_t epoch = 0;
    ChangedRegion region;
  };
  void add(const ChangedRegion& region) {
    Entry& slot = entries_[count_ % kRegions];
    if (count_ >= kRegions) oldest_complete_ = slot.epoch;  // flows older than this can no longer be told
    slot = {epoch_, region};
    ++count_;
  }
  uint32_t epoch_ = 1;
  uint32_t oldest_complete_ = 0;
  uint32_t count_ = 0;
  std::array<Entry, kRegions> entries_{};
};

}  // namespace espalier::dataplane
