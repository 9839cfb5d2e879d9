// Secret bytes of any number: keys, shared secrets, pre-shared keys. Move-only, on the heap, so that moving
// leaves no copy behind; wiped when freed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "crypto/wipe.hpp"

namespace espalier::crypto {

class Secret {
 public:
  Secret() = default;
  explicit Secret(size_t bytes) : bytes_(bytes) {}
  explicit Secret(std::span<const uint8_t> copied) : bytes_(copied.begin(), copied.end()) {}
  Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)) {}
  Secret& operator=(Secret&& other) noexcept {
    bytes_.swap(other.bytes_);
    return *this;
  }
  ~Secret() {
    if (!bytes_.empty()) wipe(bytes_.data(), bytes_.size());
  }
  Secret clone() const { return Secret(view()); }

  std::span<uint8_t> span() { return bytes_; }
  std::span<const uint8_t> view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

 private:
  std::vector<uint8_t> bytes_;
};

// Compares; how long it takes tells nothing but the lengths.
inline bool same_bytes(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  if (a.size() != b.size()) return false;
  uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= a[i] ^ b[i];
    asm volatile("" : "+r"(difference));  // keeps the compiler from ending early
  }
  return difference == 0;
}

}  // namespace espalier::crypto
