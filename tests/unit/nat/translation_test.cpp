// What rules make of a flow's first packet, against recordings, sets and counts.
#include <map>
#include <set>

#include "tests/unit/nat/rule_testing.hpp"

namespace espalier::nat {
namespace {

struct Translation : testing::Test {
  std::unique_ptr<SessionTable> table = make_table(100000);
  Random random{42};
  TupleSearch search{.sessions = *table, .random = random, .worker = WorkerId(0), .now_ms = 1};

  // Source NAT of a new flow; what its packet leaves as. The session is confirmed unless `confirm` is false.
  std::expected<Tuple, DropReason> source(const Tuple& flow, const NatRuleRecord* r, bool confirm = true) {
    return source(flow, r, kPublic, confirm);
  }
  std::expected<Tuple, DropReason> source(const Tuple& flow, const NatRuleRecord* r, IpAddress masquerade,
                                          bool confirm = true) {
    PendingSession session = pending(flow);
    const DropReason reason = translate_source(r, masquerade, session, search);
    if (reason != DropReason::kNone) return std::unexpected(reason);
    if (confirm) {
      const auto ref = table->confirm(session, WorkerId(0), 1);
      if (!ref) return std::unexpected(ref.error());
    }
    return session.packet_tuple();
  }
  Tuple destination(const Tuple& flow, const NatRuleRecord& r) {
    PendingSession session = pending(flow);
    translate_destination(&r, session, search);
    return session.packet_tuple();
  }
  // Makes the reply tuple of `packet` somebody else's.
  void occupy(const Tuple& packet) { ASSERT_TRUE(table->confirm(pending(*inverse(packet)), WorkerId(0), 1)); }
};

// The steps of the recorded scenario 03-snat-ports, with its outcomes.
TEST_F(Translation, PortsAreChosenAsInTheRecordedScenario) {
  NatRuleRecord ranged = with_ports(snat(10, ip(203, 0, 113, 10), ip(203, 0, 113, 10)), 6000, 6001);
  ranged.protocol = kProtoUdp;
  ranged.destination.ports = {7777, 7777};
  const NatRuleRecord rules[] = {ranged, rule(20, NatTranslation::kMasquerade)};
  const RuleSet set{rules};
  const auto send = [&](const Tuple& flow) { return source(flow, set.match_source(flow, kWan, false)); };
  const IpAddress to = ip(203, 0, 113, 10), server10 = ip(198, 51, 100, 10);
  EXPECT_EQ(send(udp(kClient, 4000, kServer, 5000)), udp(kPublic, 4000, kServer, 5000));
  EXPECT_EQ(send(udp(kOther, 4000, server10, 5000)), udp(kPublic, 4000, server10, 5000));
  const Tuple collision = *send(udp(kOther, 4000, kServer, 5000));
  EXPECT_EQ(collision.source, kPublic);
  EXPECT_GE(collision.source_port.host(), 1024);
  EXPECT_NE(collision.source_port.host(), 4000);
  EXPECT_EQ(send(echo(kClient, kServer, 7)), echo(kPublic, kServer, 7));
  EXPECT_NE(send(echo(kOther, kServer, 7))->source_port.host(), 7);
  EXPECT_EQ(send(udp(kClient, 6001, kServer, 7777)), udp(to, 6001, kServer, 7777));
  EXPECT_EQ(send(udp(kOther, 6001, kServer, 7777)), udp(to, 6000, kServer, 7777));
  EXPECT_EQ(send(udp(kOther, 6002, kServer, 7777)).error(), DropReason::kNatPortsExhausted);
  EXPECT_EQ(send(udp(kClient, 123, kServer, 5000)), udp(kPublic, 123, kServer, 5000));
}

// The recorded scenario 10-out-policy-before-and-after-snat: 10.6.0.1 by a rule with port 6000, then 10.7.0.1
// by one without.
TEST_F(Translation, ASourceSocketKeepsItsMappingTowardsOthers) {
  const IpAddress to = ip(172, 16, 17, 45), server2 = ip(198, 51, 100, 10), server3 = ip(198, 51, 100, 11);
  const NatRuleRecord with_port = with_ports(snat(10, to, to), 6000, 6000), without = snat(20, to, to);
  EXPECT_EQ(source(udp(kClient, 4000, kServer, 5000), &with_port), udp(to, 6000, kServer, 5000));
  EXPECT_EQ(source(udp(kClient, 4000, server2, 5000), &without), udp(to, 6000, server2, 5000));
  EXPECT_EQ(source(udp(kClient, 4001, server2, 5000), &without), udp(to, 4001, server2, 5000));
  EXPECT_EQ(source(udp(kOther, 4000, server2, 5000), &without), udp(to, 4000, server2, 5000));
  // Not where another rule's addresses or ports do not allow it, nor when the mapping is taken there.
  const NatRuleRecord other_port = with_ports(snat(30, to, to), 7000, 7000);
  EXPECT_EQ(source(udp(kClient, 4000, server3, 5000), &other_port), udp(to, 7000, server3, 5000));
  occupy(udp(to, 7000, server3, 6000));
  EXPECT_EQ(source(udp(kClient, 4000, server3, 6000), &without), udp(to, 4000, server3, 6000));
}

TEST_F(Translation, ARemappedPortStaysInItsClass) {
  const NatRuleRecord r = rule(10, NatTranslation::kMasquerade);
  const struct {
    uint16_t port, low, high;
  } classes[] = {{1, 1, 511},       {511, 1, 511},       {512, 600, 1023},
                 {1023, 600, 1023}, {1024, 1024, 65535}, {65535, 1024, 65535}};
  for (const auto& c : classes) {
    ASSERT_EQ(source(udp(kClient, c.port, kServer, 53), &r)->source_port.host(), c.port);
    for (int i = 0; i < 50; ++i) {
      const auto packet =
          source(udp(ip(10, 0, c.port == 65535 ? 1 : c.port % 251 + 2, static_cast<uint8_t>(i)), c.port,
                     kServer, 53),
                 &r);
      ASSERT_TRUE(packet);
      EXPECT_GE(packet->source_port.host(), c.low);
      EXPECT_LE(packet->source_port.host(), c.high);
    }
  }
}

// Against a set of what was given out: every port of a small range is found, none twice, then it is full.
TEST_F(Translation, ASmallRangeIsUsedToTheLastPort) {
  for (const uint32_t ports : {1u, 2u, 7u, 100u, 128u}) {
    const auto low = static_cast<uint16_t>(20000 + ports), high = static_cast<uint16_t>(low + ports - 1);
    const NatRuleRecord r = with_ports(snat(10, kPublic, kPublic), low, high);
    const auto server_port = static_cast<uint16_t>(ports);
    std::set<uint16_t> given;
    for (uint32_t n = 0; n < ports; ++n) {
      const auto packet = source(udp(Ipv4Address::from_host(0x0a000000 + n), 5000, kServer, server_port), &r);
      ASSERT_TRUE(packet) << ports << " " << n;
      EXPECT_TRUE(r.ports.contains(packet->source_port.host()));
      EXPECT_TRUE(given.insert(packet->source_port.host()).second);
    }
    EXPECT_EQ(source(udp(ip(10, 9, 9, 9), 5000, kServer, server_port), &r).error(),
              DropReason::kNatPortsExhausted);
    EXPECT_TRUE(source(udp(ip(10, 9, 9, 9), 5000, kServer, static_cast<uint16_t>(60000 + ports)), &r))
        << "full for one peer only";
  }
}

TEST_F(Translation, AFullRangeOfIcmpIdentifiersIsExhaustedToo) {
  const NatRuleRecord r = with_ports(snat(10, kPublic, kPublic), 100, 103);
  for (uint8_t n = 0; n < 4; ++n) EXPECT_TRUE(source(echo(ip(10, 0, 0, n), kServer, 9), &r));
  EXPECT_EQ(source(echo(ip(10, 0, 0, 9), kServer, 9), &r).error(), DropReason::kNatPortsExhausted);
}

TEST_F(Translation, ALargeRangeThatIsNearlyFullIsSearchedInBounds) {
  const NatRuleRecord r = rule(10, NatTranslation::kMasquerade);
  for (uint32_t port = 1024; port <= 65535; ++port)
    occupy(udp(kPublic, static_cast<uint16_t>(port), kServer, 53));
  EXPECT_EQ(source(udp(kClient, 5000, kServer, 53), &r).error(), DropReason::kNatPortsExhausted);
}

TEST_F(Translation, AnAddressInsideTheRangeIsKept) {
  const NatRuleRecord r = snat(10, ip(192, 168, 10, 0), ip(192, 168, 10, 255));
  EXPECT_EQ(source(udp(kClient, 4000, kServer, 53), &r)->source, kClient);
}

TEST_F(Translation, ARangeGivesTheSameHostsTheSameAddressAndSpreadsOthers) {
  const NatRuleRecord r = snat(10, ip(203, 0, 113, 16), ip(203, 0, 113, 31));
  std::map<IpAddress, int> used;
  for (uint32_t n = 0; n < 1600; ++n) {
    const IpAddress client = Ipv4Address::from_host(0x0a000000 + n);
    const auto first = source(udp(client, 1000, kServer, 53), &r, false),
               second = source(udp(client, 2000, kServer, 80), &r, false);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->source, second->source);
    ++used[first->source];
  }
  EXPECT_EQ(used.size(), 16u);
  EXPECT_EQ(used.begin()->first, r.address_low);
  EXPECT_EQ(used.rbegin()->first, r.address_high);
  for (const auto& [address, count] : used) EXPECT_NEAR(count, 100, 45) << address.v4().host();
}

TEST_F(Translation, ProtocolsWithoutPortsGoByAddressAndThenClash) {
  const NatRuleRecord r = rule(10, NatTranslation::kMasquerade);
  const Tuple gre = tuple(kProtoGre, kClient, 0, kServer, 0);
  EXPECT_EQ(source(gre, &r), tuple(kProtoGre, kPublic, 0, kServer, 0));
  EXPECT_EQ(source(tuple(kProtoGre, kOther, 0, kServer, 0), &r).error(), DropReason::kNatClash);
}

TEST_F(Translation, ExcludedFlowsKeepTheirTupleUnlessItIsTaken) {
  const NatRuleRecord exclude = rule(10, NatTranslation::kExclude);
  for (const NatRuleRecord* none : {static_cast<const NatRuleRecord*>(nullptr), &exclude}) {
    const auto port = static_cast<uint16_t>(none == nullptr ? 4000 : 5000);
    const Tuple flow = udp(kClient, port, kServer, 53);
    EXPECT_EQ(source(flow, none, false), flow);
    occupy(flow);
    const auto remapped = source(udp(kClient, port, kServer, 53), none, false);
    ASSERT_TRUE(remapped);
    EXPECT_EQ(remapped->source, kClient);
    EXPECT_NE(remapped->source_port, flow.source_port);
  }
}

TEST_F(Translation, MasqueradeWithoutAnAddressIsToldSo) {
  const NatRuleRecord r = rule(10, NatTranslation::kMasquerade);
  PendingSession session = pending(udp(kClient, 1, kServer, 53));
  const Tuple reply = session.reply;
  EXPECT_EQ(translate_source(&r, {}, session, search), DropReason::kNatNoAddress);
  EXPECT_EQ(session.reply, reply);
}

TEST_F(Translation, DestinationAddressAndPort) {
  const Tuple flow = tuple(kProtoTcp, kServer, 4000, kPublic, 8080);
  EXPECT_EQ(destination(flow, dnat(10, kClient, kClient)), tuple(kProtoTcp, kServer, 4000, kClient, 8080));
  EXPECT_EQ(destination(flow, with_ports(dnat(10, kClient, kClient), 80, 80)),
            tuple(kProtoTcp, kServer, 4000, kClient, 80));
  EXPECT_EQ(destination(flow, rule(10, NatTranslation::kExclude, NatKind::kDestination)), flow);
  const auto in_range = destination(flow, with_ports(dnat(10, kClient, kClient), 8000, 8100));
  EXPECT_EQ(in_range.destination_port.host(), 8080) << "kept inside the range";
  const auto moved = destination(flow, with_ports(dnat(10, kClient, kClient), 9000, 9003));
  EXPECT_GE(moved.destination_port.host(), 9000);
  EXPECT_LE(moved.destination_port.host(), 9003);
}

TEST_F(Translation, ADestinationRangeKeepsAClientWithItsServer) {
  const NatRuleRecord r = dnat(10, ip(192, 168, 10, 16), ip(192, 168, 10, 19));
  std::set<IpAddress> used;
  for (uint32_t n = 0; n < 200; ++n) {
    const IpAddress client = Ipv4Address::from_host(0xc6336400 + n);
    const Tuple first = destination(tuple(kProtoTcp, client, 1000, kPublic, 80), r);
    EXPECT_EQ(first.destination, destination(tuple(kProtoTcp, client, 2000, kPublic, 443), r).destination);
    EXPECT_GE(first.destination, r.address_low);
    EXPECT_LE(first.destination, r.address_high);
    used.insert(first.destination);
  }
  EXPECT_EQ(used.size(), 4u);
}

// Recorded from Linux (data/linux_nat.txt, d2-null-binding): two public addresses lead to one server; of two
// flows of one client socket the second gets another source port.
TEST_F(Translation, ClashingDestinationNatIsSolvedByTheSourcePort) {
  const NatRuleRecord r = with_ports(dnat(10, kClient, kClient), 80, 80);
  for (uint8_t n = 0; n < 20; ++n) {
    PendingSession session =
        pending(tuple(kProtoTcp, kServer, 4000, ip(203, 0, 113, static_cast<uint8_t>(10 + n)), 8080));
    translate_destination(&r, session, search);
    EXPECT_EQ(session.packet_tuple(), tuple(kProtoTcp, kServer, 4000, kClient, 80));
    ASSERT_EQ(translate_source(nullptr, {}, session, search), DropReason::kNone);
    EXPECT_EQ(session.packet_tuple().source_port.host() == 4000, n == 0);
    EXPECT_TRUE(table->confirm(session, WorkerId(0), 1));
  }
}

TEST_F(Translation, NamesTheRulesForExplain) {
  const NatRuleRecord exclude = rule(70, NatTranslation::kExclude), r = dnat(30, kClient, kClient);
  PendingSession session = pending(udp(kServer, 1, kPublic, 2));
  translate_destination(&r, session, search);
  ASSERT_EQ(translate_source(&exclude, kPublic, session, search), DropReason::kNone);
  EXPECT_EQ(session.destination_rule_number, 30u);
  EXPECT_EQ(session.destination_rule_index, 3u);
  EXPECT_EQ(session.source_rule_number, 70u);
  EXPECT_EQ(session.source_rule_index, 7u);
  EXPECT_EQ(session.original, udp(kServer, 1, kPublic, 2));
  EXPECT_EQ(session.reply, udp(kClient, 2, kServer, 1));
}

// Both families.

const IpAddress kClient6 = ip("2001:db8:1::45"), kOther6 = ip("2001:db8:1::46"),
                kServer6 = ip("2001:db8:ff::9");
const IpAddress kPublic6 = ip("2001:db8:2::1");

NatRuleRecord masquerade6() {
  return of_family(rule(10, NatTranslation::kMasquerade), Family::kIpv6);
}

TEST_F(Translation, Ipv6PortsAreChosenAsThoseOfIpv4) {
  const NatRuleRecord r = masquerade6();
  const auto send = [&](const Tuple& flow) { return source(flow, &r, kPublic6); };
  EXPECT_EQ(send(udp(kClient6, 4000, kServer6, 53)), udp(kPublic6, 4000, kServer6, 53));
  const auto clash = send(udp(kOther6, 4000, kServer6, 53));
  ASSERT_TRUE(clash);
  EXPECT_EQ(clash->source, kPublic6);
  EXPECT_GE(clash->source_port.host(), 1024);
  EXPECT_NE(clash->source_port.host(), 4000);
  EXPECT_EQ(send(echo(kClient6, kServer6, 7)), echo(kPublic6, kServer6, 7));
  EXPECT_NE(send(echo(kOther6, kServer6, 7))->source_port.host(), 7);
  EXPECT_EQ(send(tuple(kProtoGre, kClient6, 0, kServer6, 0)), tuple(kProtoGre, kPublic6, 0, kServer6, 0));
}

// All of them are one class, other than ports.
TEST_F(Translation, IdentifiersAreChosenFromAllThereAre) {
  const NatRuleRecord r4 = rule(10, NatTranslation::kMasquerade), r6 = masquerade6();
  int large = 0;
  for (uint8_t n = 0; n < 20; ++n) {
    const auto v4 = source(echo(ip(10, 0, 0, n), kServer, 7), &r4);
    const auto v6 = source(echo(IpAddress::from_host(kClient6.host() + n), kServer6, 7), &r6, kPublic6);
    ASSERT_TRUE(v4 && v6);
    large += v4->source_port.host() > 1023 && v6->source_port.host() > 1023;
  }
  EXPECT_GT(large, 10);
}

TEST_F(Translation, AFullRangeOfIcmpv6IdentifiersIsExhaustedToo) {
  const NatRuleRecord r = with_ports(snat(10, kPublic6, kPublic6), 100, 101);
  EXPECT_TRUE(source(echo(kClient6, kServer6, 9), &r));
  EXPECT_TRUE(source(echo(kOther6, kServer6, 9), &r));
  EXPECT_EQ(source(echo(ip("2001:db8:1::47"), kServer6, 9), &r).error(), DropReason::kNatPortsExhausted);
}

TEST_F(Translation, MasqueradeOfIpv6WithoutAnAddressIsToldSo) {
  const NatRuleRecord r = masquerade6();
  EXPECT_EQ(source(udp(kClient6, 1, kServer6, 53), &r, IpAddress{}).error(), DropReason::kNatNoAddress);
}

// A host keeps its number in its prefix, and its port, unless another flow has the reply tuple.
TEST_F(Translation, APrefixIsTranslatedOneToOne) {
  NatRuleRecord r = rule(10, NatTranslation::kPrefix);
  r.address_low = ip("198.18.16.0");
  r.prefix_length = 96 + 20;
  EXPECT_EQ(source(udp(ip("10.1.35.7"), 4000, kServer, 53), &r), udp(ip("198.18.19.7"), 4000, kServer, 53));
  EXPECT_EQ(source(udp(ip("10.1.255.255"), 4000, kServer, 53), &r),
            udp(ip("198.18.31.255"), 4000, kServer, 53));
  const auto clash = source(udp(ip("10.2.35.7"), 4000, kServer, 53), &r);  // the same host number
  ASSERT_TRUE(clash);
  EXPECT_EQ(clash->source, ip("198.18.19.7"));
  EXPECT_NE(clash->source_port.host(), 4000);
  NatRuleRecord back = of_family(rule(20, NatTranslation::kPrefix, NatKind::kDestination), Family::kIpv6);
  back.address_low = ip("2001:db8:aaaa::");
  back.prefix_length = 48;
  EXPECT_EQ(destination(udp(kServer6, 1, ip("2001:db8:bbbb:1:2:3:4:5"), 80), back),
            udp(kServer6, 1, ip("2001:db8:aaaa:1:2:3:4:5"), 80));
}

TEST_F(Translation, APrefixRuleMayNamePorts) {
  NatRuleRecord r = with_ports(rule(10, NatTranslation::kPrefix), 7000, 7000);
  r.address_low = ip("198.18.0.0");
  r.prefix_length = 96 + 16;
  EXPECT_EQ(source(udp(ip("10.1.35.7"), 4000, kServer, 53), &r), udp(ip("198.18.35.7"), 7000, kServer, 53));
}

// The recorded hairpin of data/linux_nat.txt (nat-both/hairpin), by rules: a LAN host reaches another by the
// public address; one session translates both ends.
TEST_F(Translation, HairpinTranslatesBothEndsInOneSession) {
  NatRuleRecord to_server = with_ports(dnat(10, kOther, kOther), 80, 80);
  to_server.destination = {.low = kPublic, .high = kPublic, .ports = {8080, 8080}};
  NatRuleRecord loop = rule(20, NatTranslation::kMasquerade);
  loop.interface = kLan;
  const NatRuleRecord rules[] = {to_server, loop};
  const RuleSet set{rules};
  const IpAddress lan = ip("192.168.10.1");
  const Tuple first = tuple(kProtoTcp, kClient, 4000, kPublic, 8080);
  PendingSession session = pending(first);
  translate_destination(set.match_destination(first, kLan, false, false), session, search);
  const Tuple routed = session.packet_tuple();
  ASSERT_EQ(translate_source(set.match_source(routed, kLan, false), lan, session, search), DropReason::kNone);
  ASSERT_TRUE(table->confirm(session, WorkerId(0), 1));
  EXPECT_EQ(session.packet_tuple(), tuple(kProtoTcp, lan, 4000, kOther, 80));
  const auto answer = table->lookup(tuple(kProtoTcp, kOther, 80, lan, 4000));
  ASSERT_TRUE(answer);
  const auto tuples = table->tuples(*answer);
  const FlowPath back = path_of(tuples->original, tuples->reply, answer->direction);
  EXPECT_EQ(back.routed.destination, kClient);
  EXPECT_EQ(back.sent, *inverse(first));
}

// The server itself by its public address: its own packets come back to it.
TEST_F(Translation, HairpinToOneself) {
  const NatRuleRecord r = dnat(10, kClient, kClient);
  PendingSession session = pending(udp(kClient, 4000, kPublic, 4000));
  translate_destination(&r, session, search);
  const NatRuleRecord loop = rule(20, NatTranslation::kMasquerade);
  const IpAddress lan = ip("192.168.10.1");
  ASSERT_EQ(translate_source(&loop, lan, session, search), DropReason::kNone);
  EXPECT_EQ(session.packet_tuple(), udp(lan, 4000, kClient, 4000));
  EXPECT_TRUE(table->confirm(session, WorkerId(0), 1));
}

TEST_F(Translation, DestinationPrefixAndRangeOfIpv6) {
  const NatRuleRecord r = with_ports(dnat(10, ip("2001:db8:1::10"), ip("2001:db8:1::13")), 80, 80);
  std::set<IpAddress> used;
  for (uint32_t n = 0; n < 200; ++n) {
    const IpAddress client = IpAddress::from_host(kServer6.host() + n);
    const Tuple first = destination(tuple(kProtoTcp, client, 1000, kPublic6, 8080), r);
    EXPECT_EQ(first.destination, destination(tuple(kProtoTcp, client, 2000, kPublic6, 443), r).destination);
    EXPECT_EQ(first.destination_port.host(), 80);
    used.insert(first.destination);
  }
  EXPECT_EQ(used.size(), 4u);
  EXPECT_EQ(*used.begin(), r.address_low);
  EXPECT_EQ(*used.rbegin(), r.address_high);
}

// As nf_conntrack_tuple_taken does, but no session is another worker's to end.
TEST_F(Translation, PortsOfTheWorkersOwnSessionsPastTheirTimeAreFree) {
  NatRuleRecord one_port = rule(10, NatTranslation::kMasquerade);
  one_port.protocol = kProtoUdp;
  one_port.has_port_range = 1;
  one_port.ports = {5000, 5000};
  const auto flow = [](uint16_t port) { return udp(kClient, port, ip(198, 51, 100, 9), 53); };
  ASSERT_TRUE(source(flow(1000), &one_port));
  EXPECT_EQ(source(flow(1001), &one_port, false).error(), DropReason::kNatPortsExhausted);
  constexpr uint64_t kLater = 3'600'000;
  const auto later = [&](WorkerId worker) {
    PendingSession session = pending(flow(1002));
    const TupleSearch then{.sessions = *table, .random = random, .worker = worker, .now_ms = kLater};
    const DropReason reason = translate_source(&one_port, kPublic, session, then);
    return std::pair(reason, session);
  };
  EXPECT_EQ(later(WorkerId(1)).first, DropReason::kNatPortsExhausted);
  const auto [reason, session] = later(WorkerId(0));
  ASSERT_EQ(reason, DropReason::kNone);
  EXPECT_EQ(table->size(), 1u) << "the search itself changes nothing";
  ASSERT_TRUE(table->confirm(session, WorkerId(0), kLater));
  EXPECT_EQ(table->size(), 1u);
  EXPECT_FALSE(table->lookup(flow(1000)));
  EXPECT_TRUE(table->lookup(flow(1002)));
}

}  // namespace
}  // namespace espalier::nat
