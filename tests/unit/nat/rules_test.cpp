#include "nat/rules.hpp"

#include "tests/unit/nat/rule_testing.hpp"

namespace espalier::nat {
namespace {

uint32_t number_of(const NatRuleRecord* r) {
  return r == nullptr ? 0 : r->number;
}

TEST(Rules, TheFirstInOrderWins) {
  NatRuleRecord exclude = rule(20, NatTranslation::kExclude);
  exclude.destination.low = ip(10, 10, 10, 0);
  exclude.destination.high = ip(10, 10, 10, 255);
  const NatRuleRecord rules[] = {rule(30, NatTranslation::kMasquerade), exclude, dnat(10, kClient, kClient)};
  const RuleSet set{rules};
  EXPECT_EQ(number_of(set.match_source(udp(kClient, 1, ip(10, 10, 10, 7), 1), kWan, false)), 20u);
  EXPECT_EQ(number_of(set.match_source(udp(kClient, 1, kServer, 1), kWan, false)), 30u);
  EXPECT_EQ(number_of(set.match_destination(udp(kServer, 1, kPublic, 1), kWan, false, false)), 10u);
  EXPECT_EQ(set.source_rules().size(), 2u);
  EXPECT_EQ(set.destination_rules().size(), 1u);
}

TEST(Rules, EveryConditionIsCompared) {
  NatRuleRecord r = rule(10, NatTranslation::kMasquerade);
  r.protocol = kProtoTcp;
  r.interface = kWan;
  r.source.low = ip(192, 168, 10, 0);
  r.source.high = ip(192, 168, 10, 255);
  r.destination.ports = {80, 443};
  const RuleSet set{{&r, 1}};
  const auto matches = [&](const Tuple& t, InterfaceIndex out) {
    return set.match_source(t, out, false) != nullptr;
  };
  const Tuple good = tuple(kProtoTcp, kClient, 1000, kServer, 80);
  EXPECT_TRUE(matches(good, kWan));
  EXPECT_FALSE(matches(good, kLan));
  EXPECT_FALSE(matches(udp(kClient, 1000, kServer, 80), kWan));
  EXPECT_FALSE(matches(tuple(kProtoTcp, ip(192, 168, 11, 1), 1000, kServer, 80), kWan));
  EXPECT_FALSE(matches(tuple(kProtoTcp, kClient, 80, kServer, 79), kWan));
  EXPECT_TRUE(matches(tuple(kProtoTcp, kClient, 1000, kServer, 443), kWan));
}

TEST(Rules, NegatedAddressesMatchTheRest) {
  NatRuleRecord r = rule(10, NatTranslation::kMasquerade);
  r.destination.low = ip(10, 0, 0, 0);
  r.destination.high = ip(10, 255, 255, 255);
  r.destination.negate = 1;
  const RuleSet set{{&r, 1}};
  EXPECT_TRUE(set.match_source(udp(kClient, 1, kServer, 1), kWan, false));
  EXPECT_FALSE(set.match_source(udp(kClient, 1, ip(10, 2, 3, 4), 1), kWan, false));
}

// The type and code of an ICMP query stand where ports stand, but are none.
TEST(Rules, PortsAreThoseOfTcpAndUdp) {
  NatRuleRecord r = rule(10, NatTranslation::kMasquerade);
  r.destination.ports = {1, 65535};
  const RuleSet set{{&r, 1}};
  EXPECT_TRUE(set.match_source(udp(kClient, 1, kServer, 2048), kWan, false));
  EXPECT_FALSE(set.match_source(echo(kClient, kServer, 7), kWan, false));
  EXPECT_FALSE(set.match_source(tuple(kProtoGre, kClient, 0, kServer, 0), kWan, false));
}

TEST(Rules, TellWhatTheyCanTouch) {
  EXPECT_FALSE(RuleSet().needs_sessions(Family::kIpv4));
  NatRuleRecord exclude = rule(10, NatTranslation::kExclude);
  const RuleSet excludes{{&exclude, 1}};
  EXPECT_FALSE(excludes.needs_sessions(Family::kIpv4));
  EXPECT_FALSE(excludes.may_touch_protocol(kProtoEsp));
  NatRuleRecord tcp = rule(10, NatTranslation::kMasquerade);
  tcp.protocol = kProtoTcp;
  const RuleSet only_tcp{{&tcp, 1}};
  EXPECT_TRUE(only_tcp.needs_sessions(Family::kIpv4));
  EXPECT_TRUE(only_tcp.may_touch_protocol(kProtoTcp));
  EXPECT_FALSE(only_tcp.may_touch_protocol(kProtoEsp));
  NatRuleRecord any = dnat(20, kClient, kClient);
  EXPECT_TRUE(RuleSet({&any, 1}).may_touch_protocol(kProtoEsp));
}

// A rule is for one family, also where it names no address.
TEST(Rules, AreForOneFamily) {
  const NatRuleRecord rules[] = {of_family(rule(10, NatTranslation::kMasquerade), Family::kIpv6),
                                 rule(20, NatTranslation::kMasquerade)};
  const RuleSet set{rules};
  EXPECT_EQ(number_of(set.match_source(udp(kClient, 1, kServer, 1), kWan, false)), 20u);
  EXPECT_EQ(number_of(set.match_source(udp(ip("2001:db8::1"), 1, ip("2001:db8::2"), 1), kWan, false)), 10u);
  NatRuleRecord negated = rules[0];
  negated.destination.negate = 1;  // no address of IPv6, but all of IPv4 if families were not compared
  EXPECT_FALSE(RuleSet({&negated, 1}).match_source(udp(kClient, 1, kServer, 1), kWan, false));
}

TEST(Rules, Ipv6AddressesAreComparedByAllTheirBits) {
  NatRuleRecord r = of_family(rule(10, NatTranslation::kMasquerade), Family::kIpv6);
  r.source.low = ip("2001:db8:0:1::5");
  r.source.high = ip("2001:db8:0:2::3");
  const RuleSet set{{&r, 1}};
  const auto matches = [&](const char* source) {
    return set.match_source(udp(ip(source), 1, ip("2001:db8::2"), 1), kWan, false) != nullptr;
  };
  EXPECT_FALSE(matches("2001:db8:0:1::4"));
  EXPECT_TRUE(matches("2001:db8:0:1::5"));
  EXPECT_TRUE(matches("2001:db8:0:1:ffff::"));
  EXPECT_TRUE(matches("2001:db8:0:2::3"));
  EXPECT_FALSE(matches("2001:db8:0:2::4"));
}

// `-m policy --dir out --pol none`, and `ipsec`: by what was found before source NAT (scenario 08).
TEST(Rules, AskWhetherAPolicyProtects) {
  NatRuleRecord none = rule(10, NatTranslation::kMasquerade), ipsec = rule(20, NatTranslation::kMasquerade);
  none.ipsec = IpsecMatch::kNone;
  ipsec.ipsec = IpsecMatch::kIpsec;
  const NatRuleRecord rules[] = {none, ipsec, rule(30, NatTranslation::kMasquerade)};
  const RuleSet set{rules}, any{{&rules[2], 1}};
  const Tuple packet = udp(kClient, 1, kServer, 1);
  EXPECT_EQ(number_of(set.match_source(packet, kWan, false)), 10u);
  EXPECT_EQ(number_of(set.match_source(packet, kWan, true)), 20u);
  EXPECT_EQ(number_of(any.match_source(packet, kWan, false)), 30u);
  EXPECT_EQ(number_of(any.match_source(packet, kWan, true)), 30u);
}

TEST(Rules, AskWhetherThePacketWasDecrypted) {
  NatRuleRecord ipsec = dnat(10, kClient, kClient);
  ipsec.ipsec = IpsecMatch::kIpsec;
  const RuleSet set{{&ipsec, 1}};
  const Tuple packet = udp(kServer, 1, kPublic, 1);
  EXPECT_FALSE(set.match_destination(packet, kWan, false, false));
  EXPECT_TRUE(set.match_destination(packet, kWan, true, false));
}

// nat OUTPUT and nat PREROUTING have nothing in common.
TEST(Rules, PacketsOfTheGatewayHaveDestinationRulesOfTheirOwn) {
  NatRuleRecord local = dnat(20, kOther, kOther);
  local.local_output = 1;
  const NatRuleRecord rules[] = {dnat(10, kClient, kClient), local};
  const RuleSet set{rules};
  const Tuple packet = udp(kPublic, 1, kServer, 1);
  EXPECT_EQ(number_of(set.match_destination(packet, kWan, false, false)), 10u);
  EXPECT_EQ(number_of(set.match_destination(packet, kWan, false, true)), 20u);
}

TEST(Rules, AFamilyIsTrackedForItsOwnRules) {
  const NatRuleRecord v6 = of_family(rule(10, NatTranslation::kMasquerade), Family::kIpv6);
  const RuleSet set{{&v6, 1}};
  EXPECT_TRUE(set.needs_sessions(Family::kIpv6));
  EXPECT_FALSE(set.needs_sessions(Family::kIpv4));
}

}  // namespace
}  // namespace espalier::nat
