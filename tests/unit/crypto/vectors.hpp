// Test vectors from data files: blocks of "name = hexadecimal" lines, one block per vector, each starting
// with its name. Throws for anything it does not understand, so that no vector is skipped silently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace espalier::crypto::test {

using Bytes = std::vector<uint8_t>;

inline Bytes slice(const Bytes& bytes, size_t begin, size_t count) {
  return {bytes.begin() + static_cast<ptrdiff_t>(begin),
          bytes.begin() + static_cast<ptrdiff_t>(begin + count)};
}
inline Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

struct GcmVector {
  std::string name;
  Bytes key;
  Bytes nonce;
  Bytes plaintext;
  Bytes aad;
  Bytes ciphertext;
  Bytes tag;
};

struct CbcVector {
  std::string name;
  Bytes key;
  Bytes header;  // SPI and sequence number
  Bytes iv;
  Bytes plaintext;
  Bytes ciphertext;
};

struct HmacVector {
  std::string name;
  Bytes key;
  Bytes data;
  Bytes sha1, sha256, sha384, sha512;  // empty: not given for this hash
};

struct DhVector {
  std::string name;
  Bytes group;  // one byte, IANA's number
  Bytes private_value, public_value;
  Bytes peer_public;
  Bytes secret;
  Bytes prime;  // empty with curves
};

struct PrfPlusVector {
  std::string name;
  Bytes hash;  // one byte, number in Prf
  Bytes nonces, shared_secret;
  Bytes key;  // SKEYSEED of these
  Bytes seed, output;
  Bytes rekey_secret, rekeyed;
};

// `path`: of a file in the tests' data folder.
std::vector<GcmVector> read_gcm_vectors(const std::string& path);
std::vector<CbcVector> read_cbc_vectors(const std::string& path);
std::vector<HmacVector> read_hmac_vectors(const std::string& path);
std::vector<DhVector> read_dh_vectors(const std::string& path);
std::vector<PrfPlusVector> read_prf_plus_vectors(const std::string& path);

// AES-GCM by OpenSSL EVP, which shares nothing with IPsec-MB. `nonce` 12 bytes, key 16, 24 or 32.
struct Sealed {
  Bytes ciphertext;
  Bytes tag;  // 16
};
Sealed seal_by_openssl(const Bytes& key, const Bytes& nonce, const Bytes& aad, const Bytes& plaintext);

}  // namespace espalier::crypto::test
