// Private and public keys, and the signatures of IKE_AUTH (RFC 7296 section 2.15, RFC 7427), by OpenSSL: RSA with
// PKCS#1 v1.5 and PSS, ECDSA on P-256/384/521, Ed25519. Any thread.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.hpp"

struct evp_pkey_st;

namespace espalier::crypto {

enum class KeyType : uint8_t { kRsa, kEcdsaP256, kEcdsaP384, kEcdsaP521, kEd25519 };
// IANA "IKEv2 Hash Algorithms" (RFC 7427, RFC 8420): what SIGNATURE_HASH_ALGORITHMS announces.
enum class Hash : uint16_t { kSha1 = 1, kSha256 = 2, kSha384 = 3, kSha512 = 4, kIdentity = 5 };
enum class RsaPadding : uint8_t { kPkcs1, kPss };

struct SignatureScheme {
  KeyType key = KeyType::kRsa;
  Hash hash = Hash::kSha256;                // kIdentity with Ed25519
  RsaPadding padding = RsaPadding::kPkcs1;  // RSA
  friend bool operator==(const SignatureScheme&, const SignatureScheme&) = default;
};
// The AlgorithmIdentifier in DER, as RFC 7427 appendix A has it; and back. Nothing: not one of ours.
std::vector<uint8_t> algorithm_identifier(const SignatureScheme& scheme);
std::expected<SignatureScheme, std::string> parse_algorithm_identifier(std::span<const uint8_t> der);

class PublicKey {
 public:
  // SubjectPublicKeyInfo in DER or PEM ("BEGIN PUBLIC KEY"), or RFC 3110's base64 ("0s..."), as VyOS takes it.
  [[nodiscard]] static std::expected<PublicKey, std::string> parse(std::span<const uint8_t> text);
  explicit PublicKey(std::shared_ptr<evp_pkey_st> key, KeyType type) : key_(std::move(key)), type_(type) {}
  KeyType type() const { return type_; }
  // Over the parts' concatenation. ECDSA in DER (RFC 3279) with RFC 7427; `raw_ecdsa`: r and s one behind the other
  // (RFC 4754 methods 9-11). False: it is not the key's signature, or no signature at all.
  bool verify(const SignatureScheme& scheme, std::span<const uint8_t> data, std::span<const uint8_t> signature,
              bool raw_ecdsa = false) const;
  std::vector<uint8_t> to_der() const;

 private:
  std::shared_ptr<evp_pkey_st> key_;
  KeyType type_;
};

class PrivateKey {
 public:
  // PEM (PKCS#1, SEC 1, PKCS#8, encrypted ones with `passphrase`) or DER. Errors tell a wrong passphrase from other
  // faults, and never hold the key.
  [[nodiscard]] static std::expected<PrivateKey, std::string> parse(std::span<const uint8_t> text,
                                                                    std::string_view passphrase);
  KeyType type() const { return type_; }
  [[nodiscard]] std::expected<std::vector<uint8_t>, std::string> sign(const SignatureScheme& scheme,
                                                                      std::span<const uint8_t> data,
                                                                      bool raw_ecdsa = false) const;
  PublicKey public_key() const { return PublicKey(key_, type_); }

 private:
  PrivateKey(std::shared_ptr<evp_pkey_st> key, KeyType type) : key_(std::move(key)), type_(type) {}
  std::shared_ptr<evp_pkey_st> key_;  // OpenSSL wipes it
  KeyType type_;
};

}  // namespace espalier::crypto
