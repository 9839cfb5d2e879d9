// A small random generator for choosing ports: xorshift64*, one state per worker, no locks.
//
// Owner: the worker. Ports are a nuisance to guess, not a secret; the seed comes from the kernel's generator.
#pragma once

#include <cstdint>

namespace espalier::nat {

class Random {
 public:
  Random() = default;
  explicit Random(uint64_t seed) : state_(seed != 0 ? seed : kAnySeed) {}

  uint32_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 0x2545'f491'4f6c'dd1d) >> 32);
  }

  // 0 .. bound-1; bound > 0.
  uint32_t below(uint32_t bound) {
    return static_cast<uint32_t>((static_cast<uint64_t>(next()) * bound) >> 32);
  }

 private:
  static constexpr uint64_t kAnySeed = 0x9e37'79b9'7f4a'7c15;  // zero is xorshift's only fixed point
  uint64_t state_ = kAnySeed;
};

}  // namespace espalier::nat
