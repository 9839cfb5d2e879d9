// Numbers of RFC 7296 section 3 that only the codec needs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace espalier::ike {

inline constexpr size_t kPayloadHeaderBytes = 4;     // section 3.2
inline constexpr uint8_t kCriticalBit = 0x80;        // section 3.2
inline constexpr uint8_t kInitiatorFlag = 0x08;      // section 3.1
inline constexpr uint8_t kResponseFlag = 0x20;       // section 3.1
inline constexpr uint8_t kMoreProposals = 2;         // section 3.3.1
inline constexpr uint8_t kMoreTransforms = 3;        // section 3.3.2
inline constexpr uint16_t kFixedAttribute = 0x8000;  // section 3.3.5: type and value, no length
inline constexpr uint16_t kKeyLengthAttribute = 14;  // section 3.3.5
inline constexpr size_t kMaxProposals = 255;         // section 3.3.1: their numbers are bytes, from 1 on
inline constexpr size_t kMinNonceBytes = 16;         // section 3.9
inline constexpr size_t kMaxNonceBytes = 256;        // section 3.9
inline constexpr uint8_t kTsIpv4Range = 7;           // section 3.13.1
inline constexpr uint8_t kTsIpv6Range = 8;           // section 3.13.1
inline constexpr size_t kSelectorHeaderBytes = 4;    // section 3.13.1: up to its length

}  // namespace espalier::ike
