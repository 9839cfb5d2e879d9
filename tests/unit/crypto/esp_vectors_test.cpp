// crypto/esp_transform.hpp against published vectors. OpenSSL confirms each first: a typing error in a file
// must not look like an error of ours.
#include <gtest/gtest.h>

#include <optional>

#include "tests/unit/crypto/esp_openssl.hpp"
#include "tests/unit/crypto/vectors.hpp"

namespace espalier::crypto {
namespace {

using test::Bytes;
using test::joined;
using test::Sa;
using test::slice;

std::string data_file(const char* name) {
  return std::string(VECTOR_DIR) + "/" + name;
}

// Big-endian.
uint32_t number(const Bytes& bytes, size_t at) {
  return uint32_t{bytes.at(at)} << 24 | uint32_t{bytes.at(at + 1)} << 16 | uint32_t{bytes.at(at + 2)} << 8 |
         bytes.at(at + 3);
}

class EspVectors : public testing::Test {
 protected:
  EspKey make_key(const Sa& sa) {
    return engine_.make_key(sa.suite, sa.esn, sa.key, sa.salt, sa.auth_key).value();
  }

  // The payload that open() leaves; nothing when the packet is not authentic.
  std::optional<Bytes> open(const Sa& sa, Bytes packet, uint32_t sequence_high = 0) {
    const size_t front = kEspHeaderBytes + sa.suite.iv_bytes();
    const EspJob job{packet.data(), static_cast<uint32_t>(packet.size() - front - sa.suite.icv_bytes),
                     sequence_high};
    Verdict verdict;
    engine_.open(make_key(sa), {&job, 1}, {&verdict, 1});
    if (!verdict.authentic()) return std::nullopt;
    return slice(packet, front, job.payload_bytes);
  }

  void check_aead(Cipher cipher, const test::GcmVector& vector) {
    SCOPED_TRACE(vector.name);
    const bool esn = vector.aad.size() == 12;
    const auto key_bytes = static_cast<uint8_t>(vector.key.size());
    const Sa sa{{cipher, Integrity::kNone, key_bytes, 16}, esn, vector.key, slice(vector.nonce, 0, 4), {}};
    const Bytes spi = slice(vector.aad, 0, 4), low = slice(vector.aad, esn ? 8 : 4, 4);
    const Bytes iv = slice(vector.nonce, 4, 8);
    const uint32_t high = esn ? number(vector.aad, 4) : 0;
    const Bytes packet = joined({spi, low, iv, vector.ciphertext, vector.tag});
    ASSERT_EQ(test::seal_by_openssl(sa, number(spi, 0), uint64_t{high} << 32 | number(low, 0), iv,
                                    vector.plaintext),
              packet);
    EXPECT_EQ(open(sa, packet, high), vector.plaintext);
  }

  // An HMAC over data is an ESP packet with cipher NULL whose header is the data's beginning.
  void check_hmac(const test::HmacVector& vector, Integrity integrity, const Bytes& digest) {
    Sa sa{{Cipher::kNull, integrity, 0, static_cast<uint8_t>(digest.size())}, false, {}, {}, vector.key};
    ASSERT_EQ(digest.size(), sa.suite.auth_key_bytes());
    sa.auth_key.resize(digest.size());
    const Bytes payload = slice(vector.data, 8, vector.data.size() - 8);
    const Bytes packet = joined({vector.data, digest});
    ASSERT_EQ(test::seal_by_openssl(sa, number(vector.data, 0), number(vector.data, 4), {}, payload), packet);

    Bytes ours = joined({vector.data, Bytes(digest.size())});
    const EspJob job{ours.data(), static_cast<uint32_t>(payload.size()), 0};
    engine_.seal(make_key(sa), {&job, 1});
    EXPECT_EQ(ours, packet);
    EXPECT_EQ(open(sa, packet), payload);
  }

  EspEngine engine_ = EspEngine::create().value();
};

TEST_F(EspVectors, AesGcm) {
  const auto vectors = test::read_gcm_vectors(data_file("esp_gcm_vectors.txt"));
  ASSERT_EQ(vectors.size(), 14u);
  for (const auto& vector : vectors) check_aead(Cipher::kAesGcm, vector);
}

TEST_F(EspVectors, ChaCha20Poly1305) {
  const auto vectors = test::read_gcm_vectors(data_file("esp_chacha_vectors.txt"));
  ASSERT_EQ(vectors.size(), 1u);
  for (const auto& vector : vectors) check_aead(Cipher::kChaCha20Poly1305, vector);
}

TEST_F(EspVectors, AesCbc) {
  const auto vectors = test::read_cbc_vectors(data_file("esp_cbc_vectors.txt"));
  ASSERT_EQ(vectors.size(), 7u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.name);
    const auto key_bytes = static_cast<uint8_t>(vector.key.size());
    const Sa sa{
        {Cipher::kAesCbc, Integrity::kHmacSha256, key_bytes, 16}, false, vector.key, {}, Bytes(32, 7)};
    const Bytes packet = test::seal_by_openssl(sa, number(vector.header, 0), number(vector.header, 4),
                                               vector.iv, vector.plaintext);
    ASSERT_EQ(slice(packet, 24, vector.ciphertext.size()), vector.ciphertext);
    EXPECT_EQ(open(sa, packet), vector.plaintext);
  }
}

TEST_F(EspVectors, Hmac) {
  const auto vectors = test::read_hmac_vectors(data_file("hmac_vectors.txt"));
  ASSERT_EQ(vectors.size(), 4u);
  size_t checked = 0;
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.name);
    const std::pair<Integrity, const Bytes&> digests[] = {{Integrity::kHmacSha1, vector.sha1},
                                                          {Integrity::kHmacSha256, vector.sha256},
                                                          {Integrity::kHmacSha384, vector.sha384},
                                                          {Integrity::kHmacSha512, vector.sha512}};
    for (const auto& [integrity, digest] : digests) {
      if (digest.empty()) continue;
      check_hmac(vector, integrity, digest);
      ++checked;
    }
  }
  EXPECT_EQ(checked, 15u);
}

}  // namespace
}  // namespace espalier::crypto
