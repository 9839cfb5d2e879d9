// control/shared/vault.hpp: what is read back, what a kill at any instruction leaves, what of a key remains.
#include "control/shared/vault.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "tests/unit/vault/support.hpp"

namespace espalier {
namespace {

using test::must;

SaRecord record_of(uint8_t seed) {
  SaRecord record;
  record.spi = Spi(0x1000u + seed);
  std::ranges::fill(record.key, seed);
  std::ranges::fill(record.salt, static_cast<uint8_t>(seed + 1));
  std::ranges::fill(record.auth_key, seed);
  record.name.assign("peer" + std::to_string(seed));
  return record;
}

bool same(const std::optional<SaRecord>& a, const std::optional<SaRecord>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->spi == b->spi && std::ranges::equal(a->key, b->key) && std::ranges::equal(a->salt, b->salt) &&
         std::ranges::equal(a->auth_key, b->auth_key) && a->name.view() == b->name.view();
}

// The vault's bytes by a mapping of the test's own.
class Bytes {
 public:
  explicit Bytes(const Vault& vault)
      : size_(static_cast<size_t>(::lseek(vault.fd().get(), 0, SEEK_END))),
        at_(static_cast<uint8_t*>(
            ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, vault.fd().get(), 0))) {
    if (at_ == MAP_FAILED) throw std::runtime_error("mmap");
  }
  ~Bytes() { ::munmap(at_, size_); }
  std::span<uint8_t> span() const { return {at_, size_}; }
  bool contain_key(uint8_t seed) const { return std::ranges::search_n(span(), 16, seed).size() != 0; }
  void copy_to(const Bytes& other) const { std::ranges::copy(span(), other.span().begin()); }

 private:
  size_t size_;
  uint8_t* at_;
};

constexpr SaIndex kIndex{1};

TEST(Vault, GivesBackWhatWasCommitted) {
  Vault vault = must(Vault::create(3));
  EXPECT_EQ(vault.capacity(), 3u);
  EXPECT_TRUE(same(must(vault.read(kIndex)), std::nullopt));
  for (uint8_t seed = 10; seed < 20; ++seed) {
    must(vault.commit(kIndex, record_of(seed)));
    EXPECT_TRUE(same(must(vault.read(kIndex)), record_of(seed)));
  }
  EXPECT_TRUE(same(must(vault.read(SaIndex(0))), std::nullopt));
  EXPECT_TRUE(same(must(vault.read(SaIndex(2))), std::nullopt));
  must(vault.clear(kIndex));
  EXPECT_TRUE(same(must(vault.read(kIndex)), std::nullopt));
}

TEST(Vault, IndicesBeyondTheEndAreRefused) {
  Vault vault = must(Vault::create(2));
  for (const SaIndex index : {SaIndex(2), kNoSa}) {
    EXPECT_FALSE(vault.commit(index, record_of(1)));
    EXPECT_FALSE(vault.clear(index));
    EXPECT_FALSE(vault.read(index));
  }
  EXPECT_FALSE(Vault::create(0));
}

TEST(Vault, AnotherProcessFindsTheRecords) {
  Vault vault = must(Vault::create(2));
  must(vault.commit(kIndex, record_of(5)));
  const Vault other = must(Vault::attach(vault.fd().duplicate()));
  EXPECT_EQ(other.capacity(), 2u);
  EXPECT_TRUE(same(must(other.read(kIndex)), record_of(5)));
}

TEST(Vault, ReplacedAndClearedKeysAreNowhereInMemory) {
  Vault vault = must(Vault::create(2));
  const Bytes bytes(vault);
  must(vault.commit(kIndex, record_of(0x55)));
  EXPECT_TRUE(bytes.contain_key(0x55));
  must(vault.commit(kIndex, record_of(0x66)));
  EXPECT_FALSE(bytes.contain_key(0x55));
  EXPECT_TRUE(bytes.contain_key(0x66));
  must(vault.clear(kIndex));
  EXPECT_FALSE(bytes.contain_key(0x66));
}

TEST(Vault, WipedKeysAreGone) {
  SaRecord record = record_of(0x55);
  wipe_keys(record);
  const std::span bytes(reinterpret_cast<const uint8_t*>(&record), sizeof record);
  EXPECT_EQ(std::ranges::count(bytes, 0x55), 1);  // of the SPI
  EXPECT_EQ(std::ranges::count(bytes, 0x56), 0);
  EXPECT_EQ(record.name.view(), record_of(0x55).name.view());
}

TEST(Vault, ForeignSegmentsAreRefused) {
  EXPECT_FALSE(Vault::attach(Fd(::open("/dev/null", O_RDWR | O_CLOEXEC))));
  const Segment zeros = must(Segment::create("zeros", 4096));
  EXPECT_FALSE(Vault::attach(zeros.fd().duplicate()));
  // Header: magic 8, layout 4, record size 4, capacity 4.
  for (const size_t offset : {0u, 8u, 12u, 16u}) {
    Vault vault = must(Vault::create(2));
    Bytes(vault).span()[offset] ^= 1;
    EXPECT_FALSE(Vault::attach(vault.fd().duplicate())) << offset;
  }
}

// Every bit of the copy that counts, and of the version.
TEST(Vault, DamagedRecordsAreRefused) {
  Vault vault = must(Vault::create(1));
  // Three times: from version 3 no single bit leads to 0, which means that nothing was written yet.
  for (int i = 0; i < 3; ++i) must(vault.commit(SaIndex(0), record_of(7)));
  const Bytes bytes(vault);
  const std::vector<uint8_t> good(bytes.span().begin(), bytes.span().end());
  size_t refused = 0;
  for (size_t bit = 64 * 8; bit < good.size() * 8; ++bit) {
    bytes.span()[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    const auto read = vault.read(SaIndex(0));
    EXPECT_TRUE(!read || same(*read, record_of(7))) << "bit " << bit;
    refused += read ? 0 : 1;
    std::ranges::copy(good, bytes.span().begin());
  }
  EXPECT_GT(refused, (sizeof(SaRecord) + sizeof(uint64_t)) * 8);
}

TEST(Vault, KeysStayOutOfCoreDumps) {
  const Vault vault = must(Vault::create(100));
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  while (std::getline(maps, line) && line.find("espalier-vault") == std::string::npos) {
  }
  std::string flags;
  while (std::getline(maps, line) && flags.empty())
    if (line.starts_with("VmFlags:")) flags = line;
  EXPECT_NE(flags.find(" dd"), std::string::npos) << flags;
#if !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)  // their mlock() does nothing and says yes
  EXPECT_EQ(flags.find(" lo") != std::string::npos, vault.warning().empty()) << flags;
#endif
}

// A kill between any two instructions of `change` leaves `before` or `after`; once `after` was seen it stays;
// and a new writer can go on from there.
size_t expect_atomic(Vault& vault, const std::function<void()>& change, const std::optional<SaRecord>& before,
                     const std::optional<SaRecord>& after) {
  Vault heir = must(Vault::create(vault.capacity()));
  const Bytes bytes(vault);
  const Bytes heirs(heir);
  bool changed = false;
  size_t looks = 0;
  test::step_through(change, [&] {
    const auto read = vault.read(kIndex);
    ASSERT_TRUE(read) << read.error().text;
    ASSERT_TRUE(same(*read, before) || same(*read, after));
    ASSERT_FALSE(changed && !same(*read, after));
    changed = same(*read, after);
    bytes.copy_to(heirs);
    must(heir.commit(kIndex, record_of(0x77)));
    ASSERT_TRUE(same(must(heir.read(kIndex)), record_of(0x77)));
    ++looks;
  });
  EXPECT_TRUE(same(must(vault.read(kIndex)), after));
  return looks;
}

TEST(VaultKill, AtEveryInstructionOfTheFirstCommit) {
  Vault vault = must(Vault::create(2));
  EXPECT_GT(expect_atomic(
                vault, [&] { must(vault.commit(kIndex, record_of(1))); }, std::nullopt, record_of(1)),
            100u);
}

TEST(VaultKill, AtEveryInstructionOfAReplacement) {
  Vault vault = must(Vault::create(2));
  must(vault.commit(kIndex, record_of(1)));
  for (uint8_t seed = 1; seed < 3; ++seed)
    expect_atomic(
        vault, [&] { must(vault.commit(kIndex, record_of(static_cast<uint8_t>(seed + 1)))); },
        record_of(seed), record_of(static_cast<uint8_t>(seed + 1)));
  EXPECT_FALSE(Bytes(vault).contain_key(2));
}

TEST(VaultKill, AtEveryInstructionOfClear) {
  Vault vault = must(Vault::create(2));
  must(vault.commit(kIndex, record_of(0x44)));
  expect_atomic(
      vault, [&] { must(vault.clear(kIndex)); }, record_of(0x44), std::nullopt);
  EXPECT_FALSE(Bytes(vault).contain_key(0x44));
}

// A reader in another process beside a busy writer: whole records only, and never an error.
TEST(VaultKill, ReadersSeeWholeRecordsWhileItIsWritten) {
  Vault vault = must(Vault::create(2));
  must(vault.commit(kIndex, record_of(1)));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint8_t seed = 1; !stop; seed = static_cast<uint8_t>(seed % 100 + 1))
      must(vault.commit(kIndex, record_of(seed)));
  });
  const Vault reader = must(Vault::attach(vault.fd().duplicate()));
  for (int i = 0; i < 20000; ++i) {
    const auto read = must(reader.read(kIndex));
    ASSERT_TRUE(read);
    ASSERT_TRUE(same(read, record_of(read->key[0])));
  }
  stop = true;
  writer.join();
}

// Killed at random moments, 200 times, while it commits all the time.
TEST(VaultKill, AtRandomMoments) {
  Vault vault = must(Vault::create(2));
  must(vault.commit(kIndex, record_of(1)));
  const test::Shared<std::atomic<uint64_t>> commits(1);
  for (unsigned round = 0; round < 200; ++round) {
    const uint64_t before = commits[0];
    const auto commit_all = [&] {
      for (uint8_t seed = 1;; seed = static_cast<uint8_t>(seed % 100 + 1)) {
        must(vault.commit(kIndex, record_of(seed)));
        ++commits[0];
      }
    };
    ASSERT_TRUE(test::kill_after(round, commit_all, [&] { return commits[0] != before; }));
    const Vault heir = must(Vault::attach(vault.fd().duplicate()));
    const auto read = must(heir.read(kIndex));
    ASSERT_TRUE(read);
    ASSERT_TRUE(same(read, record_of(read->key[0])));
  }
}

}  // namespace
}  // namespace espalier
