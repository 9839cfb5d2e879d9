#include "nat/tuple_hash.hpp"

#include <bit>
#include <set>

#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {
namespace {

HashKey key_from(uint64_t seed) {
  HashKey key;
  std::mt19937_64 random(seed);
  for (auto& word : key) word = random();
  return key;
}

// The most flows in any of 2^bits buckets.
template <class Flows>
size_t fullest_bucket(const Flows& flows, const TupleHash& hash, uint32_t buckets) {
  std::vector<size_t> counts(buckets);
  for (const Tuple& flow : flows) ++counts[hash(flow) % buckets];
  return *std::max_element(counts.begin(), counts.end());
}

constexpr size_t kHashed = 37;  // bytes of a tuple before the reserved ones

// All values of two bytes of a tuple, everything else equal.
std::vector<Tuple> flows_that_differ_in(const Tuple& flow, size_t first, size_t second) {
  auto bytes = std::bit_cast<std::array<uint8_t, sizeof(Tuple)>>(flow);
  std::vector<Tuple> flows;
  for (uint32_t value = 0; value < 65536; ++value) {
    bytes[first] = static_cast<uint8_t>(value);
    bytes[second] = static_cast<uint8_t>(value >> 8);
    flows.push_back(std::bit_cast<Tuple>(bytes));
  }
  return flows;
}

// Pairs in which a weak hash would show: all of what differs between IPv4 flows; of the rest neighbours,
// bytes of one AES column or diagonal, and the same place in two addresses.
bool is_suspicious(size_t first, size_t second) {
  const auto is_ipv4 = [](size_t at) { return (at >= 12 && at < 16) || at >= 28; };
  const size_t distance = second - first;
  return (is_ipv4(first) && is_ipv4(second)) || distance == 1 || distance == 4 || distance == 5 ||
         distance == 11 || distance == 16;
}

// 65536 flows in 16384 buckets, 4 in each on average. Random flows stay below 20; a hash with structure (two
// AES rounds) has hundreds in one bucket.
TEST(TupleHash, NoTwoBytesOfATupleFillABucket) {
  const TupleHash hash(key_from(1));
  for (size_t first = 0; first < kHashed; ++first)
    for (size_t second = first + 1; second < kHashed; ++second) {
      if (!is_suspicious(first, second)) continue;
      const auto flows = flows_that_differ_in(numbered_flow_v6(1), first, second);
      EXPECT_LT(fullest_bucket(flows, hash, 16384), 22u) << first << " " << second;
    }
}

// Two blocks in which the same changes: they must not cancel.
TEST(TupleHash, EqualChangesOfSourceAndDestinationDoNotCancel) {
  const TupleHash hash(key_from(4));
  for (size_t at = 0; at < 16; ++at) {
    std::set<uint64_t> hashes;
    for (uint32_t value = 0; value < 256; ++value) {
      auto bytes = std::bit_cast<std::array<uint8_t, sizeof(Tuple)>>(numbered_flow_v6(1));
      bytes[at] ^= static_cast<uint8_t>(value);
      bytes[16 + at] ^= static_cast<uint8_t>(value);
      hashes.insert(hash(std::bit_cast<Tuple>(bytes)));
    }
    EXPECT_EQ(hashes.size(), 256u) << at;
  }
}

TEST(TupleHash, AnotherKeyIsAnotherHash) {
  const TupleHash one(key_from(1)), other(key_from(2));
  for (uint32_t n = 0; n < 1000; ++n) EXPECT_NE(one(numbered_flow(n)), other(numbered_flow(n)));
}

TEST(TupleHash, EveryBitOfATupleChangesAboutHalfOfTheHash) {
  const TupleHash hash(key_from(3));
  for (size_t bit = 0; bit < 8 * kHashed; ++bit) {
    int changed = 0;
    for (uint32_t n = 0; n < 200; ++n) {
      auto bytes = std::bit_cast<std::array<uint8_t, sizeof(Tuple)>>(numbered_flow(n));
      const uint64_t before = hash(numbered_flow(n));
      bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      changed += std::popcount(before ^ hash(std::bit_cast<Tuple>(bytes)));
    }
    EXPECT_NEAR(changed / 200.0, 32.0, 3.0) << bit;
  }
}

}  // namespace
}  // namespace espalier::nat
