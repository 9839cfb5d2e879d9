// crypto/gcm.hpp against published vectors and against OpenSSL.
#include "crypto/gcm.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/crypto/vectors.hpp"

namespace espalier::crypto {
namespace {

using test::Bytes;
using test::GcmVector;

static_assert(!std::is_copy_constructible_v<GcmKey> && std::is_nothrow_move_constructible_v<GcmKey>);
static_assert(!std::is_default_constructible_v<Authenticated> &&
              !std::is_copy_constructible_v<Authenticated>);
static_assert(!std::is_constructible_v<Verdict, bool>);

GcmEngine make_engine() {
  auto engine = GcmEngine::create();
  if (!engine) throw std::runtime_error(engine.error());
  return std::move(*engine);
}

// A packet whose parts are vectors, so that a sanitizer sees every byte beyond.
struct Packet {
  Bytes data;
  Bytes nonce;
  Bytes aad;
  Bytes tag;
  GcmJob job() {
    return {data.data(), static_cast<uint32_t>(data.size()), nonce.data(),
            aad.data(),  static_cast<uint32_t>(aad.size()),  tag.data()};
  }
};

class Gcm : public testing::Test {
 protected:
  GcmKey expand(const Bytes& key) { return engine_.expand_key(key).value(); }
  Bytes random_bytes(size_t count) {
    Bytes bytes(count);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random_());
    return bytes;
  }
  bool decrypt_one(const GcmKey& key, Packet& packet) {
    const GcmJob job = packet.job();
    Verdict verdict;
    engine_.decrypt(key, {&job, 1}, {&verdict, 1});
    EXPECT_EQ(verdict.authentic(), verdict.proof() != nullptr);
    return verdict.authentic();
  }
  GcmEngine engine_ = make_engine();
  std::mt19937 random_{4106};
};

TEST_F(Gcm, VerdictIsNotAuthenticUntilDecryptSaysSo) {
  EXPECT_FALSE(Verdict().authentic());
  EXPECT_EQ(Verdict().proof(), nullptr);
}

TEST_F(Gcm, KeysOfOtherLengthsAreRefused) {
  for (const size_t bytes : {0u, 1u, 15u, 17u, 20u, 31u, 33u, 36u, 64u})
    EXPECT_FALSE(engine_.expand_key(Bytes(bytes))) << bytes;
}

class Vectors : public Gcm, public testing::WithParamInterface<const char*> {};

TEST_P(Vectors, AgreeWithOpenSslAndWithUs) {
  const auto vectors = test::read_gcm_vectors(std::string(VECTOR_DIR) + "/" + GetParam());
  ASSERT_GE(vectors.size(), 14u);
  for (const GcmVector& vector : vectors) {
    SCOPED_TRACE(vector.name);
    // The vector itself first: a typing error in the file must not look like an error of ours.
    const auto sealed = test::seal_by_openssl(vector.key, vector.nonce, vector.aad, vector.plaintext);
    ASSERT_EQ(sealed.ciphertext, vector.ciphertext);
    ASSERT_EQ(sealed.tag, vector.tag);

    const GcmKey key = expand(vector.key);
    Packet packet{vector.plaintext, vector.nonce, vector.aad, Bytes(16)};
    const GcmJob job = packet.job();
    engine_.encrypt(key, {&job, 1});
    EXPECT_EQ(packet.data, vector.ciphertext);
    EXPECT_EQ(packet.tag, vector.tag);
    EXPECT_TRUE(decrypt_one(key, packet));
    EXPECT_EQ(packet.data, vector.plaintext);
  }
}
INSTANTIATE_TEST_SUITE_P(Files, Vectors, testing::Values("esp_gcm_vectors.txt", "gcm_vectors.txt"));

// Runs of packets of every size 0..2000, each key size and ESP's two lengths of AAD.
TEST_F(Gcm, EverySizeAgreesWithOpenSsl) {
  for (const size_t key_bytes : {16u, 24u, 32u}) {
    const Bytes raw = random_bytes(key_bytes);
    const GcmKey key = expand(raw);
    std::vector<Packet> packets(2001);
    std::vector<GcmJob> jobs;
    for (size_t size = 0; size < packets.size(); ++size)
      packets[size] = {random_bytes(size), random_bytes(12), random_bytes(size % 2 == 0 ? 8 : 12), Bytes(16)};
    auto plain = packets;
    for (auto& packet : packets) jobs.push_back(packet.job());

    engine_.encrypt(key, jobs);
    for (size_t size = 0; size < packets.size(); ++size) {
      const auto sealed = test::seal_by_openssl(raw, plain[size].nonce, plain[size].aad, plain[size].data);
      ASSERT_EQ(packets[size].data, sealed.ciphertext) << size;
      ASSERT_EQ(packets[size].tag, sealed.tag) << size;
    }

    std::vector<Verdict> verdicts(jobs.size());
    engine_.decrypt(key, jobs, verdicts);
    for (size_t size = 0; size < packets.size(); ++size) {
      ASSERT_TRUE(verdicts[size].authentic()) << size;
      ASSERT_EQ(packets[size].data, plain[size].data) << size;
    }
  }
}

TEST_F(Gcm, LargestEspPacket) {
  const Bytes raw = random_bytes(16);
  Packet packet{random_bytes(65535 - 20 - 8 - 8 - 16), random_bytes(12), random_bytes(8), Bytes(16)};
  const auto sealed = test::seal_by_openssl(raw, packet.nonce, packet.aad, packet.data);
  const GcmJob job = packet.job();
  engine_.encrypt(expand(raw), {&job, 1});
  EXPECT_TRUE(packet.data == sealed.ciphertext);
  EXPECT_EQ(packet.tag, sealed.tag);
}

TEST_F(Gcm, EveryFlippedBitIsNoticed) {
  const GcmKey key = expand(random_bytes(16));
  Packet good{random_bytes(52), random_bytes(12), random_bytes(8), Bytes(16)};
  const GcmJob job = good.job();
  engine_.encrypt(key, {&job, 1});
  for (auto part : {&Packet::data, &Packet::nonce, &Packet::aad, &Packet::tag}) {
    for (size_t bit = 0; bit < (good.*part).size() * 8; ++bit) {
      Packet forged = good;
      (forged.*part)[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
      EXPECT_FALSE(decrypt_one(key, forged)) << bit;
    }
  }
  EXPECT_TRUE(decrypt_one(key, good));
}

TEST_F(Gcm, ForgedPacketsInARunDoNotTouchTheirNeighbours) {
  const GcmKey key = expand(random_bytes(32));
  std::vector<Packet> packets(64);
  std::vector<GcmJob> jobs;
  for (auto& packet : packets) packet = {random_bytes(100), random_bytes(12), random_bytes(8), Bytes(16)};
  const auto plain = packets;
  for (auto& packet : packets) jobs.push_back(packet.job());
  engine_.encrypt(key, jobs);
  for (size_t i = 0; i < packets.size(); i += 3) packets[i].tag[i % 16] ^= 0x80;
  std::vector<Verdict> verdicts(jobs.size());
  engine_.decrypt(key, jobs, verdicts);
  for (size_t i = 0; i < packets.size(); ++i) {
    EXPECT_EQ(verdicts[i].authentic(), i % 3 != 0) << i;
    EXPECT_EQ(packets[i].data, plain[i].data) << i;
  }
}

// A verdict array that is used again must not keep what an earlier burst found.
TEST_F(Gcm, VerdictsAreOverwritten) {
  const GcmKey key = expand(random_bytes(16));
  Packet packet{random_bytes(40), random_bytes(12), random_bytes(8), Bytes(16)};
  const GcmJob job = packet.job();
  engine_.encrypt(key, {&job, 1});
  Verdict verdict;
  engine_.decrypt(key, {&job, 1}, {&verdict, 1});
  ASSERT_TRUE(verdict.authentic());
  packet.tag[0] ^= 1;
  engine_.decrypt(key, {&job, 1}, {&verdict, 1});
  EXPECT_FALSE(verdict.authentic());
}

TEST_F(Gcm, EnginesShareKeys) {
  const GcmEngine other = make_engine();
  EXPECT_EQ(other.implementation(), engine_.implementation());
  const GcmKey key = other.expand_key(random_bytes(24)).value();
  Packet packet{random_bytes(300), random_bytes(12), random_bytes(8), Bytes(16)};
  const GcmJob job = packet.job();
  other.encrypt(key, {&job, 1});
  EXPECT_TRUE(decrypt_one(key, packet));
}

TEST_F(Gcm, MovedAndDestroyedKeysAreWiped) {
  const auto is_zero = [](const unsigned char* at) {
    return std::all_of(at, at + sizeof(gcm_key_data), [](unsigned char byte) { return byte == 0; });
  };
  alignas(GcmKey) unsigned char from[sizeof(GcmKey)];
  alignas(GcmKey) unsigned char to[sizeof(GcmKey)];
  auto* first = new (from) GcmKey(expand(random_bytes(16)));
  EXPECT_FALSE(is_zero(from));
  auto* second = new (to) GcmKey(std::move(*first));
  EXPECT_TRUE(is_zero(from));
  EXPECT_FALSE(is_zero(to));
  second->~GcmKey();
  EXPECT_TRUE(is_zero(std::launder(to)));
  first->~GcmKey();
}

}  // namespace
}  // namespace espalier::crypto
