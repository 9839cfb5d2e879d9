// What protects IKE messages after IKE_SA_INIT: an AEAD (RFC 5282, RFC 7634) or AES-CBC with an HMAC (RFC
// 7296 section 3.14), by OpenSSL. One direction of one IKE SA. Keys are wiped when it dies; expanded ones
// live for one message only.
//
//   | header .. generic header of SK | IV | ciphertext | ICV |
//     ^ associated data                ^ sealed bytes
//
// Any thread.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "crypto/esp_suite.hpp"
#include "crypto/secret.hpp"

namespace espalier::crypto {

class IkeCipher {
 public:
  // `suite` as for ESP: cipher, key_bytes, icv_bytes, integrity. `key` has the AEAD's salt (RFC 5282
  // section 7.1: 4 bytes) behind it, `integrity_key` is empty with an AEAD. Errors: a suite that protects
  // nothing, other lengths.
  [[nodiscard]] static std::expected<IkeCipher, std::string> create(const EspSuite& suite,
                                                                    std::span<const uint8_t> key,
                                                                    std::span<const uint8_t> integrity_key);

  size_t iv_bytes() const { return suite_.iv_bytes(); }
  size_t icv_bytes() const { return suite_.icv_bytes; }
  // Plaintext with its padding and pad length byte must be a multiple of this (1 with an AEAD).
  size_t block_bytes() const { return suite_.is_aead() ? 1 : kAesBlockBytes; }

  // Appends IV, ciphertext and ICV of `plaintext` (padded by the caller) to `out`, which may hold
  // `associated`. That is what precedes the IV in the message, with the final lengths. `counter` must never
  // come twice with one key: it is the AEAD's IV (RFC 5282 section 3.1); AES-CBC takes a random IV instead.
  // On error `out` is as before.
  [[nodiscard]] std::expected<void, std::string> seal(std::span<const uint8_t> associated,
                                                      std::span<const uint8_t> plaintext, uint64_t counter,
                                                      std::vector<uint8_t>& out) const;
  // The plaintext with its padding, or nothing if the message is not authentic. ICVs are compared in constant
  // time.
  [[nodiscard]] std::expected<std::vector<uint8_t>, std::string> open(std::span<const uint8_t> associated,
                                                                      std::span<const uint8_t> sealed) const;

 private:
  static constexpr size_t kAesBlockBytes = 16;
  using Bytes = std::span<const uint8_t>;
  using Status = std::expected<void, std::string>;

  IkeCipher(const EspSuite& suite, Bytes key, Bytes integrity_key)
      : suite_(suite), key_(key), integrity_key_(integrity_key) {}
  Status seal_aead(Bytes associated, Bytes plaintext, uint64_t counter, std::span<uint8_t> sealed) const;
  Status seal_cbc(Bytes associated, Bytes plaintext, std::span<uint8_t> sealed) const;
  Status open_aead(Bytes associated, Bytes sealed, std::span<uint8_t> plaintext) const;
  Status open_cbc(Bytes associated, Bytes sealed, std::span<uint8_t> plaintext) const;
  // The HMAC over associated data, IV and ciphertext, not yet truncated.
  std::expected<Secret, std::string> hmac(Bytes associated, Bytes iv_and_ciphertext) const;

  EspSuite suite_;
  Secret key_;  // with the AEAD's salt behind it
  Secret integrity_key_;
};

}  // namespace espalier::crypto
