// The keyed hash of a tuple: four AES rounds over its 16 bytes.
//
// Whoever sends packets chooses tuples, so the hash must not let anybody who does not know the key fill one
// bucket. Two rounds would be faster by 8 cycles of latency, but are not enough: tuples that differ only in
// two bytes of one AES diagonal (an octet of the source and one of the destination) then share 32 bits of the
// hash with probability 2^-8. After four rounds no such structure is left (differentials below 2^-110).
#pragma once

#include <wmmintrin.h>

#include <array>

#include "nat/tuple.hpp"

namespace espalier::nat {

// From the kernel's random generator, another one in every process.
using HashKey = std::array<uint64_t, 10>;

class TupleHash {
 public:
  explicit TupleHash(const HashKey& key) : key_(key) {}

  uint64_t operator()(const Tuple& tuple) const {
    __m128i state = _mm_xor_si128(load(&tuple), load(&key_[0]));
    state = _mm_aesenc_si128(state, load(&key_[2]));
    state = _mm_aesenc_si128(state, load(&key_[4]));
    state = _mm_aesenc_si128(state, load(&key_[6]));
    state = _mm_aesenc_si128(state, load(&key_[8]));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(state));
  }

 private:
  static __m128i load(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
  HashKey key_;
};
static_assert(sizeof(Tuple) == 16);

}  // namespace espalier::nat
