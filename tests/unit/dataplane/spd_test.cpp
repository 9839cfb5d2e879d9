// The policy database against a model that tries every policy.
#include "dataplane/spd.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace espalier::dataplane {
namespace {

// XFRM's rule, read out: among the matching ones the lowest priority, among those the oldest.
const PolicyRecord* naive_lookup(std::span<const PolicyRecord> policies, Direction direction,
                                 const Ipv4Tuple& tuple, uint16_t source_port, uint16_t destination_port) {
  const PolicyRecord* best = nullptr;
  for (const PolicyRecord& p : policies)
    if (p.direction == direction &&
        p.selector.matches(tuple.source, tuple.destination, tuple.protocol, source_port, destination_port) &&
        (best == nullptr || p.priority < best->priority))
      best = &p;
  return best;
}

struct Random {
  std::mt19937 engine;
  uint32_t below(uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(engine); }
  Ipv4Address address() {
    return Ipv4Address::from_host(0x0a000000 | (below(4) << 16) | (below(4) << 8) | below(4));
  }
  uint8_t protocol() { return std::array<uint8_t, 4>{kProtoIcmp, kProtoTcp, kProtoUdp, kProtoGre}[below(4)]; }
  uint16_t port() { return static_cast<uint16_t>(below(6)); }
  PortRange ports() {
    if (below(2)) return {};
    const uint16_t low = port();
    return {low, static_cast<uint16_t>(low + below(3))};
  }
  Direction direction() { return static_cast<Direction>(below(3)); }
  Ipv4Prefix prefix() {
    return {address(), std::array<uint8_t, 6>{0, 8, 16, 24, 31, 32}[below(6)]};  // with host bits at times
  }
  // Few priorities, so that age decides often.
  PolicyRecord policy(uint32_t index) {
    PolicyRecord p;
    p.index = PolicyIndex{index};
    p.direction = direction();
    p.priority = below(5) == 0 ? UINT32_MAX : below(4);
    p.selector = {prefix(), prefix(), below(2) ? kProtoAny : protocol(), 0, ports(), ports()};
    return p;
  }
};

TEST(Spd, AgreesWithTheModelOnRandomPolicies) {
  Random random{std::mt19937(11)};
  int found = 0, none = 0;
  for (int table = 0; table < 60; ++table) {
    std::vector<PolicyRecord> policies;
    const uint32_t count = random.below(300);
    for (uint32_t i = 0; i < count; ++i) policies.push_back(random.policy(i));
    const Spd spd(policies);
    for (int i = 0; i < 1000; ++i) {
      const Direction direction = random.direction();
      const Ipv4Tuple tuple{random.address(), random.address(), {}, {}, random.protocol()};
      const uint16_t source_port = random.port(), destination_port = random.port();
      const PolicyRecord* const expected =
          naive_lookup(policies, direction, tuple, source_port, destination_port);
      const PolicyRecord* const actual = spd.lookup(direction, tuple, source_port, destination_port);
      ASSERT_EQ(actual == nullptr, expected == nullptr);
      if (expected) {
        ASSERT_EQ(actual->index, expected->index);
      }
      ++(expected ? found : none);
    }
  }
  EXPECT_GT(found, 5000);
  EXPECT_GT(none, 5000);
}

PolicyRecord policy(uint32_t index, uint32_t priority, Ipv4Prefix source, Ipv4Prefix destination) {
  PolicyRecord p;
  p.index = PolicyIndex{index};
  p.priority = priority;
  p.selector.source = source;
  p.selector.destination = destination;
  return p;
}

constexpr Ipv4Address kLan = Ipv4Address::from_host(0xc0a80a2d), kFar = Ipv4Address::from_host(0x0a0a0a37);
constexpr Ipv4Tuple kTcp{kLan, kFar, be16::from_host(1000), be16::from_host(443), kProtoTcp};

TEST(Spd, AgeDecidesAmongEqualPrioritiesWhateverThePrefix) {
  const std::array policies{policy(0, 10, {}, {}), policy(1, 10, {kLan, 32}, {kFar, 32})};
  EXPECT_EQ(Spd(policies).lookup(Direction::kOut, kTcp)->index, PolicyIndex{0});
}

TEST(Spd, PriorityZeroIsTheStrongest) {
  const std::array policies{policy(0, 10, {kLan, 32}, {kFar, 32}), policy(1, 0, {}, {})};
  EXPECT_EQ(Spd(policies).lookup(Direction::kOut, kTcp)->index, PolicyIndex{1});
}

TEST(Spd, DirectionsAreApart) {
  const std::array policies{policy(0, 0, {}, {})};
  const Spd spd(policies);
  EXPECT_FALSE(spd.empty(Direction::kOut));
  EXPECT_TRUE(spd.empty(Direction::kIn));
  EXPECT_TRUE(spd.empty(Direction::kFwd));
  EXPECT_EQ(spd.lookup(Direction::kIn, kTcp), nullptr);
  EXPECT_EQ(spd.lookup(Direction::kFwd, kTcp), nullptr);
}

TEST(Spd, EmptyMatchesNothing) {
  const Spd spd({});
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp), nullptr);
}

TEST(Spd, PortsComeFromTheTuple) {
  std::array policies{policy(0, 0, {}, {})};
  policies[0].selector.protocol = kProtoTcp;
  policies[0].selector.destination_port = {443, 443};
  const Spd spd(policies);
  EXPECT_NE(spd.lookup(Direction::kOut, kTcp), nullptr);
  Ipv4Tuple other = kTcp;
  other.destination_port = be16::from_host(444);
  EXPECT_EQ(spd.lookup(Direction::kOut, other), nullptr);
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp, 0, 0), nullptr) << "a fragment has no ports";
}

// In a tuple the query's identifier is the source port; a selector compares type and code.
TEST(Spd, IcmpTypeAndCode) {
  std::array policies{policy(0, 0, {}, {})};
  policies[0].selector.protocol = kProtoIcmp;
  policies[0].selector.source_port = {8, 8};
  policies[0].selector.destination_port = {0, 0};
  const Spd spd(policies);
  const auto icmp = [](uint8_t type, uint8_t code) {
    return Ipv4Tuple{kLan, kFar, be16::from_host(4711),
                     be16::from_host(static_cast<uint16_t>(type << 8 | code)), kProtoIcmp};
  };
  EXPECT_NE(spd.lookup(Direction::kOut, icmp(8, 0)), nullptr);
  EXPECT_EQ(spd.lookup(Direction::kOut, icmp(0, 0)), nullptr);
  EXPECT_EQ(spd.lookup(Direction::kOut, icmp(8, 1)), nullptr);
}

// 50,000 sites with a /24 each behind one head office, and a bypass for everything else.
std::vector<PolicyRecord> site_to_site(uint32_t sites) {
  std::vector<PolicyRecord> policies;
  for (uint32_t i = 0; i < sites; ++i)
    policies.push_back(policy(i, 100, {Ipv4Address::from_host(0xac100000), 16},
                              {Ipv4Address::from_host(0x0a000000 + (i << 8)), 24}));
  policies.push_back(policy(sites, 1000, {}, {}));
  return policies;
}

TEST(Spd, FiftyThousandPolicies) {
  using Clock = std::chrono::steady_clock;
  const std::vector<PolicyRecord> policies = site_to_site(50000);
  const auto start = Clock::now();
  const Spd spd(policies);
  const std::chrono::duration<double, std::milli> build = Clock::now() - start;
  std::mt19937 random(5);
  constexpr int kLookups = 500000;
  std::vector<Ipv4Tuple> tuples(1 << 16, kTcp);
  for (Ipv4Tuple& t : tuples) {
    t.source = Ipv4Address::from_host(0xac100000 | (random() & 0xffff));
    t.destination = Ipv4Address::from_host(0x0a000000 | (random() % (60000 << 8)));
  }
  int bypassed = 0;
  const auto first = Clock::now();
  for (int i = 0; i < kLookups; ++i)
    bypassed += spd.lookup(Direction::kOut, tuples[i % tuples.size()])->index == PolicyIndex{50000};
  const std::chrono::duration<double, std::nano> lookups = Clock::now() - first;
  EXPECT_NEAR(bypassed, kLookups / 6, kLookups / 60) << "one in six goes to none of the sites";
  std::printf("50000 policies: built in %.1f ms, %.0f ns a lookup\n", build.count(),
              lookups.count() / kLookups);
  for (uint32_t i = 0; i < 50000; i += 997) {
    const Ipv4Tuple tuple{
        Ipv4Address::from_host(0xac100001), Ipv4Address::from_host(0x0a000001 + (i << 8)), {}, {}, kProtoUdp};
    EXPECT_EQ(spd.lookup(Direction::kOut, tuple)->index, PolicyIndex{i});
  }
}

}  // namespace
}  // namespace espalier::dataplane
