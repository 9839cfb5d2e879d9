// Forgetting secrets: a wipe that the compiler may not remove, and a buffer that wipes itself.
#pragma once

#include <string.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace espalier::crypto {

// Zeroes memory even when nothing reads it afterwards. Any thread.
inline void wipe(void* at, size_t bytes) {
  ::explicit_bzero(at, bytes);
}

template <class T>
requires std::is_trivially_copyable_v<T>
void wipe(T& object) {
  wipe(&object, sizeof object);
}

// Wipes an object of the caller's when the scope ends, on every way out.
template <class T>
requires std::is_trivially_copyable_v<T>
class WipeAtExit {
 public:
  explicit WipeAtExit(T& object) : object_(object) {}
  WipeAtExit(const WipeAtExit&) = delete;
  WipeAtExit& operator=(const WipeAtExit&) = delete;
  ~WipeAtExit() { wipe(object_); }

 private:
  T& object_;
};

// N secret bytes that are wiped when they go out of scope or are moved away.
template <size_t N>
class SecretBytes {
 public:
  SecretBytes() = default;
  SecretBytes(SecretBytes&& other) noexcept : bytes_(other.bytes_) { wipe(other.bytes_); }
  SecretBytes& operator=(SecretBytes&& other) noexcept {
    if (this == &other) return *this;
    bytes_ = other.bytes_;
    wipe(other.bytes_);
    return *this;
  }
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { wipe(bytes_); }

  std::span<uint8_t, N> span() { return bytes_; }
  std::span<const uint8_t, N> span() const { return bytes_; }

 private:
  std::array<uint8_t, N> bytes_{};
};

}  // namespace espalier::crypto
