// crypto/fingerprint.hpp, random.hpp and wipe.hpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "crypto/fingerprint.hpp"
#include "crypto/random.hpp"
#include "crypto/wipe.hpp"

namespace espalier::crypto {
namespace {

using Bytes = std::vector<uint8_t>;

Fingerprint of(const Bytes& key, const Bytes& salt, const Bytes& auth_key = {}) {
  return fingerprint(key, salt, auth_key).value();
}

// The state file is keyed by this: it must never change. Made with
// (printf '\0\0\0\035espalier sa key fingerprint 1\0\0\0\020'; head -c16 /dev/zero; printf '\0\0\0\4abcd') |
// sha256sum
TEST(FingerprintOfKey, IsStable) {
  const Fingerprint expected{0x6d, 0x02, 0x4f, 0x2e, 0x42, 0xb9, 0xde, 0x97, 0x27, 0x1b, 0x58,
                             0x21, 0x19, 0x86, 0x53, 0xc9, 0xfe, 0xd0, 0xc4, 0x6f, 0xc9, 0xde,
                             0x49, 0xcf, 0xec, 0x9c, 0x2b, 0x05, 0x82, 0x8c, 0xb6, 0xe0};
  EXPECT_EQ(of(Bytes(16), {'a', 'b', 'c', 'd'}), expected);
}

// (printf '\0\0\0\035espalier sa key fingerprint 1\0\0\0\020'; head -c16 /dev/zero; printf
// '\0\0\0\0\0\0\0\024'; head -c20 /dev/zero) | sha256sum
TEST(FingerprintOfKey, CoversTheIntegrityKey) {
  const Fingerprint expected{0x63, 0x18, 0x0a, 0x93, 0x69, 0x65, 0x9a, 0x76, 0x4f, 0x9b, 0x7c,
                             0xf9, 0x31, 0x7c, 0x62, 0x30, 0x11, 0x90, 0x17, 0x75, 0x0f, 0xe3,
                             0xc6, 0xd3, 0x56, 0x15, 0xe1, 0xba, 0x12, 0x40, 0xe9, 0xf4};
  EXPECT_EQ(of(Bytes(16), {}, Bytes(20)), expected);
  const std::set<Fingerprint> all{of(Bytes(16), {}),
                                  of(Bytes(16), {}, Bytes(20)),
                                  of(Bytes(16), {}, Bytes(32)),
                                  of(Bytes(16), {}, Bytes(20, 1)),
                                  of({}, {}, Bytes(20)),
                                  of(Bytes(16), Bytes(20))};
  EXPECT_EQ(all.size(), 6u);
}

TEST(FingerprintOfKey, TellsKeysSaltsAndTheirBorderApart) {
  const std::set<Fingerprint> all{of(Bytes(16), Bytes(4)),    of(Bytes(24), Bytes(4)),
                                  of(Bytes(32), Bytes(4)),    of(Bytes(15), Bytes(5)),
                                  of(Bytes(17), Bytes(3)),    of(Bytes(16, 1), Bytes(4)),
                                  of(Bytes(16), Bytes(4, 1)), of(Bytes(20), Bytes(0))};
  EXPECT_EQ(all.size(), 8u);
}

TEST(Random, FillsEveryByteAndNeverTheSame) {
  Bytes first(4096);
  Bytes second(4096);
  ASSERT_TRUE(fill_random(first));
  ASSERT_TRUE(fill_random(second));
  EXPECT_NE(first, second);
  EXPECT_GT(std::set<uint8_t>(first.end() - 1024, first.end()).size(), 200u);
  EXPECT_TRUE(fill_random({}));
}

TEST(Wipe, SecretBytesForgetWhenMovedAndWhenTheyDie) {
  using Secret = SecretBytes<32>;
  alignas(Secret) unsigned char memory[sizeof(Secret)];
  auto* secret = new (memory) Secret;
  std::ranges::fill(secret->span(), 0xaa);
  Secret moved(std::move(*secret));
  EXPECT_TRUE(std::ranges::all_of(secret->span(), [](uint8_t byte) { return byte == 0; }));
  EXPECT_EQ(moved.span()[31], 0xaa);
  *secret = std::move(moved);
  EXPECT_EQ(secret->span()[31], 0xaa);
  secret->~Secret();
  EXPECT_TRUE(std::all_of(std::launder(memory), std::launder(memory) + sizeof memory,
                          [](unsigned char byte) { return byte == 0; }));
}

TEST(Wipe, AtExitOfAScope) {
  uint64_t key = 42;
  {
    const WipeAtExit guard(key);
    EXPECT_EQ(key, 42u);
  }
  EXPECT_EQ(key, 0u);
}

}  // namespace
}  // namespace espalier::crypto
