// What workers do with SAs. The building half is in sad_build.cpp.
#include "dataplane/sad.hpp"

#include <algorithm>

#include "dataplane/selector.hpp"

namespace espalier::dataplane {

bool Sa::covers(const Tuple& t) const {
  return !has(kSaHasSelector) || dataplane::covers(selector_, t);
}

namespace {

// As Linux counts: the limits are looked at before a packet, so that exactly so many pass.
bool is_within(const SaLimits& limits, uint64_t packets_before, uint64_t bytes_before) {
  const bool packets_left = limits.hard_packets == 0 || packets_before < limits.hard_packets;
  const bool bytes_left = limits.hard_bytes == 0 || bytes_before < limits.hard_bytes;
  return packets_left && bytes_left;
}

}  // namespace

bool Sa::leaves_room(uint64_t packets, uint64_t bytes) const {
  return is_within(limits_, counters_->packets.load(std::memory_order_relaxed) + packets,
                   counters_->bytes.load(std::memory_order_relaxed) + bytes);
}

bool Sa::count_within_limits(uint64_t bytes) const {
  const uint64_t packets_before = counters_->packets.fetch_add(1, std::memory_order_relaxed);
  const uint64_t bytes_before = counters_->bytes.fetch_add(bytes, std::memory_order_relaxed);
  if (is_within(limits_, packets_before, bytes_before)) return true;
  counters_->packets.fetch_sub(1, std::memory_order_relaxed);
  counters_->bytes.fetch_sub(bytes, std::memory_order_relaxed);
  CellCounters::add(counters_->expired, 1);
  counters_->expire(kExpiredHard);
  return false;
}

uint32_t Sa::outer_mtu(uint32_t route_mtu_bytes, uint64_t now_ms) const {
  const uint32_t learned = path_mtu_.load(std::memory_order_relaxed);
  if (learned == 0) return route_mtu_bytes;
  if (now_ms < path_mtu_expires_ms_.load(std::memory_order_relaxed))
    return std::min(route_mtu_bytes, learned);
  path_mtu_.store(0, std::memory_order_relaxed);
  tell_path_mtu(0);
  return route_mtu_bytes;
}

// In the SA's cell, for `show ipsec sa`; the working copy is not there, in a line that every run writes to.
void Sa::tell_path_mtu(uint32_t mtu_bytes) const {
  counters_->path_mtu_bytes.store(mtu_bytes, std::memory_order_relaxed);
}

void Sa::learn_path_mtu(uint32_t mtu_bytes, uint64_t now_ms) const {
  const uint32_t mtu = std::max(mtu_bytes, destination_.is_v4() ? kMinPathMtu : kMinPathMtuIpv6);
  const uint32_t known = path_mtu_.load(std::memory_order_relaxed);
  const bool expired = now_ms >= path_mtu_expires_ms_.load(std::memory_order_relaxed);
  if (known != 0 && !expired && mtu >= known) return;
  path_mtu_expires_ms_.store(now_ms + kPathMtuLifetimeMs, std::memory_order_relaxed);
  path_mtu_.store(mtu, std::memory_order_relaxed);
  tell_path_mtu(mtu);
}

const Sa* Sad::find(Spi spi, IpAddress destination) const {
  for (uint32_t i = probe_start(spi);; i = (i + 1) & index_mask_) {
    const uint64_t word = index_[i].load(std::memory_order_acquire);
    if (word == 0) return nullptr;
    if (static_cast<uint32_t>(word >> 32) != spi.value) continue;
    const auto tagged = static_cast<uint32_t>(word);
    if (tagged < 2) continue;  // erased
    const Sa* sa = slots_[tagged - 2].load(std::memory_order_acquire);
    if (sa && sa->spi() == spi && sa->destination() == destination) return sa;
  }
}

void Sad::prefetch(Spi spi) const {
  __builtin_prefetch(&index_[probe_start(spi)]);
}

const PathInfo* Sad::path_info(SecurityPath path) const {
  const PathSlot& slot = paths_[slot_of(path)];
  return path.value != 0 && slot.value.load(std::memory_order_acquire) == path.value ? &slot.info : nullptr;
}

// Chains are rare and few (intern_chains), and so is whoever comes by one.
SecurityPath Sad::path_after(SecurityPath before, const Sa& sa) const {
  if (before == kClear) return sa.path();
  const PathInfo* outer = path_info(before);
  const PathInfo* inner = path_info(sa.path());
  const uint32_t count = path_count_.load(std::memory_order_acquire);
  if (!outer || !inner) return kUnknownPath;
  for (uint32_t i = kNamedPaths; i < count; ++i) {
    const uint32_t value = paths_[i].value.load(std::memory_order_acquire);
    if (value == 0) continue;
    const PathInfo& path = paths_[i].info;
    if (path.count != outer->count + 1 || !(path.layers[outer->count] == inner->layers[0])) continue;
    if (std::equal(path.layers.begin(), path.layers.begin() + outer->count, outer->layers.begin()))
      return SecurityPath{value};
  }
  return kUnknownPath;
}

}  // namespace espalier::dataplane
