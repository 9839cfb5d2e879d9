// Fields in network byte order, appended one behind the other. A structure that begins with its length is
// opened with begin() and closed with end(), which writes what has become of it.
#pragma once

#include <cassert>

#include "ike/wire/payload.hpp"

namespace espalier::ike {

class FieldWriter {
 public:
  explicit FieldWriter(Bytes& out) : out_(out) {}

  void u8(uint8_t value) { out_.push_back(value); }
  void u16(uint16_t value) { number(value, 2); }
  void u32(uint32_t value) { number(value, 4); }
  void u64(uint64_t value) { number(value, 8); }
  void bytes(ByteView more) { out_.insert(out_.end(), more.begin(), more.end()); }
  void zeros(size_t count) { out_.resize(out_.size() + count); }

  // Two bytes, then the length of all from the first of them on: as payloads, proposals and transforms begin.
  [[nodiscard]] size_t begin(uint8_t first, uint8_t second) {
    const size_t start = out_.size();
    u8(first);
    u8(second);
    u16(0);
    return start;
  }
  void end(size_t start) {
    const size_t length = out_.size() - start;
    assert(length <= 0xffff);
    out_[start + 2] = static_cast<uint8_t>(length >> 8);
    out_[start + 3] = static_cast<uint8_t>(length);
  }

 private:
  void number(uint64_t value, size_t count) {
    for (size_t i = count; i-- > 0;) out_.push_back(static_cast<uint8_t>(value >> 8 * i));
  }

  Bytes& out_;
};

}  // namespace espalier::ike
