#include "tests/unit/crypto/vectors.hpp"

#include <openssl/evp.h>

#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>

namespace espalier::crypto::test {
namespace {

Bytes from_hex(const std::string& text) {
  Bytes bytes;
  if (text.size() % 2 != 0) throw std::runtime_error("odd number of digits: " + text);
  for (size_t i = 0; i < text.size(); i += 2) {
    size_t used = 0;
    bytes.push_back(static_cast<uint8_t>(std::stoul(text.substr(i, 2), &used, 16)));
    if (used != 2) throw std::runtime_error("not hexadecimal: " + text);
  }
  return bytes;
}

template <class Vector>
using Fields = std::map<std::string, Bytes Vector::*>;

template <class Vector>
std::vector<Vector> read_vectors(const std::string& path, const Fields<Vector>& fields) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<Vector> vectors;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t sign = line.find(" =");
    if (sign == std::string::npos) throw std::runtime_error("not understood: " + line);
    const std::string name = line.substr(0, sign);
    const std::string value = line.size() > sign + 3 ? line.substr(sign + 3) : "";
    if (name == "name") {
      vectors.emplace_back().name = value;
    } else {
      vectors.back().*fields.at(name) = from_hex(value);
    }
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
