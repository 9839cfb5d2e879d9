#include "crypto/random.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include <algorithm>
#include <climits>

namespace espalier::crypto {

std::expected<void, std::string> fill_random(std::span<uint8_t> out) {
  while (!out.empty()) {
    const size_t part = std::min<size_t>(out.size(), INT_MAX);
    if (::RAND_bytes(out.data(), static_cast<int>(part)) != 1)
      return std::unexpected(fmt::format("RAND_bytes: {}", ::ERR_error_string(::ERR_get_error(), nullptr)));
    out = out.subspan(part);
  }
  return {};
}

}  // namespace espalier::crypto
