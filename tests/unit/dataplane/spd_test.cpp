// The policy database against a model that tries every policy.
#include "dataplane/spd.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "dataplane/link_local.hpp"
#include "tests/unit/dataplane/table_tools.hpp"

namespace espalier::dataplane {
namespace {

constexpr InterfaceIndex kEgress1(0), kEgress2(1), kVti1(2), kVti2(3);

struct Question {
  Direction direction = Direction::kOut;
  Tuple tuple;
  SelectorPorts ports;
  InterfaceIndex egress = kNoInterface;
  InterfaceIndex vti = kNoInterface;
};

// XFRM's rule, read out: among the matching ones the lowest priority, among those the oldest.
const PolicyRecord* naive_lookup(std::span<const PolicyRecord> policies, const Question& q) {
  const PolicyRecord* best = nullptr;
  for (const PolicyRecord& p : policies)
    if (p.direction == q.direction && p.vti == q.vti &&
        (p.interface == kNoInterface || p.interface == q.egress) &&
        p.selector.matches(q.tuple.source, q.tuple.destination, q.tuple.protocol, q.ports.source,
                           q.ports.destination) &&
        (best == nullptr || p.priority < best->priority))
      best = &p;
  return best;
}

struct RandomPolicies {
  std::mt19937 engine;
  uint32_t below(uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(engine); }
  // Bits that differ in every part of an address.
  IpAddress address(Family family) {
    const uint32_t a = below(4), b = below(4), c = below(4);
    if (family == Family::kIpv4) return Ipv4Address::from_host(0x0a000000 | a << 16 | b << 8 | c);
    return ipv6(0x2001'0db8'0000'0000 | a << 16 | b, uint64_t{b} << 40 | c);
  }
  Family family() { return static_cast<Family>(below(2)); }
  uint8_t protocol() {
    return std::array<uint8_t, 5>{kProtoIcmp, kProtoIcmpv6, kProtoTcp, kProtoUdp, kProtoGre}[below(5)];
  }
  uint16_t port() { return static_cast<uint16_t>(below(6)); }
  PortRange ports() {
    if (below(2)) return {};
    const uint16_t low = port();
    return {low, static_cast<uint16_t>(low + below(3))};
  }
  Direction direction() { return static_cast<Direction>(below(3)); }
  InterfaceIndex egress() { return std::array{kNoInterface, kEgress1, kEgress2}[below(3)]; }
  InterfaceIndex vti() { return std::array{kNoInterface, kNoInterface, kVti1, kVti2}[below(4)]; }
  IpPrefix prefix(Family family) {  // with host bits at times
    const uint8_t length = family == Family::kIpv4
                               ? std::array<uint8_t, 6>{0, 8, 16, 24, 31, 32}[below(6)]
                               : std::array<uint8_t, 7>{0, 32, 48, 63, 88, 96, 128}[below(7)];
    return IpPrefix::of(address(family), length);
  }
  // Few priorities, so that age decides often.
  PolicyRecord policy(uint32_t index) {
    PolicyRecord p;
    p.index = PolicyIndex{index};
    p.direction = direction();
    p.priority = below(5) == 0 ? UINT32_MAX : below(4);
    const Family f = family();
    p.selector = {prefix(f), prefix(f), below(2) ? kProtoAny : protocol(), 0, ports(), ports()};
    p.vti = vti();
    if (p.direction == Direction::kOut && below(3) == 0) p.interface = egress();
    return p;
  }
  Question question() {
    const Family f = family();
    return {direction(), {address(f), address(f), {}, {}, protocol()}, {port(), port()}, egress(), vti()};
  }
};

TEST(Spd, AgreesWithTheModelOnRandomPolicies) {
  RandomPolicies random{std::mt19937(11)};
  int found = 0, none = 0;
  for (int table = 0; table < 100; ++table) {
    std::vector<PolicyRecord> policies;
    const uint32_t count = random.below(1000);
    for (uint32_t i = 0; i < count; ++i) policies.push_back(random.policy(i));
    const Spd spd(policies);
    for (int i = 0; i < 1000; ++i) {
      const Question q = random.question();
      const PolicyRecord* const expected = naive_lookup(policies, q);
      const PolicyRecord* const actual = spd.lookup(q.direction, q.tuple, q.ports, q.egress, q.vti);
      ASSERT_EQ(actual == nullptr, expected == nullptr);
      if (expected) {
        ASSERT_EQ(actual->index, expected->index);
      }
      ++(expected ? found : none);
    }
  }
  EXPECT_GT(found, 10'000);
  EXPECT_GT(none, 10'000);
}

PolicyRecord policy(uint32_t index, uint32_t priority, const char* source, const char* destination) {
  PolicyRecord p;
  p.index = PolicyIndex{index};
  p.priority = priority;
  p.selector.source = prefix(source);
  p.selector.destination = prefix(destination);
  return p;
}
PolicyRecord any(uint32_t index, uint32_t priority) {
  return policy(index, priority, "0.0.0.0/0", "0.0.0.0/0");
}

const IpAddress kLanHost = ip("192.168.10.45"), kFar = ip("10.10.10.55");
const Tuple kTcp{kLanHost, kFar, be16::from_host(1000), be16::from_host(443), kProtoTcp};
const Tuple kTcp6{ip("2001:db8:a::45"), ip("2001:db8:b::55"), be16::from_host(1000), be16::from_host(443),
                  kProtoTcp};

TEST(Spd, AgeDecidesAmongEqualPrioritiesWhateverThePrefix) {
  const std::array policies{any(0, 10), policy(1, 10, "192.168.10.45/32", "10.10.10.55/32")};
  EXPECT_EQ(Spd(policies).lookup(Direction::kOut, kTcp)->index, PolicyIndex{0});
}

TEST(Spd, PriorityZeroIsTheStrongest) {
  const std::array policies{policy(0, 10, "192.168.10.45/32", "10.10.10.55/32"), any(1, 0)};
  EXPECT_EQ(Spd(policies).lookup(Direction::kOut, kTcp)->index, PolicyIndex{1});
}

TEST(Spd, FamiliesAreApart) {
  const std::array policies{any(0, 0), policy(1, 5, "::/0", "::/0")};
  const Spd spd(policies);
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp)->index, PolicyIndex{0});
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp6)->index, PolicyIndex{1});
  const std::array mixed{policy(0, 0, "::/0", "0.0.0.0/0"), policy(1, 0, "0.0.0.0/0", "::/0")};
  EXPECT_EQ(Spd(mixed).lookup(Direction::kOut, kTcp), nullptr);
  EXPECT_EQ(Spd(mixed).lookup(Direction::kOut, kTcp6), nullptr);
}

TEST(Spd, DirectionsAreApart) {
  const std::array policies{any(0, 0)};
  const Spd spd(policies);
  EXPECT_FALSE(spd.empty(Direction::kOut));
  EXPECT_TRUE(spd.empty(Direction::kIn));
  EXPECT_TRUE(spd.empty(Direction::kFwd));
  EXPECT_EQ(spd.lookup(Direction::kIn, kTcp), nullptr);
  EXPECT_EQ(spd.lookup(Direction::kFwd, kTcp), nullptr);
}

TEST(Spd, AVtiHasAListOfItsOwn) {
  std::array policies{any(0, 0), any(1, 7)};
  policies[1].vti = kVti1;
  const Spd spd(policies);
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp)->index, PolicyIndex{0});
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp, kEgress1, kVti1)->index, PolicyIndex{1});
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp, kEgress1, kVti2), nullptr)
      << "the caller knows what that means";
  EXPECT_FALSE(spd.empty(Direction::kOut, kVti1));
  EXPECT_TRUE(spd.empty(Direction::kOut, kVti2));
  EXPECT_TRUE(spd.empty(Direction::kIn, kVti1));
}

// packet-order: "dev in a selector of an out policy is the OUTPUT interface".
TEST(Spd, APolicyMayNameItsEgress) {
  std::array policies{any(0, 0), any(1, 7)};
  policies[0].interface = kEgress1;
  const Spd spd(policies);
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp, kEgress1)->index, PolicyIndex{0});
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp, kEgress2)->index, PolicyIndex{1});
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp)->index, PolicyIndex{1});
}

TEST(Spd, EmptyMatchesNothing) {
  const Spd spd({});
  EXPECT_EQ(spd.lookup(Direction::kOut, kTcp), nullptr);
}

TEST(Spd, PortsComeFromTheTuple) {
  for (const uint8_t protocol : {6, 17, 33, 132, 136}) {  // TCP, UDP, DCCP, SCTP, UDP-Lite
    std::array policies{any(0, 0)};
    policies[0].selector.protocol = protocol;
    policies[0].selector.destination_port = {443, 443};
    const Spd spd(policies);
    Tuple tuple = kTcp;
    tuple.protocol = protocol;
    EXPECT_NE(spd.lookup(Direction::kOut, tuple), nullptr);
    EXPECT_EQ(spd.lookup(Direction::kOut, tuple, {}, kNoInterface, kNoInterface), nullptr)
        << "a fragment has no ports";
    tuple.destination_port = be16::from_host(444);
    EXPECT_EQ(spd.lookup(Direction::kOut, tuple), nullptr);
  }
}

// In a tuple the query's identifier is the source port; a selector compares type and code.
TEST(Spd, IcmpTypeAndCode) {
  for (const bool v6 : {false, true}) {
    const char* const all = v6 ? "::/0" : "0.0.0.0/0";
    const uint8_t protocol = v6 ? kProtoIcmpv6 : kProtoIcmp, echo = v6 ? 128 : 8;
    std::array policies{policy(0, 0, all, all)};
    policies[0].selector.protocol = protocol;
    policies[0].selector.source_port = {echo, echo};
    policies[0].selector.destination_port = {0, 0};
    const Spd spd(policies);
    const auto icmp = [&](uint8_t type, uint8_t code) {
      Tuple tuple = v6 ? kTcp6 : kTcp;
      tuple.protocol = protocol;
      tuple.source_port = be16::from_host(4711);
      tuple.destination_port = be16::from_host(static_cast<uint16_t>(type << 8 | code));
      return tuple;
    };
    EXPECT_NE(spd.lookup(Direction::kOut, icmp(echo, 0)), nullptr);
    EXPECT_EQ(spd.lookup(Direction::kOut, icmp(static_cast<uint8_t>(echo + 1), 0)), nullptr);
    EXPECT_EQ(spd.lookup(Direction::kOut, icmp(echo, 1)), nullptr);
  }
}

// 50,000 sites with a network each behind one head office, and a bypass for everything else.
struct Sites {
  Family family;
  IpAddress office(uint32_t host) const {
    return family == Family::kIpv4 ? IpAddress(Ipv4Address::from_host(0xac100000 | (host & 0xffff)))
                                   : ipv6(0x2001'0db8'ffff'0000, host);
  }
  IpAddress far(uint32_t site, uint32_t host) const {
    return family == Family::kIpv4 ? IpAddress(Ipv4Address::from_host(0x0a000000 | site << 8 | (host & 0xff)))
                                   : ipv6(0x2001'0db8'0000'0000 | site, host);
  }
  std::vector<PolicyRecord> policies(uint32_t sites) const {
    const bool v4 = family == Family::kIpv4;
    std::vector<PolicyRecord> all;
    for (uint32_t i = 0; i <= sites; ++i) {
      PolicyRecord p;
      p.index = PolicyIndex{i};
      p.priority = i == sites ? 1000 : 100;
      p.selector.source = i == sites ? IpPrefix::any(family) : IpPrefix::of(office(0), v4 ? 16 : 48);
      p.selector.destination = i == sites ? IpPrefix::any(family) : IpPrefix::of(far(i, 0), v4 ? 24 : 64);
      all.push_back(p);
    }
    return all;
  }
};

TEST(Spd, FiftyThousandPolicies) {
  using Clock = std::chrono::steady_clock;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const Sites sites{family};
    const std::vector<PolicyRecord> policies = sites.policies(50000);
    const auto start = Clock::now();
    const Spd spd(policies);
    const std::chrono::duration<double, std::milli> build = Clock::now() - start;
    std::mt19937 random(5);
    constexpr int kLookups = 500000;
    std::vector<Tuple> tuples(1 << 16, kTcp);
    for (Tuple& t : tuples) {
      t.source = sites.office(static_cast<uint32_t>(random()));
      t.destination = sites.far(random() % 60000, static_cast<uint32_t>(random()));
    }
    int bypassed = 0;
    const auto first = Clock::now();
    for (int i = 0; i < kLookups; ++i)
      bypassed += spd.lookup(Direction::kOut, tuples[i % tuples.size()])->index == PolicyIndex{50000};
    const std::chrono::duration<double, std::nano> lookups = Clock::now() - first;
    EXPECT_NEAR(bypassed, kLookups / 6, kLookups / 60) << "one in six goes to none of the sites";
    std::printf("50000 IPv%d policies: built in %.1f ms, %.0f ns a lookup\n", family == Family::kIpv4 ? 4 : 6,
                build.count(), lookups.count() / kLookups);
    for (uint32_t i = 0; i < 50000; i += 997) {
      const Tuple tuple{sites.office(1), sites.far(i, 1), {}, {}, kProtoUdp};
      EXPECT_EQ(spd.lookup(Direction::kOut, tuple)->index, PolicyIndex{i});
    }
  }
}

// A fragment has no ports; a later one of IPv6 may name an extension header in place of its protocol.
TEST(Spd, FragmentsDoNotPassByWhatTheyHide) {
  PolicyRecord with_ports = policy(0, 1, "192.168.10.0/24", "10.10.10.0/24");
  with_ports.selector.protocol = kProtoTcp;
  with_ports.selector.destination_port = {443, 443};
  PolicyRecord with_protocol = policy(1, 1, "2001:db8:a::/48", "2001:db8:b::/48");
  with_protocol.selector.protocol = kProtoTcp;
  const auto is_protected = [](PolicyRecord record, Direction direction, Tuple tuple, uint8_t protocol) {
    record.index = PolicyIndex{0};
    record.direction = direction;
    tuple.source_port = tuple.destination_port = {};
    tuple.protocol = protocol;
    return Spd(std::array{record}).protects_some_ports(direction, tuple, kNoInterface);
  };
  for (const Direction direction : {Direction::kOut, Direction::kIn, Direction::kFwd}) {
    EXPECT_TRUE(is_protected(with_ports, direction, kTcp, kProtoTcp));
    EXPECT_FALSE(is_protected(with_ports, direction, kTcp, kProtoUdp));
    EXPECT_FALSE(is_protected(with_protocol, direction, kTcp6, kProtoTcp)) << "the policy itself takes it";
    EXPECT_TRUE(is_protected(with_protocol, direction, kTcp6, kProtoDestinationOptions));
    EXPECT_FALSE(is_protected(with_protocol, direction, kTcp6, kProtoUdp));
    PolicyRecord bypass = with_ports;
    bypass.action = PolicyAction::kBypass;
    EXPECT_FALSE(is_protected(bypass, direction, kTcp, kProtoTcp));
  }
}

}  // namespace
}  // namespace espalier::dataplane
