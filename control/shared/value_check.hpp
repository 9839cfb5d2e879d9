// What single values in records and messages must be, whatever they stand in: the vocabulary of
// record_check.*. Any thread.
#pragma once

#include <algorithm>

#include "control/shared/records.hpp"
#include "control/shared/statistics.hpp"

namespace espalier::record_check {

inline constexpr uint32_t kMinSpi = 256;  // RFC 4303 section 2.1: 1..255 are reserved

// An enum of consecutive values from 0 to `last`. It may hold anything, since it was copied from raw bytes.
template <class Enum>
bool in_range(Enum value, Enum last) {
  return static_cast<uint64_t>(value) <= static_cast<uint64_t>(last);
}

// Interface indices are positions in the statistics segment's arrays.
inline bool is_interface(InterfaceIndex index) {
  return index.value < statistics::kMaxInterfaces;
}
inline bool is_interface_or_none(InterfaceIndex index) {
  return index == kNoInterface || is_interface(index);
}

inline bool is_flag(uint8_t value) {
  return value <= 1;
}

// Control characters in a name would reach the operator's terminal.
inline bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c != 0x7f; });
}

template <size_t N>
bool is_text(const FixedString<N>& text) {
  return text.length <= N && is_printable(text.view());
}

template <size_t N>
bool is_name(const FixedString<N>& text) {
  return text.length > 0 && is_text(text);
}

// Within 128 bits; an IPv4 address has a length of IPv4.
inline bool is_prefix(const IpPrefix& prefix) {
  return prefix.length <= 128 && (prefix.is_v4() || !prefix.address.is_v4());
}
inline bool is_network(const IpPrefix& prefix) {
  return is_prefix(prefix) && prefix.network() == prefix.address;
}
inline bool is_ordered(PortRange range) {
  return range.low <= range.high;
}

inline bool is_unicast(const IpAddress& address) {
  return !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
}
inline bool is_unicast(const MacAddress& mac) {
  return (mac[0] & 1) == 0 && mac != MacAddress{};
}

inline bool are_unicast_of_one_family(const IpAddress& a, const IpAddress& b) {
  return is_unicast(a) && is_unicast(b) && a.family() == b.family();
}

}  // namespace espalier::record_check
