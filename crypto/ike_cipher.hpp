// What protects IKE messages after IKE_SA_INIT: an AEAD (RFC 5282, RFC 7634) or AES-CBC with an HMAC (RFC 7296
// section 3.14), by OpenSSL. One direction of one IKE SA; expanded keys are wiped when it dies.
//
//   | header .. generic header of SK | IV | ciphertext | ICV |
//     ^ associated data                ^ sealed bytes
//
// Any thread, one at a time.
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "crypto/esp_suite.hpp"
#include "crypto/secret.hpp"

namespace espalier::crypto {

class IkeCipher {
 public:
  // `suite` as for ESP: cipher, key_bytes, icv_bytes, integrity. `key` has the AEAD's salt (RFC 5282 section 7.1: 4
  // bytes) behind it, `integrity_key` is empty with an AEAD.
  [[nodiscard]] static std::expected<IkeCipher, std::string> create(const EspSuite& suite,
                                                                    std::span<const uint8_t> key,
                                                                    std::span<const uint8_t> integrity_key);
  IkeCipher(IkeCipher&&) noexcept;
  IkeCipher& operator=(IkeCipher&&) noexcept;
  ~IkeCipher();

  size_t iv_bytes() const { return suite_.iv_bytes(); }
  size_t icv_bytes() const { return suite_.icv_bytes; }
  // Plaintext with its padding and pad length byte must be a multiple of this (1 with an AEAD).
  size_t block_bytes() const;

  // Appends IV, ciphertext and ICV of `plaintext` (padded by the caller) to `out`. `associated` is what precedes
  // the IV in the message, with the final lengths. `counter` must never come twice with one key: it is the AEAD's IV
  // (RFC 5282 section 3.1); AES-CBC takes a random IV instead.
  [[nodiscard]] std::expected<void, std::string> seal(std::span<const uint8_t> associated,
                                                      std::span<const uint8_t> plaintext, uint64_t counter,
                                                      std::vector<uint8_t>& out);
  // The plaintext with its padding, or nothing if the message is not authentic. ICVs are compared in constant time.
  [[nodiscard]] std::expected<std::vector<uint8_t>, std::string> open(std::span<const uint8_t> associated,
                                                                      std::span<const uint8_t> sealed);

 private:
  struct State;
  IkeCipher(const EspSuite& suite, std::unique_ptr<State> state);
  EspSuite suite_;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::crypto
