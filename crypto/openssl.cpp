#include "crypto/openssl.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <time.h>

#include <climits>

#include "crypto/prepare.hpp"
#include "crypto/wipe.hpp"

namespace espalier::crypto {
namespace openssl {
namespace {

constexpr const char* kGcmNames[] = {"AES-128-GCM", "AES-192-GCM", "AES-256-GCM"};
constexpr const char* kCbcNames[] = {"AES-128-CBC", "AES-192-CBC", "AES-256-CBC"};

// What keys and certificates want is fetched by OpenSSL itself, by these names; fetching them once loads them
// and tells what is missing at the start, not at the first peer.
constexpr const char* kKeyTypes[] = {"RSA", "EC", "DH", "X25519", "X448", "ED25519"};
constexpr const char* kExchanges[] = {"DH", "ECDH", "X25519", "X448"};
constexpr const char* kSignatures[] = {"RSA", "ECDSA", "ED25519"};
constexpr const char* kKeyDerivations[] = {"PBKDF2", "SCRYPT"};  // of encrypted private keys

template <auto kFetch, auto kFree>
void try_all(std::span<const char* const> names, std::string& missing) {
  for (const char* name : names) {
    auto* object = kFetch(nullptr, name, nullptr);
    if (object == nullptr) missing += fmt::format(" {}", name);
    kFree(object);
  }
}

}  // namespace

std::string error_text(std::string_view doing) {
  const unsigned long code = ::ERR_get_error();
  ::ERR_clear_error();
  const char* reason = ::ERR_reason_error_string(code);
  if (reason != nullptr) return fmt::format("{}: {}", doing, reason);
  return code == 0 ? std::string(doing) : fmt::format("{}: OpenSSL error {:#x}", doing, code);
}

void wipe_and_free(OSSL_PARAM* parameters) {
  if (parameters == nullptr) return;
  for (const OSSL_PARAM* one = parameters; one->key != nullptr; ++one) wipe(one->data, one->data_size);
  ::OSSL_PARAM_free(parameters);
}

QuietErrors::QuietErrors() {
  ::ERR_set_mark();
}

QuietErrors::~QuietErrors() {
  ::ERR_pop_to_mark();
}

int refuse_passphrase(char*, int, int, void*) {
  return -1;
}

Bio read_only(std::span<const uint8_t> bytes) {
  if (bytes.size() > INT_MAX) return nullptr;
  return Bio(::BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

const char* digest_name(Integrity hash) {
  switch (hash) {
    case Integrity::kNone:
      return "";
    case Integrity::kHmacSha1:
      return "SHA1";
    case Integrity::kHmacSha256:
      return "SHA2-256";
    case Integrity::kHmacSha384:
      return "SHA2-384";
    case Integrity::kHmacSha512:
      return "SHA2-512";
  }
  __builtin_unreachable();
}

template <class T, auto kFetch, auto kFree>
Owned<T, kFree> Algorithms::fetch(const char* name) {
  Owned<T, kFree> object(kFetch(nullptr, name, nullptr));
  if (!object) missing_ += fmt::format(" {}", name);
  return object;
}

Algorithms::Algorithms() {
  const QuietErrors quiet;
  for (const auto hash :
       {Integrity::kHmacSha1, Integrity::kHmacSha256, Integrity::kHmacSha384, Integrity::kHmacSha512})
    digests_[static_cast<size_t>(hash)] = fetch<EVP_MD, ::EVP_MD_fetch, ::EVP_MD_free>(digest_name(hash));
  hmac_ = fetch<EVP_MAC, ::EVP_MAC_fetch, ::EVP_MAC_free>("HMAC");
  for (size_t i = 0; i < 3; ++i) {
    gcm_[i] = fetch<EVP_CIPHER, ::EVP_CIPHER_fetch, ::EVP_CIPHER_free>(kGcmNames[i]);
    cbc_[i] = fetch<EVP_CIPHER, ::EVP_CIPHER_fetch, ::EVP_CIPHER_free>(kCbcNames[i]);
  }
  chacha_ = fetch<EVP_CIPHER, ::EVP_CIPHER_fetch, ::EVP_CIPHER_free>("ChaCha20-Poly1305");
  try_all<::EVP_KEYMGMT_fetch, ::EVP_KEYMGMT_free>(kKeyTypes, missing_);
  try_all<::EVP_KEYEXCH_fetch, ::EVP_KEYEXCH_free>(kExchanges, missing_);
  try_all<::EVP_SIGNATURE_fetch, ::EVP_SIGNATURE_free>(kSignatures, missing_);
  try_all<::EVP_KDF_fetch, ::EVP_KDF_free>(kKeyDerivations, missing_);
}

const EVP_CIPHER* Algorithms::cipher(const EspSuite& suite) const {
  if (suite.why_invalid() != nullptr) return nullptr;
  switch (suite.cipher) {
    case Cipher::kNull:
      return nullptr;
    case Cipher::kAesCbc:
      return cbc_[suite.key_bytes / 8 - 2].get();
    case Cipher::kAesGcm:
      return gcm_[suite.key_bytes / 8 - 2].get();
    case Cipher::kChaCha20Poly1305:
      return chacha_.get();
  }
  __builtin_unreachable();
}

const Algorithms& algorithms() {
  static const Algorithms all;
  return all;
}

}  // namespace openssl

std::expected<void, std::string> prepare() {
  // The error texts are tables in the library, but OpenSSL fills its index of them at the first error.
  constexpr uint64_t kOptions = OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
                                OPENSSL_INIT_ADD_ALL_CIPHERS | OPENSSL_INIT_ADD_ALL_DIGESTS;
  if (::OPENSSL_init_crypto(kOptions, nullptr) != 1) return openssl::failure("OpenSSL");
  if (const std::string& missing = openssl::algorithms().missing(); !missing.empty())
    return std::unexpected(fmt::format("OpenSSL lacks{}", missing));
  uint8_t byte;  // from each of the two generators, of public and of private values
  if (::RAND_bytes(&byte, 1) != 1 || ::RAND_priv_bytes(&byte, 1) != 1)
    return openssl::failure("random generator");
  // X.509's times go through gmtime_r(), which reads /etc/localtime, but at the process's first call only.
  const time_t epoch = 0;
  tm parts;
  if (::gmtime_r(&epoch, &parts) == nullptr) return std::unexpected("gmtime_r() fails");
  return {};
}

}  // namespace espalier::crypto
