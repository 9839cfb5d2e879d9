#include "tests/unit/crypto/vectors.hpp"

#include <openssl/evp.h>

#include <memory>

#include "tests/support/vector_file.hpp"

namespace espalier::crypto::test {
namespace {

template <class Vector>
using Fields = std::map<std::string, Bytes Vector::*>;

template <class Vector>
std::vector<Vector> read_vectors(const std::string& path, const Fields<Vector>& fields) {
  std::vector<Vector> vectors;
  for (const espalier::test::Vector& read : espalier::test::read_vectors(path)) {
    Vector& vector = vectors.emplace_back();
    vector.name = read.name;
    for (const auto& [name, value] : read.fields) vector.*fields.at(name) = value;
  }
  return vectors;
}

void require(int result) {
  if (result != 1) throw std::runtime_error("OpenSSL");
}

const EVP_CIPHER* cipher_for(size_t key_bytes) {
  switch (key_bytes) {
    case 16:
      return ::EVP_aes_128_gcm();
    case 24:
      return ::EVP_aes_192_gcm();
    case 32:
      return ::EVP_aes_256_gcm();
  }
  throw std::runtime_error("key size");
}

}  // namespace

std::vector<GcmVector> read_gcm_vectors(const std::string& path) {
  return read_vectors<GcmVector>(path, {{"key", &GcmVector::key},
                                        {"nonce", &GcmVector::nonce},
                                        {"plaintext", &GcmVector::plaintext},
                                        {"aad", &GcmVector::aad},
                                        {"ciphertext", &GcmVector::ciphertext},
                                        {"tag", &GcmVector::tag}});
}

std::vector<CbcVector> read_cbc_vectors(const std::string& path) {
  return read_vectors<CbcVector>(path, {{"key", &CbcVector::key},
                                        {"header", &CbcVector::header},
                                        {"iv", &CbcVector::iv},
                                        {"plaintext", &CbcVector::plaintext},
                                        {"ciphertext", &CbcVector::ciphertext}});
}

std::vector<HmacVector> read_hmac_vectors(const std::string& path) {
  return read_vectors<HmacVector>(path, {{"key", &HmacVector::key},
                                         {"data", &HmacVector::data},
                                         {"sha1", &HmacVector::sha1},
                                         {"sha256", &HmacVector::sha256},
                                         {"sha384", &HmacVector::sha384},
                                         {"sha512", &HmacVector::sha512}});
}

std::vector<DhVector> read_dh_vectors(const std::string& path) {
  return read_vectors<DhVector>(path, {{"group", &DhVector::group},
                                       {"private_value", &DhVector::private_value},
                                       {"public_value", &DhVector::public_value},
                                       {"peer_public", &DhVector::peer_public},
                                       {"secret", &DhVector::secret},
                                       {"prime", &DhVector::prime}});
}

std::vector<PrfPlusVector> read_prf_plus_vectors(const std::string& path) {
  return read_vectors<PrfPlusVector>(path, {{"hash", &PrfPlusVector::hash},
                                            {"nonces", &PrfPlusVector::nonces},
                                            {"shared_secret", &PrfPlusVector::shared_secret},
                                            {"key", &PrfPlusVector::key},
                                            {"seed", &PrfPlusVector::seed},
                                            {"output", &PrfPlusVector::output},
                                            {"rekey_secret", &PrfPlusVector::rekey_secret},
                                            {"rekeyed", &PrfPlusVector::rekeyed}});
}

Sealed seal_by_openssl(const Bytes& key, const Bytes& nonce, const Bytes& aad, const Bytes& plaintext) {
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&::EVP_CIPHER_CTX_free)> context(::EVP_CIPHER_CTX_new(),
                                                                                  &::EVP_CIPHER_CTX_free);
  Sealed sealed{Bytes(plaintext.size()), Bytes(16)};
  int used = 0;
  require(::EVP_EncryptInit_ex(context.get(), cipher_for(key.size()), nullptr, key.data(), nonce.data()));
  require(::EVP_EncryptUpdate(context.get(), nullptr, &used, aad.data(), static_cast<int>(aad.size())));
  if (!plaintext.empty())
    require(::EVP_EncryptUpdate(context.get(), sealed.ciphertext.data(), &used, plaintext.data(),
                                static_cast<int>(plaintext.size())));
  require(::EVP_EncryptFinal_ex(context.get(), sealed.tag.data(), &used));
  require(::EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, 16, sealed.tag.data()));
  return sealed;
}

}  // namespace espalier::crypto::test
