// Keys from text and bytes: what PublicKey and PrivateKey are made of.
#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>

#include "crypto/openssl.hpp"
#include "crypto/signature.hpp"

namespace espalier::crypto {
namespace {

using Bytes = std::span<const uint8_t>;

constexpr int kMinRsaBits = 1024;
constexpr int kMaxRsaBits = 16384;  // OpenSSL verifies no longer ones

std::expected<KeyType, std::string> ec_type_of(const EVP_PKEY* key) {
  char curve[32] = "";
  size_t length = 0;
  if (::EVP_PKEY_get_group_name(key, curve, sizeof curve, &length) == 1) {
    const std::string_view name(curve, length);
    if (name == "prime256v1") return KeyType::kEcdsaP256;
    if (name == "secp384r1") return KeyType::kEcdsaP384;
    if (name == "secp521r1") return KeyType::kEcdsaP521;
  }
  return std::unexpected("a key on a curve other than P-256, P-384 and P-521");
}

std::expected<KeyType, std::string> type_of(const EVP_PKEY* key) {
  const openssl::QuietErrors quiet;
  if (key == nullptr) return std::unexpected("no key");
  if (::EVP_PKEY_is_a(key, "ED25519") == 1) return KeyType::kEd25519;
  if (::EVP_PKEY_is_a(key, "EC") == 1) return ec_type_of(key);
  if (::EVP_PKEY_is_a(key, "RSA") != 1) return std::unexpected("a key that is neither RSA, EC nor Ed25519");
  const int bits = ::EVP_PKEY_get_bits(key);
  if (bits < kMinRsaBits || bits > kMaxRsaBits)
    return std::unexpected(
        fmt::format("an RSA key of {} bits; {} to {} are accepted", bits, kMinRsaBits, kMaxRsaBits));
  return KeyType::kRsa;
}

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_pem(Bytes bytes) {
  return text_of(bytes).find("-----BEGIN ") != std::string_view::npos;
}

constexpr bool is_space(uint8_t byte) {
  return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

// Spaces and line ends may be anywhere, as people paste keys. Nothing: not base64.
std::vector<uint8_t> from_base64(std::string_view text) {
  std::string digits;
  std::ranges::copy_if(text, std::back_inserter(digits),
                       [](char c) { return !is_space(static_cast<uint8_t>(c)); });
  const auto padding = digits.ends_with("==") ? 2u : digits.ends_with("=") ? 1u : 0u;
  std::vector<uint8_t> bytes(digits.size() / 4 * 3);
  const openssl::QuietErrors quiet;
  const int size = ::EVP_DecodeBlock(bytes.data(), reinterpret_cast<const uint8_t*>(digits.data()),
                                     static_cast<int>(digits.size()));
  if (digits.size() % 4 != 0 || size < 0 || static_cast<size_t>(size) != bytes.size()) return {};
  bytes.resize(bytes.size() - std::min<size_t>(padding, bytes.size()));
  return bytes;
}

openssl::Key rsa_key(Bytes exponent, Bytes modulus) {
  const openssl::BigNumber e(::BN_bin2bn(exponent.data(), static_cast<int>(exponent.size()), nullptr));
  const openssl::BigNumber n(::BN_bin2bn(modulus.data(), static_cast<int>(modulus.size()), nullptr));
  const openssl::ParameterBuilder builder(::OSSL_PARAM_BLD_new());
  if (!e || !n || !builder || ::OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      ::OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1)
    return nullptr;
  const openssl::Parameters parameters(::OSSL_PARAM_BLD_to_param(builder.get()));
  const openssl::KeyContext context(::EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  EVP_PKEY* key = nullptr;
  if (!parameters || !context || ::EVP_PKEY_fromdata_init(context.get()) != 1 ||
      ::EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1)
    return nullptr;
  return openssl::Key(key);
}

// RFC 3110 section 2: the exponent's length in one byte, or zero and two bytes; exponent; modulus.
openssl::Key read_rfc3110(Bytes bytes) {
  if (bytes.size() < 3) return nullptr;
  const size_t prefix = bytes[0] == 0 ? 3 : 1;
  const size_t length = bytes[0] == 0 ? size_t{bytes[1]} << 8 | bytes[2] : bytes[0];
  if (length == 0 || bytes.size() <= prefix + length) return nullptr;
  return rsa_key(bytes.subspan(prefix, length), bytes.subspan(prefix + length));
}

// Nothing may follow.
openssl::Key read_public_der(Bytes bytes) {
  const uint8_t* at = bytes.data();
  openssl::Key key(::d2i_PUBKEY_ex(nullptr, &at, static_cast<long>(bytes.size()), nullptr, nullptr));
  return at == bytes.data() + bytes.size() ? std::move(key) : nullptr;
}

openssl::Key read_public(Bytes bytes) {
  if (bytes.size() > INT_MAX) return nullptr;
  if (is_pem(bytes)) {
    const openssl::Bio bio = openssl::read_only(bytes);
    return openssl::Key(bio ? ::PEM_read_bio_PUBKEY_ex(bio.get(), nullptr, openssl::refuse_passphrase,
                                                       nullptr, nullptr, nullptr)
                            : nullptr);
  }
  while (!bytes.empty() && is_space(bytes.front()) && text_of(bytes).find("0s") != std::string_view::npos)
    bytes = bytes.subspan(1);
  if (text_of(bytes).starts_with("0s")) return read_rfc3110(from_base64(text_of(bytes).substr(2)));
  return read_public_der(bytes);
}

struct Passphrase {
  std::string_view text;
  bool asked = false;
};

// OpenSSL's callback. -1: there is none (an empty one too, which no tool lets people set).
int give_passphrase(char* buffer, int size, int, void* user) {
  auto& passphrase = *static_cast<Passphrase*>(user);
  passphrase.asked = true;
  if (passphrase.text.empty() || passphrase.text.size() > static_cast<size_t>(size)) return -1;
  std::ranges::copy(passphrase.text, buffer);
  return static_cast<int>(passphrase.text.size());
}

openssl::Key read_private(Bytes bytes, Passphrase& passphrase) {
  if (bytes.size() > INT_MAX) return nullptr;
  if (is_pem(bytes)) {
    const openssl::Bio bio = openssl::read_only(bytes);
    return openssl::Key(
        bio ? ::PEM_read_bio_PrivateKey_ex(bio.get(), nullptr, give_passphrase, &passphrase, nullptr, nullptr)
            : nullptr);
  }
  const uint8_t* at = bytes.data();
  return openssl::Key(
      ::d2i_AutoPrivateKey_ex(nullptr, &at, static_cast<long>(bytes.size()), nullptr, nullptr));
}

}  // namespace

std::expected<PublicKey, std::string> PublicKey::take(std::shared_ptr<evp_pkey_st> key) {
  const auto type = type_of(key.get());
  if (!type) return std::unexpected(type.error());
  return PublicKey(std::move(key), *type);
}

std::expected<PublicKey, std::string> PublicKey::parse(Bytes text) {
  const openssl::QuietErrors quiet;
  openssl::Key key = read_public(text);
  if (!key) return std::unexpected("not a public key in PEM, DER or RFC 3110's base64 (0s...)");
  return take(std::move(key));
}

std::vector<uint8_t> PublicKey::to_der() const {
  const int size = ::i2d_PUBKEY(key_.get(), nullptr);
  if (size <= 0) return {};
  std::vector<uint8_t> der(static_cast<size_t>(size));
  uint8_t* at = der.data();
  ::i2d_PUBKEY(key_.get(), &at);
  return der;
}

std::expected<PrivateKey, std::string> PrivateKey::parse(Bytes text, std::string_view passphrase) {
  const openssl::QuietErrors quiet;
  Passphrase asked{passphrase};
  openssl::Key key = read_private(text, asked);
  if (!key && asked.asked)
    return std::unexpected(passphrase.empty() ? "the private key is encrypted, and there is no passphrase"
                                              : "the passphrase of the private key is wrong");
  if (!key) return std::unexpected("not a private key in PEM or DER");
  const auto type = type_of(key.get());
  if (!type) return std::unexpected(type.error());
  return PrivateKey(std::move(key), *type);
}

}  // namespace espalier::crypto
