// Diffie-Hellman as IKEv2 does it: groups by their IANA numbers (RFC 3526 MODP 14-18 and 2, 5; RFC 5903 ECP
// 19-21; RFC 8031 Curve25519 31 and Curve448 32), by OpenSSL. Public values and shared secrets as they are on
// the wire: MODP big-endian with the modulus's length, ECP both coordinates without a leading 4, of the
// secret x only. Any thread.
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "crypto/secret.hpp"

struct evp_pkey_st;

namespace espalier::crypto {

class KeyExchange {
 public:
  static bool is_supported(uint16_t group);
  // Of the public value on the wire; 0 for a group that is not supported.
  static size_t public_bytes(uint16_t group);

  // A new private value. Errors: a group that is not supported, or OpenSSL's.
  [[nodiscard]] static std::expected<KeyExchange, std::string> generate(uint16_t group);
  // One that another process began, or published vectors and exchanges that tests repeat: with its private
  // value and the public value that belongs to it (not checked). Private values are big-endian numbers; with
  // 31 and 32 the bytes of RFC 7748.
  [[nodiscard]] static std::expected<KeyExchange, std::string> restore(uint16_t group,
                                                                       std::span<const uint8_t> private_value,
                                                                       std::span<const uint8_t> public_value);

  // What restore() takes. Errors: OpenSSL's.
  [[nodiscard]] std::expected<Secret, std::string> private_value() const;

  uint16_t group() const { return group_; }
  std::span<const uint8_t> public_value() const { return public_; }
  // The secret with the peer's public value, which is checked as RFC 6989 section 2 and RFC 7748 section 6
  // want it: length, range, point on the curve, not all zero. Leading zeros of the secret are kept. Errors
  // say which.
  [[nodiscard]] std::expected<Secret, std::string> derive(std::span<const uint8_t> peer_public) const;

 private:
  KeyExchange(uint16_t group, std::shared_ptr<evp_pkey_st> key, std::vector<uint8_t> public_value)
      : group_(group), key_(std::move(key)), public_(std::move(public_value)) {}

  uint16_t group_;
  std::shared_ptr<evp_pkey_st> key_;  // OpenSSL wipes it
  std::vector<uint8_t> public_;
};

}  // namespace espalier::crypto
