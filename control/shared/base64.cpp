#include "control/shared/base64.hpp"

namespace espalier {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// How many characters of the four are no padding; 0: padding in a wrong place.
size_t significant(std::string_view four) {
  const size_t padding = four.find('=');
  if (padding == four.npos) return 4;
  if (padding < 2 || four.substr(padding) != std::string_view("==").substr(padding - 2)) return 0;
  return padding;
}

}  // namespace

std::string base64_of(std::span<const uint8_t> bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < count ? bytes[at + i] : 0u);
    for (size_t i = 0; i < 4; ++i) text += i <= count ? kAlphabet[bits >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

std::optional<std::vector<uint8_t>> bytes_of_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::vector<uint8_t> bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t at = 0; at < text.size(); at += 4) {
    const size_t count = significant(text.substr(at, 4));
    if (count == 0 || (count != 4 && at + 4 != text.size())) return std::nullopt;
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) {
      const size_t value = i < count ? kAlphabet.find(text[at + i]) : 0;
      if (value == kAlphabet.npos) return std::nullopt;
      bits = bits << 6 | static_cast<uint32_t>(value);
    }
    for (size_t i = 0; i + 1 < count; ++i) bytes.push_back(static_cast<uint8_t>(bits >> (16 - 8 * i)));
    if ((bits & (0xffffffu >> (8 * (count - 1)))) != 0 && count != 4) return std::nullopt;
  }
  return bytes;
}

}  // namespace espalier
