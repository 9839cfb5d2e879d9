// Base64 (RFC 4648 section 4), with padding: how bytes travel in JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

std::string base64_of(std::span<const uint8_t> bytes);
// Nothing for what base64_of() does not make: other characters, a length that is no multiple of 4, padding in
// the middle, bits set that no byte has.
std::optional<std::vector<uint8_t>> bytes_of_base64(std::string_view text);

}  // namespace espalier
