// OpenSSL for crypto/'s own sources: objects that free themselves, error texts, and the algorithms, which are
// fetched once per process (algorithms()); a fetch per call would take OpenSSL's locks and search its
// providers again.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/dh.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>

#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "crypto/esp_suite.hpp"
#include "crypto/prf.hpp"

namespace espalier::crypto::openssl {

template <auto kFree>
struct Free {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
template <class T, auto kFree>
using Owned = std::unique_ptr<T, Free<kFree>>;

// Of OSSL_PARAM_BLD_to_param(), whose values may be private ones: OSSL_PARAM_free() leaves them in the heap.
void wipe_and_free(OSSL_PARAM* parameters);

using Bio = Owned<BIO, ::BIO_free>;
using BigNumber = Owned<BIGNUM, ::BN_clear_free>;
using CipherContext = Owned<EVP_CIPHER_CTX, ::EVP_CIPHER_CTX_free>;
using DigestContext = Owned<EVP_MD_CTX, ::EVP_MD_CTX_free>;
using Key = Owned<EVP_PKEY, ::EVP_PKEY_free>;
using KeyContext = Owned<EVP_PKEY_CTX, ::EVP_PKEY_CTX_free>;
using MacContext = Owned<EVP_MAC_CTX, ::EVP_MAC_CTX_free>;
using Parameters = Owned<OSSL_PARAM, wipe_and_free>;
using ParameterBuilder = Owned<OSSL_PARAM_BLD, ::OSSL_PARAM_BLD_free>;

// "`doing`: what OpenSSL says". Takes the thread's first error, the cause of the others, and forgets them
// all.
std::string error_text(std::string_view doing);
inline std::unexpected<std::string> failure(std::string_view doing) {
  return std::unexpected(error_text(doing));
}

// Runs what fills OpenSSL's error queue as a matter of course (trying formats, refusing signatures): at the
// scope's end nothing is left for the next reader.
class QuietErrors {
 public:
  QuietErrors();
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;
  ~QuietErrors();
};

// A passphrase callback that has none. PEM of any kind may say that it is encrypted, a certificate of a peer
// too, and without a callback OpenSSL opens the terminal to ask for the passphrase.
int refuse_passphrase(char* buffer, int size, int writing, void* user);

// Read-only text or bytes; the memory must outlive it. Null: no memory, or over INT_MAX bytes.
Bio read_only(std::span<const uint8_t> bytes);

// What crypto/ uses, each null when OpenSSL lacks it: then the call that needs it fails. Made at the first
// use, kept until the process ends.
class Algorithms {
 public:
  Algorithms();
  Algorithms(const Algorithms&) = delete;
  Algorithms& operator=(const Algorithms&) = delete;

  const EVP_MD* digest(Integrity hash) const { return digests_[static_cast<size_t>(hash)].get(); }
  EVP_MAC* hmac() const { return hmac_.get(); }
  // Of AES-GCM, AES-CBC or ChaCha20-Poly1305; null for another suite.
  const EVP_CIPHER* cipher(const EspSuite& suite) const;
  const std::string& missing() const { return missing_; }  // names; empty: nothing is

 private:
  template <class T, auto kFetch, auto kFree>
  Owned<T, kFree> fetch(const char* name);

  std::string missing_;
  Owned<EVP_MD, ::EVP_MD_free> digests_[5];  // by Integrity; kNone stays null
  Owned<EVP_MAC, ::EVP_MAC_free> hmac_;
  Owned<EVP_CIPHER, ::EVP_CIPHER_free> gcm_[3], cbc_[3];  // by key bytes / 8 - 2
  Owned<EVP_CIPHER, ::EVP_CIPHER_free> chacha_;
};
const Algorithms& algorithms();
// As OpenSSL's parameters call the hash; "" for kNone.
const char* digest_name(Integrity hash);

}  // namespace espalier::crypto::openssl
