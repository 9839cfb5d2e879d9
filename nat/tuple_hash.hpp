// The keyed hash of a tuple, made of AES rounds.
//
// Whoever sends packets chooses tuples, so the hash must not let anybody who does not know the key fill one
// bucket. The 40 bytes are three blocks (the last overlaps the second). Each goes through two rounds of its
// own, side by side, then three more mix their sum: a difference in one block passes five rounds, of which
// four leave no structure (differentials below 2^-110). Differences in two blocks cancel in the sum with
// probability 2^-35 at best, far below what a bucket's luck is. Fewer would not do: after two rounds tuples
// that differ only in two bytes of one AES diagonal share 32 bits of the hash with probability 2^-8.
#pragma once

#include <wmmintrin.h>

#include <array>

#include "nat/tuple.hpp"

namespace espalier::nat {

// From the kernel's random generator, another one in every process.
using HashKey = std::array<uint64_t, 16>;

class TupleHash {
 public:
  explicit TupleHash(const HashKey& key) : key_(key) {}

  uint64_t operator()(const Tuple& tuple) const {
    const auto* const bytes = reinterpret_cast<const std::byte*>(&tuple);
    const __m128i source = two_rounds(_mm_xor_si128(load(bytes), key(0)));
    const __m128i destination = two_rounds(_mm_xor_si128(load(bytes + 16), key(1)));
    const __m128i rest = two_rounds(_mm_xor_si128(load(bytes + 24), key(2)));
    __m128i state = _mm_xor_si128(_mm_xor_si128(source, destination), rest);
    state = _mm_aesenc_si128(state, key(5));
    state = _mm_aesenc_si128(state, key(6));
    state = _mm_aesenc_si128(state, key(7));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(state));
  }

 private:
  static __m128i load(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
  __m128i key(size_t block) const { return load(&key_[2 * block]); }
  __m128i two_rounds(__m128i state) const {
    return _mm_aesenc_si128(_mm_aesenc_si128(state, key(3)), key(4));
  }
  HashKey key_;
};
static_assert(sizeof(Tuple) == 40 && sizeof(HashKey) == 8 * sizeof(__m128i));

}  // namespace espalier::nat
