// IKEv2's pseudo-random functions and prf+ (RFC 7296 sections 2.13, 2.14; RFC 4868), by OpenSSL. Any thread.
#pragma once

#include <array>
#include <expected>
#include <initializer_list>
#include <string>

#include "crypto/secret.hpp"

namespace espalier::crypto {

enum class Prf : uint8_t { kHmacSha1, kHmacSha256, kHmacSha384, kHmacSha512 };

// Of the output, and of the key that prf wants (RFC 7296 section 2.13: "preferred key size").
constexpr size_t prf_bytes(Prf prf) {
  switch (prf) {
    case Prf::kHmacSha1:
      return 20;
    case Prf::kHmacSha256:
      return 32;
    case Prf::kHmacSha384:
      return 48;
    case Prf::kHmacSha512:
      return 64;
  }
  return 0;
}

using Parts = std::initializer_list<std::span<const uint8_t>>;  // hashed one behind the other

// prf(key, parts). Keys may have any length, as HMAC allows. Errors are OpenSSL's: no memory.
[[nodiscard]] std::expected<Secret, std::string> prf(Prf which, std::span<const uint8_t> key, Parts parts);
// prf+(key, seed), `bytes` of it: at most 255 * prf_bytes().
[[nodiscard]] std::expected<Secret, std::string> prf_plus(Prf which, std::span<const uint8_t> key, Parts seed,
                                                          size_t bytes);
// SHA-1 over the parts: NAT_DETECTION hashes (RFC 7296 section 2.23) and certificate authorities
// (section 3.7).
[[nodiscard]] std::expected<std::array<uint8_t, 20>, std::string> sha1(Parts parts);

}  // namespace espalier::crypto
