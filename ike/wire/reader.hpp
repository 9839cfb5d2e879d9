// Fields in network byte order, taken one behind the other from bytes that nobody has checked. Reading past
// the end gives zeros and is remembered: a parser reads all that it wants and asks ok() before it believes
// any of it.
#pragma once

#include <cstdint>
#include <span>

namespace espalier::ike {

class FieldReader {
 public:
  explicit FieldReader(std::span<const uint8_t> bytes) : rest_(bytes) {}

  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t u16() { return static_cast<uint16_t>(number(2)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  uint64_t u64() { return number(8); }
  std::span<const uint8_t> bytes(size_t count) {
    if (count > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  void skip(size_t count) { bytes(count); }
  std::span<const uint8_t> rest() { return bytes(rest_.size()); }

  size_t left() const { return rest_.size(); }
  bool ok() const { return ok_; }
  // Nothing was missing and nothing is left.
  bool done() const { return ok_ && rest_.empty(); }

 private:
  uint64_t number(size_t count) {
    uint64_t value = 0;
    for (const uint8_t byte : bytes(count)) value = value << 8 | byte;
    return value;
  }

  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

}  // namespace espalier::ike
