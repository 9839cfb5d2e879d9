// CRC-32C (Castagnoli, RFC 3720 appendix B.4) by the CPU's instruction: finds torn and damaged records.
#pragma once

#include <nmmintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace espalier {

inline uint32_t crc32c(const void* at, size_t bytes) {
  const auto* byte = static_cast<const uint8_t*>(at);
  uint64_t crc = 0xffffffff;
  for (; bytes >= 8; byte += 8, bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, byte, sizeof word);
    crc = _mm_crc32_u64(crc, word);
  }
  auto tail = static_cast<uint32_t>(crc);
  for (; bytes > 0; ++byte, --bytes) tail = _mm_crc32_u8(tail, *byte);
  return ~tail;
}

}  // namespace espalier
