// Names a key without telling it: the state files remember how far each static key's sequence numbers went,
// and must not hold the key.
//
// A fingerprint is SHA-256 over a domain tag, the lengths, the key and the salt, and of an SA that has one
// the integrity key. Who reads it can recognise a key that he already has; he cannot compute a random key
// from it.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

namespace espalier::crypto {

using Fingerprint = std::array<uint8_t, 32>;

// `key`: of the cipher, without salt; `salt`: the 4 bytes of RFC 4106 section 4; `auth_key`: of the HMAC;
// each empty where the SA has none. Equal (key, salt, auth_key), and only those, have equal fingerprints. The
// error is OpenSSL's text. Any thread; not for the packet path.
[[nodiscard]] std::expected<Fingerprint, std::string> fingerprint(std::span<const uint8_t> key,
                                                                  std::span<const uint8_t> salt,
                                                                  std::span<const uint8_t> auth_key = {});

}  // namespace espalier::crypto
