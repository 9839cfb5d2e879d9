// Which rules make ESP take the long way through sessions and NAT: those whose addresses, protocol and, where
// it is known, port fit what a state sends or receives.
#include "dataplane/consequences.hpp"

#include <gtest/gtest.h>

#include "control/shared/text.hpp"

namespace espalier::dataplane {
namespace {

const IpAddress kOwn = Ipv4Address::from_host(0xc6336403);   // 198.51.100.3
const IpAddress kPeer = Ipv4Address::from_host(0xcb007107);  // 203.0.113.7

// One rule and one inbound state, with ESP in UDP on port 4500.
Configuration inbound_with(PortRange ports, uint8_t protocol = kProtoUdp) {
  Configuration configuration;
  SaRecord sa;
  sa.direction = Direction::kIn;
  sa.source = kPeer, sa.destination = kOwn;
  sa.flags = kSaEncap;
  sa.encap_source_port = sa.encap_destination_port = 4500;
  NatRuleRecord rule;
  rule.kind = NatKind::kDestination;
  rule.translation = NatTranslation::kAddress;
  rule.protocol = protocol;
  rule.source = NatMatch::any(Family::kIpv4);
  rule.destination = {.low = kOwn, .high = kOwn, .ports = ports};
  configuration.sas.push_back(sa);
  configuration.nat_rules.push_back(rule);
  return configuration;
}

TEST(NatTouchesEsp, APortForwardBesideEspInUdpDoesNot) {
  EXPECT_FALSE(nat_touches_esp(inbound_with({53, 53})));
  EXPECT_TRUE(nat_touches_esp(inbound_with({4500, 4500})));
  EXPECT_TRUE(nat_touches_esp(inbound_with({})));
  EXPECT_TRUE(nat_touches_esp(inbound_with({}, kProtoAny)));
}

// Behind a NAT of its own the peer has any port.
TEST(NatTouchesEsp, ThePortOfThePeerIsNotKnown) {
  Configuration configuration = inbound_with({});
  configuration.nat_rules[0].source.ports = {1024, 1024};
  EXPECT_TRUE(nat_touches_esp(configuration));
}

TEST(NatTouchesEsp, OfOutboundStatesThePortIsThatOfTheSource) {
  Configuration configuration = inbound_with({});
  SaRecord& sa = configuration.sas[0];
  std::swap(sa.source, sa.destination);
  sa.direction = Direction::kOut;
  NatRuleRecord& rule = configuration.nat_rules[0];
  rule.kind = NatKind::kSource;
  rule.destination = NatMatch::any(Family::kIpv4);
  EXPECT_TRUE(nat_touches_esp(configuration));
  rule.source.ports = {5000, 6000};
  EXPECT_FALSE(nat_touches_esp(configuration));
  rule.source.ports = {4500, 6000};
  EXPECT_TRUE(nat_touches_esp(configuration));
  rule.translation = NatTranslation::kExclude;
  EXPECT_FALSE(nat_touches_esp(configuration));
}

TEST(NatTouchesEsp, BareEspHasNoPorts) {
  Configuration configuration = inbound_with({4500, 4500});
  configuration.sas[0].flags = 0;
  EXPECT_FALSE(nat_touches_esp(configuration));
  configuration.nat_rules[0].protocol = kProtoEsp;
  EXPECT_TRUE(nat_touches_esp(configuration));
}

}  // namespace
}  // namespace espalier::dataplane
