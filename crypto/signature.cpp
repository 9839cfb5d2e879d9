#include "crypto/signature.hpp"

#include <openssl/rsa.h>

#include "crypto/openssl.hpp"

namespace espalier::crypto {
namespace {

using Bytes = std::span<const uint8_t>;
using Signature = openssl::Owned<ECDSA_SIG, ::ECDSA_SIG_free>;

// Of r and of s, as long as the group's order (RFC 4754 section 7).
size_t ecdsa_half_bytes(KeyType type) {
  if (type == KeyType::kEcdsaP521) return 66;
  return type == KeyType::kEcdsaP384 ? 48 : 32;
}

// Null: Ed25519 hashes by itself (RFC 8420 calls it the identity).
const char* hash_name(Hash hash) {
  switch (hash) {
    case Hash::kSha1:
      return openssl::digest_name(Integrity::kHmacSha1);
    case Hash::kSha256:
      return openssl::digest_name(Integrity::kHmacSha256);
    case Hash::kSha384:
      return openssl::digest_name(Integrity::kHmacSha384);
    case Hash::kSha512:
      return openssl::digest_name(Integrity::kHmacSha512);
    case Hash::kIdentity:
      return nullptr;
  }
  __builtin_unreachable();
}

// kEcdsaP256 stands for every curve: RFC 7427's identifiers do not tell it.
bool fits(const SignatureScheme& scheme, KeyType key) {
  if (scheme.key != key && !(scheme.key == KeyType::kEcdsaP256 && is_ecdsa(key))) return false;
  return (scheme.hash == Hash::kIdentity) == (key == KeyType::kEd25519);
}

// `context`: of the digest context that signs or verifies; it owns it.
bool set_padding(EVP_PKEY_CTX* context, const SignatureScheme& scheme) {
  if (scheme.key != KeyType::kRsa) return true;
  if (scheme.padding == RsaPadding::kPkcs1)
    return ::EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
  return ::EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
         ::EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

// Raw to DER (RFC 3279 section 2.2.3); empty: its length is none of the curve's.
std::vector<uint8_t> ecdsa_der(Bytes raw, KeyType type) {
  const size_t half = ecdsa_half_bytes(type);
  if (raw.size() != 2 * half) return {};
  openssl::BigNumber r(::BN_bin2bn(raw.data(), static_cast<int>(half), nullptr));
  openssl::BigNumber s(::BN_bin2bn(raw.data() + half, static_cast<int>(half), nullptr));
  const Signature signature(::ECDSA_SIG_new());
  if (!r || !s || !signature || ::ECDSA_SIG_set0(signature.get(), r.get(), s.get()) != 1) return {};
  r.release();  // the signature's now
  s.release();
  std::vector<uint8_t> der(static_cast<size_t>(::i2d_ECDSA_SIG(signature.get(), nullptr)));
  uint8_t* at = der.data();
  ::i2d_ECDSA_SIG(signature.get(), &at);
  return der;
}

std::vector<uint8_t> ecdsa_raw(Bytes der, KeyType type) {
  const size_t half = ecdsa_half_bytes(type);
  const uint8_t* at = der.data();
  const Signature signature(::d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
  std::vector<uint8_t> raw(2 * half);
  const auto bytes = static_cast<int>(half);
  if (!signature || ::BN_bn2binpad(::ECDSA_SIG_get0_r(signature.get()), raw.data(), bytes) != bytes ||
      ::BN_bn2binpad(::ECDSA_SIG_get0_s(signature.get()), raw.data() + half, bytes) != bytes)
    return {};
  return raw;
}

}  // namespace

bool PublicKey::verify(const SignatureScheme& scheme, Bytes data, Bytes signature, bool raw_ecdsa) const {
  if (!fits(scheme, type_)) return false;
  const openssl::QuietErrors quiet;
  std::vector<uint8_t> der;
  if (raw_ecdsa && is_ecdsa(type_)) {
    der = ecdsa_der(signature, type_);
    if (der.empty()) return false;
    signature = der;
  }
  const openssl::DigestContext context(::EVP_MD_CTX_new());
  EVP_PKEY_CTX* key_context = nullptr;
  return context &&
         ::EVP_DigestVerifyInit_ex(context.get(), &key_context, hash_name(scheme.hash), nullptr, nullptr,
                                   key_.get(), nullptr) == 1 &&
         set_padding(key_context, scheme) &&
         ::EVP_DigestVerify(context.get(), signature.data(), signature.size(), data.data(), data.size()) == 1;
}

std::expected<std::vector<uint8_t>, std::string> PrivateKey::sign(const SignatureScheme& scheme, Bytes data,
                                                                  bool raw_ecdsa) const {
  if (!fits(scheme, type_)) return std::unexpected("the signature scheme is none of the key's");
  const openssl::DigestContext context(::EVP_MD_CTX_new());
  EVP_PKEY_CTX* key_context = nullptr;
  std::vector<uint8_t> signature(static_cast<size_t>(::EVP_PKEY_get_size(key_.get())));
  size_t size = signature.size();
  if (!context ||
      ::EVP_DigestSignInit_ex(context.get(), &key_context, hash_name(scheme.hash), nullptr, nullptr,
                              key_.get(), nullptr) != 1 ||
      !set_padding(key_context, scheme) ||
      ::EVP_DigestSign(context.get(), signature.data(), &size, data.data(), data.size()) != 1)
    return openssl::failure("signature");
  signature.resize(size);
  if (raw_ecdsa && is_ecdsa(type_)) signature = ecdsa_raw(signature, type_);
  if (signature.empty()) return openssl::failure("signature");
  return signature;
}

}  // namespace espalier::crypto
