#include "dataplane/spd.hpp"

#include <nmmintrin.h>

#include <algorithm>

#include "dataplane/ipv6.hpp"

namespace espalier::dataplane {

const Spd::List* Spd::find_list(ListKey key) const {
  const auto found = std::ranges::lower_bound(lists_, key, {}, &List::key);
  return found == lists_.end() || found->key != key ? nullptr : &*found;
}

bool Spd::empty(Direction direction, InterfaceIndex vti) const {
  return find_list(key_of(direction, Family::kIpv4, vti)) == nullptr &&
         find_list(key_of(direction, Family::kIpv6, vti)) == nullptr;
}

// Policies are the operator's: nobody chooses them to collide.
uint32_t Spd::tag_of(const Pair& addresses) {
  uint64_t tag = 0;
  for (const uint64_t word : addresses.words) tag = _mm_crc32_u64(tag, word);
  return static_cast<uint32_t>(tag);
}

// Multiplicative hashing: the upper bits of the product depend on all bits of the tag.
size_t Spd::slot_of(const Group& group, uint32_t tag) {
  return (tag * 0x9e3779b97f4a7c15) >> group.shift;
}

const Spd::Candidate* Spd::find_candidates(const Group& group, const Pair& addresses) {
  const uint32_t tag = tag_of(addresses);
  const size_t last = group.buckets.size() - 1;
  for (size_t slot = slot_of(group, tag);; slot = (slot + 1) & last) {
    const Bucket& bucket = group.buckets[slot];
    if (bucket.first == kNone32) return nullptr;
    if (bucket.tag == tag && group.candidates[bucket.first].addresses == addresses)
      return &group.candidates[bucket.first];
  }
}

// The rank of the best policy of a group, UINT64_MAX if none matches.
uint64_t Spd::best_in(const Group& group, const Pair& addresses, uint8_t protocol, SelectorPorts ports,
                      InterfaceIndex egress) {
  const Candidate* candidate = find_candidates(group, addresses & group.masks);
  if (candidate == nullptr) return UINT64_MAX;
  while (!candidate->matches(protocol, ports, egress)) {
    if (candidate->is_last) return UINT64_MAX;
    ++candidate;
  }
  return candidate->rank;
}

uint64_t Spd::best_of(ListKey key, const Tuple& tuple, SelectorPorts ports, InterfaceIndex egress) const {
  const List* const list = find_list(key);
  if (list == nullptr) return UINT64_MAX;
  const Pair addresses = Pair::of(tuple.source, tuple.destination);
  uint64_t best = UINT64_MAX;
  for (const Group& group : list->groups) {
    if (group.best_rank >= best) break;
    best = std::min(best, best_in(group, addresses, tuple.protocol, ports, egress));
  }
  return best;
}

const PolicyRecord* Spd::lookup(Direction direction, const Tuple& tuple, SelectorPorts ports,
                                InterfaceIndex egress, InterfaceIndex vti) const {
  const uint64_t best = best_of(key_of(direction, tuple.family(), vti), tuple, ports, egress);
  return best == UINT64_MAX ? nullptr : &policies_[static_cast<uint32_t>(best)];
}

bool Spd::protects_some_ports(Direction direction, const Tuple& tuple, InterfaceIndex egress) const {
  Tuple seen = tuple;
  if (!tuple.is_v4() && is_ipv6_extension(tuple.protocol)) seen.protocol = kProtoHidden;
  const ListKey key = key_of(port_blind(direction), tuple.family(), kNoInterface);
  return best_of(key, seen, {0, 0}, egress) != UINT64_MAX;
}

}  // namespace espalier::dataplane
