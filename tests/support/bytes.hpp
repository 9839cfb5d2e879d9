// Byte strings of tests: reading and writing network order, hexadecimal, addresses, internet checksums.
//
// Everything here is written from the RFCs and shares no code with the dataplane, so that a test compares two
// independent readings of a packet. Offsets are in bytes; access beyond the end is a failed assertion of the
// test program (std::vector::at semantics), never undefined behaviour.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/shared/types.hpp"

namespace espalier::test {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;
using MutableView = std::span<uint8_t>;

// Values in network byte order at `offset`; throw std::out_of_range beyond the end.
uint8_t get8(ByteView bytes, size_t offset);
uint16_t get16(ByteView bytes, size_t offset);
uint32_t get32(ByteView bytes, size_t offset);
void put16(MutableView bytes, size_t offset, uint16_t value);
void put32(MutableView bytes, size_t offset, uint32_t value);
void append(Bytes& to, ByteView more);
void append8(Bytes& to, uint8_t value);
void append16(Bytes& to, uint16_t value);
void append32(Bytes& to, uint32_t value);
Bytes copy(ByteView bytes);

// 0, 1, 2 ... 255, 0, 1 ...: the payload of packets whose content does not matter.
Bytes counting_bytes(size_t count);

// "02a1ff" <-> bytes; a leading 0x is allowed. Throws std::invalid_argument for anything else.
Bytes from_hex(std::string_view text);
std::string to_hex(ByteView bytes);

// "10.0.0.1", "02:00:00:00:ff:01". Throw std::invalid_argument for anything else.
Ipv4Address parse_address(std::string_view text);
MacAddress parse_mac(std::string_view text);

// The one's complement sum of 16-bit words (RFC 1071), not complemented, added to `start`; an odd last byte
// is padded with zero.
uint16_t ones_sum(ByteView bytes, uint16_t start = 0);
// The checksum field that makes `bytes` (with the field as zero) right.
uint16_t internet_checksum(ByteView bytes, uint16_t start = 0);
// The sum of the pseudo header of TCP and UDP over IPv4 (RFC 9293 section 3.1).
uint16_t pseudo_header_sum(Ipv4Address source, Ipv4Address destination, uint8_t protocol, size_t l4_bytes);
// The checksum after a 16-bit word under it changed (RFC 1624, equation 3).
uint16_t adjusted_checksum(uint16_t checksum, uint16_t old_word, uint16_t new_word);

}  // namespace espalier::test
