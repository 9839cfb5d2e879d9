#include <algorithm>
#include <bit>
#include <map>

#include "dataplane/spd.hpp"

namespace espalier::dataplane {
namespace {

uint64_t addresses(const Selector& s) {
  return uint64_t{s.source.network().host()} << 32 | s.destination.network().host();
}

}  // namespace

Spd::Spd(std::span<const PolicyRecord> policies) : policies_(policies.begin(), policies.end()) {
  for (const Direction direction : {Direction::kOut, Direction::kIn, Direction::kFwd})
    groups_[static_cast<size_t>(direction)] = build_groups(policies_, direction);
}

Spd::~Spd() = default;

Spd::Groups Spd::build_groups(std::span<const PolicyRecord> policies, Direction direction) {
  std::map<std::pair<uint8_t, uint8_t>, std::vector<const PolicyRecord*>> by_lengths;
  for (const PolicyRecord& policy : policies)
    if (policy.direction == direction)
      by_lengths[{policy.selector.source.length, policy.selector.destination.length}].push_back(&policy);
  Groups groups;
  for (auto& [lengths, members] : by_lengths) {
    std::ranges::sort(members, {},
                      [](const PolicyRecord* p) { return std::pair(addresses(p->selector), rank(*p)); });
    groups.push_back(build_group(members));
  }
  std::ranges::sort(groups, {}, &Group::best_rank);
  return groups;
}

// `members` have equal prefix lengths and are sorted by addresses, then rank.
Spd::Group Spd::build_group(std::span<const PolicyRecord* const> members) {
  Group group;
  group.source_mask = members.front()->selector.source.mask();
  group.destination_mask = members.front()->selector.destination.mask();
  group.best_rank = UINT64_MAX;
  group.buckets.resize(std::bit_ceil(members.size() * 2));
  group.shift = 64 - std::countr_zero(group.buckets.size());
  group.candidates.reserve(members.size());
  const size_t last = group.buckets.size() - 1;
  for (const PolicyRecord* policy : members) {
    const Selector& s = policy->selector;
    size_t slot = slot_of(group, addresses(s));
    while (group.buckets[slot].count != 0 && group.buckets[slot].addresses != addresses(s))
      slot = (slot + 1) & last;
    Bucket& bucket = group.buckets[slot];
    if (bucket.count == 0) bucket = {addresses(s), static_cast<uint32_t>(group.candidates.size()), 0};
    ++bucket.count;
    group.candidates.push_back({rank(*policy), s.source_port, s.destination_port, s.protocol});
    group.best_rank = std::min(group.best_rank, rank(*policy));
  }
  return group;
}

}  // namespace espalier::dataplane
