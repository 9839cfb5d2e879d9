// What workers do with SAs. The building half is in sad_build.cpp.
#include "dataplane/sad.hpp"

#include <algorithm>

#include "dataplane/selector.hpp"

namespace espalier::dataplane {

bool Sa::covers(const Ipv4Tuple& t) const {
  return !has(kSaHasSelector) || dataplane::covers(selector_, t);
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
  const uint32_t mtu = std::max(mtu_bytes, kMinPathMtu);
  const uint32_t known = path_mtu_.load(std::memory_order_relaxed);
  const bool expired = now_ms >= path_mtu_expires_ms_.load(std::memory_order_relaxed);
  if (known != 0 && !expired && mtu >= known) return;
  path_mtu_expires_ms_.store(now_ms + kPathMtuLifetimeMs, std::memory_order_relaxed);
  path_mtu_.store(mtu, std::memory_order_relaxed);
  tell_path_mtu(mtu);
}

const Sa* Sad::find(Spi spi, Ipv4Address destination) const {
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

const Sad::PathInfo* Sad::path_info(SecurityPath path) const {
  if (path == kClear || path == kNestedPath || path.value >= path_count_.load(std::memory_order_acquire))
    return nullptr;
  return &paths_[path.value];
}

}  // namespace espalier::dataplane
