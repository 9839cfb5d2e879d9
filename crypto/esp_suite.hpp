// Which algorithms an ESP SA uses, and what follows from them for the packet's shape. Values only.
//
//   AES-GCM             RFC 4106            with its own ICV of 8, 12 or 16 bytes, salt of 4
//   ChaCha20-Poly1305   RFC 7634            with its own ICV of 16 bytes, salt of 4
//   AES-CBC             RFC 3602            with an HMAC: never without (RFC 8221 section 4)
//   NULL                RFC 2410            with an HMAC: never without (RFC 4303 section 3.2)
//   HMAC-SHA1, -SHA2    RFC 2404, RFC 4868  keys as long as the hash, ICV truncated
#pragma once

#include <cstdint>

namespace espalier::crypto {

enum class Cipher : uint8_t { kNull, kAesCbc, kAesGcm, kChaCha20Poly1305 };
enum class Integrity : uint8_t { kNone, kHmacSha1, kHmacSha256, kHmacSha384, kHmacSha512 };

struct EspSuite {
  Cipher cipher = Cipher::kAesGcm;
  Integrity integrity = Integrity::kNone;
  uint8_t key_bytes = 16;  // of the cipher's key without salt
  uint8_t icv_bytes = 16;  // on the wire

  constexpr bool is_aead() const { return cipher == Cipher::kAesGcm || cipher == Cipher::kChaCha20Poly1305; }
  // Of the explicit IV between ESP header and payload.
  constexpr uint8_t iv_bytes() const {
    if (cipher == Cipher::kAesCbc) return 16;
    return is_aead() ? 8 : 0;
  }
  // Payload with trailer is a multiple of this: the cipher's block, or the 4 bytes of RFC 4303 section 2.4.
  constexpr uint8_t align_bytes() const { return cipher == Cipher::kAesCbc ? 16 : 4; }
  constexpr uint8_t salt_bytes() const { return is_aead() ? 4 : 0; }
  // Of the HMAC's key, which is as long as the hash (RFC 2404 section 3, RFC 4868 section 2.1.1).
  constexpr uint16_t auth_key_bytes() const {
    switch (integrity) {
      case Integrity::kNone:
        return 0;
      case Integrity::kHmacSha1:
        return 20;
      case Integrity::kHmacSha256:
        return 32;
      case Integrity::kHmacSha384:
        return 48;
      case Integrity::kHmacSha512:
        return 64;
    }
    return 0;
  }

  // Why no SA can have these values, or null.
  constexpr const char* why_invalid() const;
  friend constexpr bool operator==(const EspSuite&, const EspSuite&) = default;

 private:
  constexpr bool key_fits() const {
    switch (cipher) {
      case Cipher::kNull:
        return key_bytes == 0;
      case Cipher::kAesCbc:
      case Cipher::kAesGcm:
        return key_bytes == 16 || key_bytes == 24 || key_bytes == 32;
      case Cipher::kChaCha20Poly1305:
        return key_bytes == 32;
    }
    return false;
  }
  constexpr bool icv_fits() const {
    if (cipher == Cipher::kAesGcm) return icv_bytes == 8 || icv_bytes == 12 || icv_bytes == 16;
    if (cipher == Cipher::kChaCha20Poly1305) return icv_bytes == 16;
    return icv_bytes >= 12 && icv_bytes % 4 == 0 && icv_bytes <= auth_key_bytes();
  }
};

constexpr const char* EspSuite::why_invalid() const {
  if (is_aead() && integrity != Integrity::kNone) return "the cipher has its own integrity; no HMAC fits";
  if (!is_aead() && integrity == Integrity::kNone) return "AES-CBC and NULL need an HMAC";
  if (!key_fits()) return "the key's length is none of the cipher";
  if (!icv_fits()) return "the ICV's length is none of the algorithm";
  return nullptr;
}

}  // namespace espalier::crypto
