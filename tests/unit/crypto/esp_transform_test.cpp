// crypto/esp_transform.hpp against OpenSSL: every suite, size, run length and sequence number; and what must
// be refused. Packets lie before a page that faults, so that IPsec-MB's assembler cannot read too far
// unnoticed.
#include "crypto/esp_transform.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "tests/unit/crypto/esp_openssl.hpp"

namespace espalier::crypto {
namespace {

using test::Bytes;
using test::Sa;

static_assert(!std::is_copy_constructible_v<EspKey> && std::is_nothrow_move_constructible_v<EspKey>);
static_assert(!std::is_default_constructible_v<Authenticated> &&
              !std::is_copy_constructible_v<Authenticated>);
static_assert(!std::is_constructible_v<Verdict, bool>);

constexpr uint32_t kSpi = 0xc0ffee01;

std::vector<EspSuite> all_suites() {
  std::vector<EspSuite> suites{{Cipher::kChaCha20Poly1305, Integrity::kNone, 32, 16}};
  for (const uint8_t key_bytes : {16, 24, 32})
    for (const uint8_t icv_bytes : {8, 12, 16})
      suites.push_back({Cipher::kAesGcm, Integrity::kNone, key_bytes, icv_bytes});
  for (const Integrity integrity :
       {Integrity::kHmacSha1, Integrity::kHmacSha256, Integrity::kHmacSha384, Integrity::kHmacSha512}) {
    for (const uint8_t icv_bytes : {12, 16, 20, 24, 32, 48, 64}) {
      const EspSuite null{Cipher::kNull, integrity, 0, icv_bytes};
      if (icv_bytes > null.auth_key_bytes()) continue;
      suites.push_back(null);
      for (const uint8_t key_bytes : {16, 24, 32})
        suites.push_back({Cipher::kAesCbc, integrity, key_bytes, icv_bytes});
    }
  }
  return suites;
}

std::string name_of(const EspSuite& suite) {
  const char* ciphers[] = {"Null", "AesCbc", "AesGcm", "ChaCha"};
  const char* hashes[] = {"", "Sha1", "Sha256", "Sha384", "Sha512"};
  return ciphers[static_cast<int>(suite.cipher)] + std::to_string(suite.key_bytes * 8) +
         hashes[static_cast<int>(suite.integrity)] + "Icv" + std::to_string(suite.icv_bytes);
}

class EspTransform : public testing::Test {
 protected:
  // A piece of random bytes that are made once: making them for each packet takes longer than the tests.
  Bytes random_bytes(size_t count) {
    static const Bytes pool = [] {
      std::mt19937 random(3602);
      Bytes bytes(1u << 17);
      for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
      return bytes;
    }();
    const auto begin = pool.begin() + static_cast<ptrdiff_t>(random_() % (pool.size() - count));
    return {begin, begin + static_cast<ptrdiff_t>(count)};
  }
  Sa random_sa(const EspSuite& suite, bool esn) {
    return {suite, esn, random_bytes(suite.key_bytes), random_bytes(suite.salt_bytes()),
            random_bytes(suite.auth_key_bytes())};
  }
  EspKey make_key(const Sa& sa) {
    return engine_.make_key(sa.suite, sa.esn, sa.key, sa.salt, sa.auth_key).value();
  }

  // Packets of one run, at the ends of guarded pages.
  struct Run {
    std::vector<Bytes> plain;
    std::vector<uint64_t> sequences;
    std::vector<Bytes> packets;  // as they were placed
    std::vector<EspJob> jobs;
    std::vector<test::GuardedPage> pages;
  };

  static Bytes content(const Run& run, size_t i) {
    return {run.jobs[i].esp, run.jobs[i].esp + run.packets[i].size()};
  }
  static Bytes payload(const EspSuite& suite, const Run& run, size_t i) {
    const uint8_t* begin = run.jobs[i].esp + kEspHeaderBytes + suite.iv_bytes();
    return {begin, begin + run.jobs[i].payload_bytes};
  }

  // Plain packets of these sizes, ready for seal().
  Run plain_run(const EspSuite& suite, const std::vector<size_t>& sizes) {
    Run run;
    for (const size_t size : sizes) {
      const Bytes plain = random_bytes(size);
      const uint64_t sequence = uint64_t{random_()} << 32 | random_();
      Bytes packet(kEspHeaderBytes + suite.iv_bytes() + size + suite.icv_bytes);
      for (int i = 0; i < 4; ++i) {
        packet[static_cast<size_t>(i)] = static_cast<uint8_t>(kSpi >> (24 - 8 * i));
        packet[static_cast<size_t>(4 + i)] = static_cast<uint8_t>(sequence >> (24 - 8 * i));
      }
      std::ranges::copy(plain, packet.begin() + static_cast<ptrdiff_t>(kEspHeaderBytes + suite.iv_bytes()));
      run.plain.push_back(plain);
      run.sequences.push_back(sequence);
      place(run, std::move(packet), static_cast<uint32_t>(size), static_cast<uint32_t>(sequence >> 32));
    }
    return run;
  }
  static void place(Run& run, Bytes packet, uint32_t payload_bytes, uint32_t high) {
    run.pages.emplace_back();
    run.jobs.push_back({run.pages.back().place(packet), payload_bytes, high});
    run.packets.push_back(std::move(packet));
  }
  // The same packets as they are now, in pages of their own.
  static Run copy_of(const Run& from) {
    Run run;
    run.plain = from.plain;
    run.sequences = from.sequences;
    for (size_t i = 0; i < from.jobs.size(); ++i)
      place(run, content(from, i), from.jobs[i].payload_bytes, from.jobs[i].sequence_high);
    return run;
  }
  Run sealed_run(const EspKey& key, const std::vector<size_t>& sizes) {
    Run run = plain_run(key.suite(), sizes);
    engine_.seal(key, run.jobs);
    return copy_of(run);
  }
  std::vector<bool> open(const EspKey& key, const Run& run) {
    std::vector<Verdict> verdicts(run.jobs.size());
    engine_.open(key, run.jobs, verdicts);
    std::vector<bool> authentic;
    for (const Verdict& verdict : verdicts) {
      EXPECT_EQ(verdict.authentic(), verdict.proof() != nullptr);
      authentic.push_back(verdict.authentic());
    }
    return authentic;
  }

  EspEngine engine_ = EspEngine::create().value();
  std::mt19937 random_{4303};
};

class EverySuite : public EspTransform, public testing::WithParamInterface<EspSuite> {
 protected:
  // Seals, compares with OpenSSL, opens.
  void check_run(const Sa& sa, const EspKey& key, const std::vector<size_t>& sizes) {
    Run run = plain_run(sa.suite, sizes);
    engine_.seal(key, run.jobs);
    for (size_t i = 0; i < sizes.size(); ++i) {
      const Bytes packet = content(run, i);
      const Bytes iv(packet.begin() + kEspHeaderBytes,
                     packet.begin() + kEspHeaderBytes + sa.suite.iv_bytes());
      ASSERT_EQ(packet, test::seal_by_openssl(sa, kSpi, run.sequences[i], iv, run.plain[i])) << sizes[i];
      if (sa.suite.is_aead()) check_counting_iv(sa, iv, run.sequences[i]);
    }
    const auto authentic = open(key, run);
    for (size_t i = 0; i < sizes.size(); ++i) {
      ASSERT_TRUE(authentic[i]) << sizes[i];
      ASSERT_EQ(payload(sa.suite, run, i), run.plain[i]) << sizes[i];
    }
  }
  static void check_counting_iv(const Sa& sa, const Bytes& iv, uint64_t sequence) {
    uint64_t value = 0;
    for (const uint8_t byte : iv) value = value << 8 | byte;
    ASSERT_EQ(value, sa.esn ? sequence : sequence & 0xffffffff);
  }
  // Sizes that may follow each other, so that a run has different ones.
  size_t random_size() { return random_() % (2000 / step() + 1) * step(); }
  size_t step() const { return GetParam().cipher == Cipher::kAesCbc ? 16 : 1; }
};

TEST_P(EverySuite, EverySizeAgreesWithOpenSsl) {
  for (const bool esn : {false, true}) {
    const Sa sa = random_sa(GetParam(), esn);
    const EspKey key = make_key(sa);
    std::vector<size_t> sizes;
    size_t run_length = 1;
    for (size_t size = 0; size <= 2000; size += step()) {
      sizes.push_back(size);
      if (sizes.size() < run_length && size + step() <= 2000) continue;
      check_run(sa, key, sizes);
      if (HasFatalFailure()) return;
      sizes.clear();
      run_length = run_length % 64 + 1;
    }
  }
}

TEST_P(EverySuite, EveryRunLengthAgreesWithOpenSsl) {
  const Sa sa = random_sa(GetParam(), true);
  const EspKey key = make_key(sa);
  for (const size_t length : {0u, 1u, 2u, 7u, 8u, 9u, 15u, 16u, 17u, 24u, 31u, 33u, 63u, 64u, 65u, 130u}) {
    std::vector<size_t> sizes(length);
    for (size_t& size : sizes) size = random_size();
    check_run(sa, key, sizes);
    if (HasFatalFailure()) return;
  }
}

// In a run of 40, the packets between have a byte changed; every byte is at some time.
TEST_P(EverySuite, EveryForgedByteIsNoticedAndDoesNotTouchNeighbours) {
  for (const bool esn : {false, true}) {
    const EspKey key = make_key(random_sa(GetParam(), esn));
    const Run sealed = sealed_run(key, std::vector<size_t>(40, 48));
    const size_t bytes = sealed.packets[0].size();
    for (size_t at = 0; at < bytes; at += 20) {
      Run run = copy_of(sealed);
      for (size_t i = 0; i < 20; ++i)
        run.jobs[2 * i].esp[(at + i) % bytes] ^= static_cast<uint8_t>(1u << i % 8);
      const Run forged = copy_of(run);
      const auto authentic = open(key, run);
      for (size_t i = 0; i < 40; ++i) {
        ASSERT_EQ(authentic[i], i % 2 == 1) << at << " " << i;
        if (i % 2 == 1) {
          ASSERT_EQ(payload(GetParam(), run, i), sealed.plain[i]);
        } else if (!GetParam().is_aead()) {
          // Nothing was decrypted before the ICV was known to be right, and the ESN did not stay in its
          // place.
          ASSERT_EQ(content(run, i), forged.packets[i]);
        }
      }
    }
  }
}

TEST_P(EverySuite, TheHighHalfOfTheNumberCountsWithEsnOnly) {
  for (const bool esn : {false, true}) {
    const EspKey key = make_key(random_sa(GetParam(), esn));
    Run run = sealed_run(key, {64});
    run.jobs[0].sequence_high ^= 0x100;
    EXPECT_EQ(open(key, run)[0], !esn);
  }
}

TEST_P(EverySuite, LargestPacketAgreesWithOpenSsl) {
  const Sa sa = random_sa(GetParam(), true);
  const EspSuite& suite = sa.suite;
  const EspKey key = make_key(sa);
  const size_t size = kMaxPayloadBytes / 16 * 16;
  const Bytes plain = random_bytes(size);
  Bytes packet(kEspHeaderBytes + suite.iv_bytes() + size + suite.icv_bytes);
  std::ranges::copy(plain, packet.begin() + kEspHeaderBytes + suite.iv_bytes());
  const EspJob job{packet.data(), static_cast<uint32_t>(size), 9};
  engine_.seal(key, {&job, 1});
  const Bytes iv(packet.begin() + kEspHeaderBytes, packet.begin() + kEspHeaderBytes + suite.iv_bytes());
  EXPECT_TRUE(packet == test::seal_by_openssl(sa, 0, 9ull << 32, iv, plain));
  Verdict verdict;
  engine_.open(key, {&job, 1}, {&verdict, 1});
  EXPECT_TRUE(verdict.authentic());
  EXPECT_TRUE(std::equal(plain.begin(), plain.end(), packet.begin() + kEspHeaderBytes + suite.iv_bytes()));
}

// A verdict array that is used again must not keep what an earlier burst found.
TEST_P(EverySuite, VerdictsAreOverwritten) {
  const EspKey key = make_key(random_sa(GetParam(), false));
  const Run run = sealed_run(key, {32});
  const Run again = copy_of(run);
  Verdict verdict;
  engine_.open(key, run.jobs, {&verdict, 1});
  ASSERT_TRUE(verdict.authentic());
  again.jobs[0].esp[again.packets[0].size() - 1] ^= 1;
  engine_.open(key, again.jobs, {&verdict, 1});
  EXPECT_FALSE(verdict.authentic());
}

TEST_P(EverySuite, EnginesShareKeys) {
  EspEngine other = EspEngine::create().value();
  EXPECT_EQ(other.implementation(), engine_.implementation());
  const Sa sa = random_sa(GetParam(), true);
  const EspKey key = other.make_key(sa.suite, sa.esn, sa.key, sa.salt, sa.auth_key).value();
  const Run run = plain_run(sa.suite, {320, 16});
  other.seal(key, run.jobs);
  EXPECT_EQ(open(key, run), std::vector<bool>(2, true));
}

INSTANTIATE_TEST_SUITE_P(Suites, EverySuite, testing::ValuesIn(all_suites()),
                         [](const auto& info) { return name_of(info.param); });

TEST(EspSuiteValues, AreWhatTheStandardsSay) {
  constexpr EspSuite gcm{Cipher::kAesGcm, Integrity::kNone, 16, 16};
  static_assert(gcm.iv_bytes() == 8 && gcm.salt_bytes() == 4 && gcm.align_bytes() == 4);
  constexpr EspSuite cbc{Cipher::kAesCbc, Integrity::kHmacSha384, 32, 24};
  static_assert(cbc.iv_bytes() == 16 && cbc.salt_bytes() == 0 && cbc.align_bytes() == 16);
  constexpr EspSuite null{Cipher::kNull, Integrity::kHmacSha1, 0, 12};
  static_assert(null.iv_bytes() == 0 && null.align_bytes() == 4 && null.auth_key_bytes() == 20);
  static_assert(gcm == gcm && gcm != cbc);
  for (const EspSuite& suite : all_suites()) EXPECT_EQ(suite.why_invalid(), nullptr) << name_of(suite);
}

TEST(EspSuiteValues, OtherCombinationsAreRefused) {
  const EspSuite wrong[] = {
      {Cipher::kNull, Integrity::kNone, 0, 0},
      {Cipher::kAesCbc, Integrity::kNone, 16, 16},
      {Cipher::kAesGcm, Integrity::kHmacSha1, 16, 12},
      {Cipher::kChaCha20Poly1305, Integrity::kHmacSha256, 32, 16},
      {Cipher::kAesGcm, Integrity::kNone, 20, 16},
      {Cipher::kAesGcm, Integrity::kNone, 16, 4},
      {Cipher::kAesGcm, Integrity::kNone, 16, 0},
      {Cipher::kChaCha20Poly1305, Integrity::kNone, 32, 12},
      {Cipher::kChaCha20Poly1305, Integrity::kNone, 16, 16},
      {Cipher::kAesCbc, Integrity::kHmacSha1, 0, 12},
      {Cipher::kAesCbc, Integrity::kHmacSha1, 16, 24},
      {Cipher::kAesCbc, Integrity::kHmacSha256, 16, 8},
      {Cipher::kAesCbc, Integrity::kHmacSha256, 16, 0},
      {Cipher::kAesCbc, Integrity::kHmacSha256, 16, 14},
      {Cipher::kNull, Integrity::kHmacSha256, 16, 16},
  };
  const EspEngine engine = EspEngine::create().value();
  for (const EspSuite& suite : wrong) {
    EXPECT_NE(suite.why_invalid(), nullptr) << name_of(suite);
    EXPECT_FALSE(engine.make_key(suite, false, Bytes(suite.key_bytes), Bytes(suite.salt_bytes()),
                                 Bytes(suite.auth_key_bytes())))
        << name_of(suite);
  }
}

TEST_F(EspTransform, KeysOfOtherLengthsAreRefused) {
  for (const EspSuite& suite : all_suites()) {
    const size_t key = suite.key_bytes, salt = suite.salt_bytes(), auth = suite.auth_key_bytes();
    const auto made = [&](size_t key_bytes, size_t salt_bytes, size_t auth_bytes) {
      return engine_.make_key(suite, false, Bytes(key_bytes), Bytes(salt_bytes), Bytes(auth_bytes))
          .has_value();
    };
    EXPECT_TRUE(made(key, salt, auth)) << name_of(suite);
    EXPECT_FALSE(made(key + 8, salt, auth) || made(key + 1, salt, auth)) << name_of(suite);
    EXPECT_FALSE(made(key, salt + 1, auth) || made(key, salt, auth + 1)) << name_of(suite);
    EXPECT_FALSE(key && made(key - 8, salt, auth)) << name_of(suite);
    EXPECT_FALSE(salt && made(key, 0, auth)) << name_of(suite);
    EXPECT_FALSE(auth && (made(key, salt, 0) || made(key, salt, auth - 1))) << name_of(suite);
  }
}

// The packet ends where the fault begins: a cipher that rounds the length up would not come back.
TEST_F(EspTransform, ImpossibleLengthsAreNotAuthentic) {
  for (const Integrity integrity : {Integrity::kHmacSha1, Integrity::kHmacSha512}) {
    for (const bool esn : {false, true}) {
      const Sa sa = random_sa({Cipher::kAesCbc, integrity, 16, 12}, esn);
      const EspKey key = make_key(sa);
      for (size_t size = 1; size < 64; ++size) {
        if (size % 16 == 0) continue;
        Run run = sealed_run(key, {size / 16 * 16, 64});
        // What a peer with the key but another idea of CBC would send: the ICV fits the length.
        const Sa like_null{{Cipher::kNull, integrity, 0, 12}, esn, {}, {}, sa.auth_key};
        const Bytes packet = test::seal_by_openssl(like_null, kSpi, 7, {}, random_bytes(16 + size));
        place(run, packet, static_cast<uint32_t>(size), 0);
        std::swap(run.jobs[0], run.jobs[2]);
        EXPECT_EQ(open(key, run), (std::vector<bool>{false, true, true})) << size;
        EXPECT_EQ(payload(sa.suite, run, 1), run.plain[1]);
        EXPECT_TRUE(std::equal(packet.begin(), packet.end(), run.jobs[0].esp));
      }
    }
  }
}

TEST_F(EspTransform, LengthsBeyondEveryPacketAreNotAuthentic) {
  Bytes packet(64);
  for (const EspSuite suite : {EspSuite{Cipher::kAesCbc, Integrity::kHmacSha256, 16, 16},
                               EspSuite{Cipher::kNull, Integrity::kHmacSha1, 0, 12}}) {
    const EspKey key = make_key(random_sa(suite, true));
    for (const uint32_t bytes : {0x10000u, 0x100000u, 0xfffffff0u}) {
      const EspJob job{packet.data(), bytes, 0};
      Verdict verdict;
      engine_.open(key, {&job, 1}, {&verdict, 1});
      EXPECT_FALSE(verdict.authentic());
    }
  }
}

// RFC 3602 section 3: not a counter, and not told by another SA or engine.
TEST_F(EspTransform, CbcNeverUsesAnIvAgain) {
  const EspSuite suite{Cipher::kAesCbc, Integrity::kHmacSha1, 16, 12};
  EspEngine other = EspEngine::create().value();
  std::set<Bytes> ivs;
  std::set<int> first_bytes;
  size_t sealed = 0;
  for (int round = 0; round < 40; ++round) {
    const EspKey key = make_key(random_sa(suite, false));
    for (EspEngine* engine : {&engine_, &other}) {
      Run run = plain_run(suite, std::vector<size_t>(10, 16));
      for (const EspJob& job : run.jobs) std::fill_n(job.esp, kEspHeaderBytes, uint8_t{1});
      engine->seal(key, run.jobs);
      for (const EspJob& job : run.jobs) {
        ivs.emplace(job.esp + kEspHeaderBytes, job.esp + kEspHeaderBytes + 16);
        first_bytes.insert(job.esp[kEspHeaderBytes]);
        ++sealed;
      }
    }
  }
  EXPECT_EQ(ivs.size(), sealed);
  EXPECT_GT(first_bytes.size(), 200u);
}

TEST_F(EspTransform, MovedAndDestroyedKeysAreWiped) {
  // The suite may stay; it is no secret.
  const auto is_zero = [](const unsigned char* at) {
    return std::all_of(at + sizeof(EspSuite) + sizeof(uint32_t), at + sizeof(EspKey),
                       [](unsigned char byte) { return byte == 0; });
  };
  for (const EspSuite& suite : all_suites()) {
    alignas(EspKey) unsigned char from[sizeof(EspKey)] = {};
    alignas(EspKey) unsigned char to[sizeof(EspKey)] = {};
    auto* first = new (from) EspKey(make_key(random_sa(suite, true)));
    EXPECT_FALSE(is_zero(from));
    auto* second = new (to) EspKey(std::move(*first));
    EXPECT_TRUE(is_zero(from));
    EXPECT_FALSE(is_zero(to));
    *first = std::move(*second);
    EXPECT_TRUE(is_zero(to));
    EXPECT_FALSE(is_zero(from));
    first->~EspKey();
    EXPECT_TRUE(is_zero(std::launder(from)));
    second->~EspKey();
  }
}

}  // namespace
}  // namespace espalier::crypto
