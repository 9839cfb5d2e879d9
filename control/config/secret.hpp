// Bytes that must not outlive their use: keys, pre-shared secrets, and the file's text that holds them.
// Move-only, on the heap, so that moving leaves no copy behind; wiped when freed.
#pragma once

#include <string.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace espalier::config {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string_view text) : bytes_(text.begin(), text.end()) {}
  explicit Secret(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}
  Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)) {}
  Secret& operator=(Secret&& other) noexcept {
    bytes_.swap(other.bytes_);
    return *this;
  }
  ~Secret() {
    if (!bytes_.empty()) explicit_bzero(bytes_.data(), bytes_.size());
  }

  std::span<const uint8_t> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  bool empty() const { return bytes_.empty(); }
  friend bool operator==(const Secret& a, const Secret& b) { return a.bytes_ == b.bytes_; }
  friend auto operator<=>(const Secret& a, const Secret& b) { return a.bytes_ <=> b.bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace espalier::config
