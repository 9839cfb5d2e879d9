// Key derivation against NIST's vectors, against what strongSwan derived, and against RFC 7296 read once
// more.
#include "ike/sa/keys.hpp"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "tests/unit/ike_sa/vector_file.hpp"

namespace espalier::ike::test {
namespace {

using crypto::Cipher;
using crypto::Integrity;
using crypto::Prf;

uint64_t spi(const Bytes& bytes) {
  uint64_t value = 0;
  for (const uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

// All 132 bytes of NIST's key material: 3 * 20 + 2 * 36.
constexpr IkeSuite kNistSuite{.protection = {Cipher::kAesGcm, Integrity::kNone, 32, 16},
                              .prf = Prf::kHmacSha1};

Bytes joined(const IkeKeys& keys) {
  Bytes all;
  for (const crypto::Secret* key : {&keys.d, &keys.ai, &keys.ar, &keys.ei, &keys.er, &keys.pi, &keys.pr})
    all.insert(all.end(), key->view().begin(), key->view().end());
  return all;
}

struct Recorded {
  IkeSuite ike;
  EspAlgorithm esp;
};
Recorded suites_of(const std::string& name) {
  if (name == "strongswan gcm")
    return {{{Cipher::kAesGcm, Integrity::kNone, 32, 16}, Prf::kHmacSha256, 19},
            {EspCipher::kAesGcm, EspIntegrity::kNone, 32, 16}};
  if (name == "strongswan cbc")
    return {{{Cipher::kAesCbc, Integrity::kHmacSha384, 32, 24}, Prf::kHmacSha384, 20},
            {EspCipher::kAesCbc, EspIntegrity::kHmacSha256, 32, 16}};
  if (name == "strongswan cha")
    return {{{Cipher::kChaCha20Poly1305, Integrity::kNone, 32, 16}, Prf::kHmacSha512, 31},
            {EspCipher::kChaCha20Poly1305, EspIntegrity::kNone, 32, 16}};
  throw std::runtime_error("no suite for " + name);
}

KeySeed seed_of(const Vector& vector) {
  const Bytes& response = vector["message_r"];
  return {vector["ni"], vector["nr"], spi({response.begin(), response.begin() + 8}),
          spi({response.begin() + 8, response.begin() + 16})};
}

// Cipher key with the salt behind it, as strongSwan logs it.
Bytes with_salt(const DirectionKeys& keys) {
  Bytes all = bytes(keys.cipher);
  all.insert(all.end(), keys.salt.view().begin(), keys.salt.view().end());
  return all;
}

void expect_child(const ChildKeys& initiator, const ChildKeys& responder, const Vector& vector,
                  const std::string& kind) {
  EXPECT_EQ(with_salt(initiator.out), vector[kind + "_ei"]);
  EXPECT_EQ(bytes(initiator.out.integrity), vector[kind + "_ai"]);
  EXPECT_EQ(with_salt(initiator.in), vector[kind + "_er"]);
  EXPECT_EQ(bytes(initiator.in.integrity), vector[kind + "_ar"]);
  EXPECT_EQ(with_salt(responder.in), vector[kind + "_ei"]);
  EXPECT_EQ(bytes(responder.in.integrity), vector[kind + "_ai"]);
  EXPECT_EQ(with_salt(responder.out), vector[kind + "_er"]);
  EXPECT_EQ(bytes(responder.out.integrity), vector[kind + "_ar"]);
}

TEST(Keys, NistIkeSa) {
  for (const Vector& vector : read_vectors("nist_kdf.txt")) {
    SCOPED_TRACE(vector.name);
    const KeySeed seed{vector["ni"], vector["nr"], spi(vector["spi_i"]), spi(vector["spi_r"])};
    const auto keys = derive_ike_keys(kNistSuite, vector["gir"], seed);
    ASSERT_TRUE(keys);
    const Bytes all = joined(*keys);
    ASSERT_EQ(all.size(), 132u);
    EXPECT_EQ(all, vector["dkm"]);
    EXPECT_EQ(keys->d.size(), 20u);
    EXPECT_EQ(keys->ei.size(), 36u);
    EXPECT_EQ(keys->pr.size(), 20u);
    EXPECT_TRUE(keys->ai.empty() && keys->ar.empty());
  }
}

// The vectors have SKEYSEED of the rekey; what is made from it is as ever.
TEST(Keys, NistRekey) {
  for (const Vector& vector : read_vectors("nist_kdf.txt")) {
    SCOPED_TRACE(vector.name);
    const Bytes old_d(vector["dkm"].begin(), vector["dkm"].begin() + 20);
    const KeySeed seed{vector["ni"], vector["nr"], 0x0102030405060708, 0x1112131415161718};
    const auto keys = rekey_ike_keys(kNistSuite, Prf::kHmacSha1, old_d, vector["gir_new"], seed);
    const Bytes spis = espalier::test::from_hex("01020304050607081112131415161718");
    const auto expected =
        crypto::prf_plus(Prf::kHmacSha1, vector["skeyseed_rekey"], {vector["ni"], vector["nr"], spis}, 132);
    ASSERT_TRUE(keys && expected);
    EXPECT_EQ(joined(*keys), bytes(*expected));
  }
}

TEST(Keys, NistChild) {
  int checked = 0;
  for (const Vector& vector : read_vectors("nist_kdf.txt")) {
    if (!vector.has("child")) continue;
    SCOPED_TRACE(vector.name);
    ++checked;
    const Bytes d(vector["dkm"].begin(), vector["dkm"].begin() + 20);
    const EspAlgorithm algorithm{EspCipher::kAesCbc, EspIntegrity::kHmacSha256, 32, 16};
    const KeySeed seed{vector["ni"], vector["nr"]};
    for (const bool pfs : {false, true}) {
      const Bytes shared = pfs ? vector["gir_new"] : Bytes{};
      const auto keys = derive_child_keys(algorithm, Prf::kHmacSha1, d, shared, seed, true);
      ASSERT_TRUE(keys);
      Bytes all;
      for (const crypto::Secret* key :
           {&keys->out.cipher, &keys->out.integrity, &keys->in.cipher, &keys->in.integrity})
        all.insert(all.end(), key->view().begin(), key->view().end());
      const Bytes& expected = vector[pfs ? "child_dh" : "child"];
      EXPECT_EQ(all, Bytes(expected.begin(), expected.begin() + 128));
    }
  }
  EXPECT_EQ(checked, 1);
}

TEST(Keys, StrongSwanIkeSa) {
  for (const Vector& vector : read_vectors("strongswan.txt")) {
    SCOPED_TRACE(vector.name);
    const auto keys = derive_ike_keys(suites_of(vector.name).ike, vector["gir"], seed_of(vector));
    ASSERT_TRUE(keys);
    EXPECT_EQ(bytes(keys->d), vector["d"]);
    EXPECT_EQ(bytes(keys->ai), vector["ai"]);
    EXPECT_EQ(bytes(keys->ar), vector["ar"]);
    EXPECT_EQ(bytes(keys->ei), vector["ei"]);
    EXPECT_EQ(bytes(keys->er), vector["er"]);
    EXPECT_EQ(bytes(keys->pi), vector["pi"]);
    EXPECT_EQ(bytes(keys->pr), vector["pr"]);
    EXPECT_EQ(joined(keys->clone()), joined(*keys));
  }
}

TEST(Keys, StrongSwanChildren) {
  for (const Vector& vector : read_vectors("strongswan.txt")) {
    SCOPED_TRACE(vector.name);
    const Recorded suites = suites_of(vector.name);
    const auto derive = [&](const Bytes& shared, const KeySeed& seed, bool initiator) {
      return derive_child_keys(suites.esp, suites.ike.prf, vector["d"], shared, seed, initiator).value();
    };
    const KeySeed first = seed_of(vector), second{vector["pfs_ni"], vector["pfs_nr"]};
    expect_child(derive({}, first, true), derive({}, first, false), vector, "child");
    expect_child(derive(vector["pfs_gir"], second, true), derive(vector["pfs_gir"], second, false), vector,
                 "pfs");
  }
}

// RFC 7296 section 2.18: SKEYSEED by the old prf, SK_* by the new one. Here they differ.
TEST(Keys, RekeyToAnotherPrf) {
  const Bytes old_d(32, 7), shared(32, 9), ni(32, 1), nr(32, 2);
  const KeySeed seed{ni, nr, 3, 4};
  IkeSuite suite = kNistSuite;
  suite.prf = Prf::kHmacSha512;
  Bytes input = shared;
  input.insert(input.end(), ni.begin(), ni.end());
  input.insert(input.end(), nr.begin(), nr.end());
  Bytes skeyseed(32);
  ASSERT_NE(::HMAC(::EVP_sha256(), old_d.data(), 32, input.data(), input.size(), skeyseed.data(), nullptr),
            nullptr);
  Bytes first = ni;  // T1 = prf(SKEYSEED, Ni | Nr | SPIi | SPIr | 0x01), 64 bytes: SK_d
  first.insert(first.end(), nr.begin(), nr.end());
  for (const uint8_t last : {3, 4}) {
    first.insert(first.end(), 7, 0);
    first.push_back(last);
  }
  first.push_back(1);
  Bytes d(64);
  ASSERT_NE(::HMAC(::EVP_sha512(), skeyseed.data(), 32, first.data(), first.size(), d.data(), nullptr),
            nullptr);
  EXPECT_EQ(bytes(rekey_ike_keys(suite, Prf::kHmacSha256, old_d, shared, seed).value().d), d);
  EXPECT_NE(bytes(rekey_ike_keys(suite, Prf::kHmacSha512, old_d, shared, seed).value().d), d);
}

TEST(Keys, CiphersOfBothSidesFit) {
  for (const Vector& vector : read_vectors("strongswan.txt")) {
    SCOPED_TRACE(vector.name);
    const IkeSuite suite = suites_of(vector.name).ike;
    const IkeKeys keys = derive_ike_keys(suite, vector["gir"], seed_of(vector)).value();
    const auto ours = make_ike_cipher(suite, keys, true), theirs = make_ike_cipher(suite, keys, false);
    ASSERT_TRUE(ours && theirs);
    const Bytes head(32, 5), plain(16, 6);
    Bytes sealed;
    ASSERT_TRUE(ours->seal(head, plain, 1, sealed));
    EXPECT_EQ(ours->open(head, sealed), plain);
    EXPECT_FALSE(theirs->open(head, sealed)) << "both directions have one key";
  }
}

TEST(Keys, RecordHoldsTheKeysAndNothingElse) {
  SaRecord record;
  std::ranges::fill(record.key, 0xff);
  std::ranges::fill(record.salt, 0xff);
  std::ranges::fill(record.auth_key, 0xff);
  DirectionKeys keys;
  keys.cipher = crypto::Secret(Bytes(16, 1));
  keys.integrity = crypto::Secret(Bytes(20, 2));
  put_keys(keys, record);
  Bytes key(32, 0), auth_key(64, 0);
  std::fill_n(key.begin(), 16, 1);
  std::fill_n(auth_key.begin(), 20, 2);
  EXPECT_EQ(bytes(record.key), key);
  EXPECT_EQ(bytes(record.salt), Bytes(4, 0));
  EXPECT_EQ(bytes(record.auth_key), auth_key);
}

}  // namespace
}  // namespace espalier::ike::test
