// Reading and writing words of packets, comparing ICVs, prefetching: what the files of the transform share.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "crypto/esp_transform.hpp"

namespace espalier::crypto {

static_assert(std::endian::native == std::endian::little);

template <class T>
T load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class T>
void store(uint8_t* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

// Without a branch on the bytes: how many of a forged ICV are right must not show in the time. `bytes` is at
// least 8; the last word may overlap the one before.
inline bool equal_icvs(const uint8_t* a, const uint8_t* b, size_t bytes) {
  const size_t last = bytes - sizeof(uint64_t);
  uint64_t difference = load<uint64_t>(a + last) ^ load<uint64_t>(b + last);
  for (size_t at = 0; at < last; at += sizeof(uint64_t))
    difference |= load<uint64_t>(a + at) ^ load<uint64_t>(b + at);
  return difference == 0;
}

// While one packet is worked on, the next one's first lines come from memory. More than this would evict
// itself from the line fill buffers; the hardware prefetcher follows once the cipher walks.
inline void prefetch_payload(const uint8_t* payload, uint32_t bytes) {
  constexpr uint32_t kAhead = 256;
  for (uint32_t at = 0; at < std::min(bytes, kAhead); at += 64) __builtin_prefetch(payload + at, 1);
  __builtin_prefetch(payload + bytes, 1);
}

}  // namespace espalier::crypto
