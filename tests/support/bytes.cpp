#include "tests/support/bytes.hpp"

#include <charconv>
#include <stdexcept>

namespace espalier::test {
namespace {

void require(bool ok, const char* what, std::string_view text) {
  if (!ok) throw std::invalid_argument(std::string(what) + ": '" + std::string(text) + "'");
}

void require_inside(ByteView bytes, size_t offset, size_t size) {
  if (offset > bytes.size() || bytes.size() - offset < size)
    throw std::out_of_range("beyond the packet's end");
}

// The number before `separator` (or the end), which is taken off `text` with it.
uint32_t take_number(std::string_view& text, char separator, int base) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  require(error == std::errc(), "not a number", text);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (!text.empty()) {
    require(text.front() == separator && text.size() > 1, "unexpected character", text);
    text.remove_prefix(1);
  }
  return value;
}

}  // namespace

uint8_t get8(ByteView bytes, size_t offset) {
  require_inside(bytes, offset, 1);
  return bytes[offset];
}

uint16_t get16(ByteView bytes, size_t offset) {
  require_inside(bytes, offset, 2);
  return static_cast<uint16_t>(bytes[offset] << 8 | bytes[offset + 1]);
}

uint32_t get32(ByteView bytes, size_t offset) {
  return static_cast<uint32_t>(get16(bytes, offset)) << 16 | get16(bytes, offset + 2);
}

void put16(MutableView bytes, size_t offset, uint16_t value) {
  require_inside(bytes, offset, 2);
  bytes[offset] = static_cast<uint8_t>(value >> 8);
  bytes[offset + 1] = static_cast<uint8_t>(value);
}

void put32(MutableView bytes, size_t offset, uint32_t value) {
  put16(bytes, offset, static_cast<uint16_t>(value >> 16));
  put16(bytes, offset + 2, static_cast<uint16_t>(value));
}

void append(Bytes& to, ByteView more) {
  to.insert(to.end(), more.begin(), more.end());
}

void append8(Bytes& to, uint8_t value) {
  to.push_back(value);
}

void append16(Bytes& to, uint16_t value) {
  append8(to, static_cast<uint8_t>(value >> 8));
  append8(to, static_cast<uint8_t>(value));
}

void append32(Bytes& to, uint32_t value) {
  append16(to, static_cast<uint16_t>(value >> 16));
  append16(to, static_cast<uint16_t>(value));
}

Bytes copy(ByteView bytes) {
  return {bytes.begin(), bytes.end()};
}

Bytes counting_bytes(size_t count) {
  Bytes bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(i);
  return bytes;
}

Bytes from_hex(std::string_view text) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  require(text.size() % 2 == 0, "an odd number of hexadecimal digits", text);
  Bytes bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    uint8_t value = 0;
    const char* end = text.data() + i + 2;
    const auto result = std::from_chars(text.data() + i, end, value, 16);
    require(result.ec == std::errc() && result.ptr == end, "not hexadecimal", text);
    bytes.push_back(value);
  }
  return bytes;
}

std::string to_hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Ipv4Address parse_address(std::string_view text) {
  const std::string_view whole = text;
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t part = take_number(text, '.', 10);
    require(part <= 255, "not an IPv4 address", whole);
    value = value << 8 | part;
  }
  require(text.empty(), "not an IPv4 address", whole);
  return Ipv4Address::from_host(value);
}

MacAddress parse_mac(std::string_view text) {
  const std::string_view whole = text;
  MacAddress mac{};
  for (uint8_t& byte : mac) {
    const uint32_t part = take_number(text, ':', 16);
    require(part <= 255, "not a MAC address", whole);
    byte = static_cast<uint8_t>(part);
  }
  require(text.empty(), "not a MAC address", whole);
  return mac;
}

uint16_t ones_sum(ByteView bytes, uint16_t start) {
  uint64_t sum = start;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) sum += get16(bytes, i);
  if (bytes.size() % 2 == 1) sum += static_cast<uint64_t>(bytes.back()) << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t internet_checksum(ByteView bytes, uint16_t start) {
  return static_cast<uint16_t>(~ones_sum(bytes, start));
}

uint16_t pseudo_header_sum(Ipv4Address source, Ipv4Address destination, uint8_t protocol, size_t l4_bytes) {
  Bytes header;
  append32(header, source.host());
  append32(header, destination.host());
  append16(header, protocol);
  append16(header, static_cast<uint16_t>(l4_bytes));
  return ones_sum(header);
}

uint16_t adjusted_checksum(uint16_t checksum, uint16_t old_word, uint16_t new_word) {
  if (old_word == new_word) return checksum;  // the sum has two zeros: do not turn one into the other
  Bytes words;
  append16(words, static_cast<uint16_t>(~checksum));
  append16(words, static_cast<uint16_t>(~old_word));
  append16(words, new_word);
  return internet_checksum(words);
}

}  // namespace espalier::test
