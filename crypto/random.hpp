// Random bytes for keys, SPIs and cookies, from OpenSSL's generator (seeded by the kernel). Any thread; not
// for the packet path.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>

namespace espalier::crypto {

// Fills `out` completely. On error nothing of it may be used; the text says what OpenSSL reported.
[[nodiscard]] std::expected<void, std::string> fill_random(std::span<uint8_t> out);

}  // namespace espalier::crypto
