// Values to bytes and back, for the state that survives this process (state.hpp). A type is described once,
// by a visit(archive, value) that names its members in order; Writer and Reader both follow it, so they
// cannot disagree.
//
// The bytes are for the same program on the same machine. The Reader trusts nothing: it is bounded by its
// input, and after the first mistake everything it yields is empty and ok() is false. It yields flags, times
// and selectors that can be computed with; whether other values fit together is asked by who knows them.
#pragma once

#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "crypto/secret.hpp"
#include "ike/wire/payload.hpp"

namespace espalier::ike {

template <class T>
concept PlainValue = std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_same_v<T, IpAddress> ||
    std::is_same_v<T, Spi> || std::is_same_v<T, PortRange>;

class Writer {
 public:
  static constexpr bool kReads = false;
  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { crypto::wipe(bytes_.data(), bytes_.size()); }

  void raw(void* at, size_t size) {
    reserve(bytes_.size() + size);
    const auto* byte = static_cast<const uint8_t*>(at);
    bytes_.insert(bytes_.end(), byte, byte + size);
  }
  template <PlainValue T>
  void operator()(T& value) {
    raw(&value, sizeof value);
  }
  // Of elements that stand one behind the other, then of `size` bytes of memory they take.
  uint32_t count(size_t elements) {
    auto written = static_cast<uint32_t>(elements);
    raw(&written, sizeof written);
    return written;
  }
  ByteView view() const { return bytes_; }

 private:
  // Growing must not leave secrets in freed memory.
  void reserve(size_t wanted) {
    if (wanted <= bytes_.capacity()) return;
    Bytes larger;
    larger.reserve(std::max<size_t>(2 * wanted, 4096));
    larger.insert(larger.end(), bytes_.begin(), bytes_.end());
    crypto::wipe(bytes_.data(), bytes_.size());
    bytes_.swap(larger);
  }
  Bytes bytes_;
};

class Reader {
 public:
  static constexpr bool kReads = true;
  explicit Reader(ByteView bytes) : bytes_(bytes) {}

  void raw(void* at, size_t size) {
    if (size > bytes_.size()) return fail();
    std::memcpy(at, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  template <PlainValue T>
  void operator()(T& value) {
    raw(&value, sizeof value);
  }
  void operator()(bool& flag) {
    uint8_t byte = 0;
    raw(&byte, sizeof byte);
    if (byte > 1) fail();
    flag = byte == 1;
  }
  // The number of elements that follow; each takes a byte at least.
  uint32_t count(size_t) {
    uint32_t read = 0;
    raw(&read, sizeof read);
    if (read > bytes_.size()) fail();
    return ok_ ? read : 0;
  }
  void fail() {
    ok_ = false;
    bytes_ = {};
  }
  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  ByteView bytes_;
  bool ok_ = true;
};

template <class Archive>
void visit(Archive& archive, Bytes& bytes) {
  bytes.resize(archive.count(bytes.size()));
  if (!bytes.empty()) archive.raw(bytes.data(), bytes.size());
}
template <class Archive>
void visit(Archive& archive, std::string& text) {
  text.resize(archive.count(text.size()));
  archive.raw(text.data(), text.size());
}
template <class Archive>
void visit(Archive& archive, crypto::Secret& secret) {
  const uint32_t size = archive.count(secret.size());
  if constexpr (Archive::kReads) secret = crypto::Secret(size);
  if (size != 0) archive.raw(secret.span().data(), size);
}
template <class Archive, PlainValue T>
void visit(Archive& archive, T& value) {
  archive(value);
}
template <class Archive, class Clock, class Duration>
void visit(Archive& archive, std::chrono::time_point<Clock, Duration>& time) {
  using Point = std::chrono::time_point<Clock, Duration>;
  auto count = time.time_since_epoch().count();
  archive(count);
  time = Point(Duration(count));
  if constexpr (Archive::kReads) {
    // Half of what there is, so that no sum or difference overflows.
    const bool usable = time == Point::max() || (time >= Point{} && time <= Point(Duration::max() / 2));
    if (!usable) archive.fail();
  }
}
template <class Archive, class T>
void visit(Archive& archive, std::vector<T>& values) {
  values.resize(archive.count(values.size()));
  for (T& value : values) visit(archive, value);
}
template <class Archive, class T>
void visit(Archive& archive, std::optional<T>& value) {
  bool present = value.has_value();
  archive(present);
  if constexpr (Archive::kReads) present ? void(value.emplace()) : value.reset();
  if (value) visit(archive, *value);
}
template <class Archive>
void visit(Archive& archive, Identity& identity) {
  archive(identity.type);
  visit(archive, identity.data);
}
template <class Archive>
void visit(Archive& archive, TrafficSelector& selector) {
  archive(selector.protocol);
  archive(selector.ports);
  archive(selector.low);
  archive(selector.high);
  if constexpr (Archive::kReads) {
    const bool is_range = selector.low.family() == selector.high.family() && selector.low <= selector.high;
    if (!is_range) archive.fail();
  }
}

}  // namespace espalier::ike
