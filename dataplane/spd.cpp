#include "dataplane/spd.hpp"

#include "dataplane/selector.hpp"

namespace espalier::dataplane {
// Multiplicative hashing: the upper bits of the product depend on all bits of both addresses.
size_t Spd::slot_of(const Group& group, uint64_t addresses) {
  return ((addresses ^ addresses >> 32) * 0x9e3779b97f4a7c15) >> group.shift;
}

const Spd::Bucket* Spd::find_bucket(const Group& group, uint64_t addresses) {
  const size_t last = group.buckets.size() - 1;
  for (size_t slot = slot_of(group, addresses);; slot = (slot + 1) & last) {
    const Bucket& bucket = group.buckets[slot];
    if (bucket.count == 0) return nullptr;
    if (bucket.addresses == addresses) return &bucket;
  }
}

const PolicyRecord* Spd::lookup(Direction direction, const Ipv4Tuple& tuple, uint16_t source_port,
                                uint16_t destination_port) const {
  uint64_t best = UINT64_MAX;
  for (const Group& group : groups_[static_cast<size_t>(direction)]) {
    if (group.best_rank >= best) break;
    const uint64_t addresses = uint64_t{tuple.source.host() & group.source_mask} << 32 |
                               (tuple.destination.host() & group.destination_mask);
    const Bucket* const bucket = find_bucket(group, addresses);
    if (bucket == nullptr) continue;
    for (uint32_t i = bucket->first; i != bucket->first + bucket->count; ++i) {
      const Candidate& candidate = group.candidates[i];
      if (candidate.rank >= best) break;
      if ((candidate.protocol == kProtoAny || candidate.protocol == tuple.protocol) &&
          candidate.source_port.contains(source_port) &&
          candidate.destination_port.contains(destination_port)) {
        best = candidate.rank;
        break;
      }
    }
  }
  return best == UINT64_MAX ? nullptr : &policies_[static_cast<uint32_t>(best)];
}

const PolicyRecord* Spd::lookup(Direction direction, const Ipv4Tuple& tuple) const {
  const SelectorPorts ports = selector_ports(tuple);
  return lookup(direction, tuple, ports.source, ports.destination);
}

}  // namespace espalier::dataplane
