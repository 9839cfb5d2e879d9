// crypto/ike_cipher.hpp against vectors of RFCs and NIST, and OpenSSL called by hand.
#include "crypto/ike_cipher.hpp"

#include <gtest/gtest.h>

#include "tests/unit/crypto/esp_openssl.hpp"
#include "tests/unit/crypto/vectors.hpp"

namespace espalier::crypto {
namespace {

using test::Bytes;
using test::joined;
using test::slice;

uint64_t number(const Bytes& bytes) {
  uint64_t value = 0;
  for (const uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

Bytes range(size_t bytes, uint8_t from) {
  Bytes all(bytes);
  for (size_t i = 0; i < bytes; ++i) all[i] = static_cast<uint8_t>(from + i);
  return all;
}

const std::vector<EspSuite>& suites() {
  static const std::vector<EspSuite> all = [] {
    std::vector<EspSuite> list{{Cipher::kChaCha20Poly1305, Integrity::kNone, 32, 16}};
    for (const uint8_t key : {16, 24, 32}) {
      for (const uint8_t icv : {8, 12, 16}) list.push_back({Cipher::kAesGcm, Integrity::kNone, key, icv});
      list.push_back({Cipher::kAesCbc, Integrity::kHmacSha1, key, 12});
      list.push_back({Cipher::kAesCbc, Integrity::kHmacSha256, key, 16});
      list.push_back({Cipher::kAesCbc, Integrity::kHmacSha384, key, 24});
      list.push_back({Cipher::kAesCbc, Integrity::kHmacSha512, key, 32});
    }
    return list;
  }();
  return all;
}

IkeCipher make(const EspSuite& suite, uint8_t seed = 1) {
  return IkeCipher::create(suite, range(size_t{suite.key_bytes} + suite.salt_bytes(), seed),
                           range(suite.auth_key_bytes(), static_cast<uint8_t>(seed + 100)))
      .value();
}

void check_aead(Cipher kind, const test::GcmVector& vector) {
  SCOPED_TRACE(vector.name);
  const EspSuite suite{kind, Integrity::kNone, static_cast<uint8_t>(vector.key.size()), 16};
  const auto cipher = IkeCipher::create(suite, joined({vector.key, slice(vector.nonce, 0, 4)}), {}).value();
  const Bytes iv = slice(vector.nonce, 4, 8);
  Bytes sealed;
  ASSERT_TRUE(cipher.seal(vector.aad, vector.plaintext, number(iv), sealed));
  EXPECT_EQ(sealed, joined({iv, vector.ciphertext, vector.tag}));
  EXPECT_EQ(cipher.open(vector.aad, sealed).value(), vector.plaintext);
}

TEST(IkeCipherVectors, Aead) {
  const std::string folder = VECTOR_DIR "/";
  const auto gcm = test::read_gcm_vectors(folder + "esp_gcm_vectors.txt");
  const auto esp = test::read_gcm_vectors(folder + "esp_chacha_vectors.txt");
  const auto ike = test::read_gcm_vectors(folder + "ike_chacha_vectors.txt");
  ASSERT_EQ(gcm.size() + esp.size() + ike.size(), 16u);
  for (const auto& vector : gcm) check_aead(Cipher::kAesGcm, vector);
  for (const auto& vector : esp) check_aead(Cipher::kChaCha20Poly1305, vector);
  for (const auto& vector : ike) check_aead(Cipher::kChaCha20Poly1305, vector);
}

// RFC 3602 and NIST SP 800-38A for the cipher; the HMAC behind it covers header, IV and ciphertext.
TEST(IkeCipherVectors, AesCbc) {
  const auto vectors = test::read_cbc_vectors(VECTOR_DIR "/esp_cbc_vectors.txt");
  ASSERT_EQ(vectors.size(), 7u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.name);
    const EspSuite suite{Cipher::kAesCbc, Integrity::kHmacSha256, static_cast<uint8_t>(vector.key.size()),
                         16};
    const Bytes hmac_key = range(32, 9);
    const auto cipher = IkeCipher::create(suite, vector.key, hmac_key).value();
    // An HMAC over data is an ESP packet with cipher NULL whose header is the data's beginning.
    const test::Sa null{{Cipher::kNull, Integrity::kHmacSha256, 0, 16}, false, {}, {}, hmac_key};
    const Bytes packet =
        test::seal_by_openssl(null, static_cast<uint32_t>(number(slice(vector.header, 0, 4))),
                              number(slice(vector.header, 4, 4)), {}, joined({vector.iv, vector.ciphertext}));
    EXPECT_EQ(cipher.open(vector.header, slice(packet, 8, packet.size() - 8)).value(), vector.plaintext);
  }
}

// What we seal is what OpenSSL makes of it with the IV that we chose.
TEST(IkeCipher, SealsAsOpenSsl) {
  const Bytes header = range(8, 0x40), plaintext = range(96, 3);
  for (const EspSuite& suite : suites()) {
    const Bytes key = range(suite.key_bytes, 1), salt = range(suite.salt_bytes(), 77);
    const Bytes hmac_key = range(suite.auth_key_bytes(), 50);
    const auto cipher = IkeCipher::create(suite, joined({key, salt}), hmac_key).value();
    Bytes sealed;
    ASSERT_TRUE(cipher.seal(header, plaintext, 0x0102030405060708, sealed));
    const test::Sa sa{suite, false, key, salt, hmac_key};
    const Bytes iv = slice(sealed, 0, cipher.iv_bytes());
    EXPECT_EQ(joined({header, sealed}), test::seal_by_openssl(sa, 0x40414243, 0x44454647, iv, plaintext));
    if (suite.is_aead()) {
      EXPECT_EQ(iv, range(8, 1));
    }
  }
}

TEST(IkeCipher, EveryLengthGoesThereAndBack) {
  const Bytes header = range(32, 5);
  for (const EspSuite& suite : suites()) {
    const IkeCipher cipher = make(suite);
    for (size_t bytes = 0; bytes <= 64; bytes += cipher.block_bytes()) {
      const Bytes plaintext = range(bytes, 200);
      Bytes sealed = header;  // `associated` may lie in `out`
      ASSERT_TRUE(cipher.seal({sealed.data(), sealed.size()}, plaintext, bytes, sealed));
      ASSERT_EQ(sealed.size(), header.size() + cipher.iv_bytes() + bytes + cipher.icv_bytes());
      EXPECT_EQ(cipher.open(header, slice(sealed, 32, sealed.size() - 32)).value(), plaintext);
    }
  }
}

TEST(IkeCipher, RefusesEveryChangedBit) {
  const Bytes header = range(32, 5);
  for (const EspSuite& suite : suites()) {
    const IkeCipher cipher = make(suite), other = make(suite, 2);
    Bytes sealed;
    ASSERT_TRUE(cipher.seal(header, range(32, 8), 7, sealed));
    for (size_t at = 0; at < sealed.size(); ++at) {
      Bytes wrong = sealed;
      wrong[at] ^= static_cast<uint8_t>(1 << at % 8);
      EXPECT_FALSE(cipher.open(header, wrong)) << at;
    }
    for (size_t at = 0; at < header.size(); ++at) {
      Bytes wrong = header;
      wrong[at] ^= static_cast<uint8_t>(1 << at % 8);
      EXPECT_FALSE(cipher.open(wrong, sealed)) << at;
    }
    EXPECT_FALSE(other.open(header, sealed));
    EXPECT_FALSE(cipher.open(slice(header, 0, 31), sealed));
    for (size_t bytes = 0; bytes < sealed.size(); ++bytes)
      EXPECT_FALSE(cipher.open(header, slice(sealed, 0, bytes)));
    EXPECT_TRUE(cipher.open(header, sealed));
  }
}

TEST(IkeCipher, CbcTakesNewIvsAndPaddedTextOnly) {
  const IkeCipher cipher = make({Cipher::kAesCbc, Integrity::kHmacSha256, 32, 16});
  Bytes one, two;
  ASSERT_TRUE(cipher.seal(range(8, 0), range(16, 0), 1, one) &&
              cipher.seal(range(8, 0), range(16, 0), 1, two));
  EXPECT_NE(slice(one, 0, 16), slice(two, 0, 16));
  EXPECT_FALSE(cipher.seal(range(8, 0), range(15, 0), 1, one));
  EXPECT_EQ(one.size(), 48u);  // as before
}

TEST(IkeCipher, RefusesOtherKeys) {
  const EspSuite gcm{Cipher::kAesGcm, Integrity::kNone, 16, 16},
      cbc{Cipher::kAesCbc, Integrity::kHmacSha1, 16, 12};
  EXPECT_FALSE(IkeCipher::create(gcm, range(16, 0), {}));  // no salt
  EXPECT_FALSE(IkeCipher::create(gcm, range(20, 0), range(20, 0)));
  EXPECT_FALSE(IkeCipher::create(cbc, range(16, 0), range(19, 0)));
  EXPECT_FALSE(IkeCipher::create(cbc, range(20, 0), range(20, 0)));
  EXPECT_FALSE(IkeCipher::create({Cipher::kAesCbc, Integrity::kNone, 16, 0}, range(16, 0), {}));
  EXPECT_FALSE(IkeCipher::create({Cipher::kNull, Integrity::kHmacSha1, 0, 12}, {}, range(20, 0)));
  EXPECT_TRUE(IkeCipher::create(gcm, range(20, 0), {}) && IkeCipher::create(cbc, range(16, 0), range(20, 0)));
}

}  // namespace
}  // namespace espalier::crypto
