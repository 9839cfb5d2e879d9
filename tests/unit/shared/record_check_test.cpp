#include "control/shared/record_check.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <tuple>

#include "control/shared/statistics.hpp"

namespace espalier::record_check {
namespace {

IpAddress v4(const char* text) {
  Ipv4Address address;
  EXPECT_EQ(::inet_pton(AF_INET, text, &address), 1) << text;
  return address;
}
IpAddress v6(const char* text) {
  IpAddress address;
  EXPECT_EQ(::inet_pton(AF_INET6, text, &address), 1) << text;
  return address;
}
IpAddress plus(const IpAddress& address, int n) {
  return IpAddress::from_host(address.host() + static_cast<uint128>(n));
}

// A valid record, and changes each of which alone must make it invalid.
template <class Record>
void expect(const Record& valid, std::initializer_list<std::function<void(Record&)>> changes) {
  const auto finding = check(valid);
  EXPECT_FALSE(finding) << *finding;
  size_t number = 0;
  for (const auto& change : changes) {
    Record changed = valid;
    change(changed);
    EXPECT_TRUE(check(changed)) << "change " << number;
    ++number;
  }
}

template <class Enum>
Enum unknown(int value) {
  return static_cast<Enum>(value);
}

TEST(RecordCheck, Settings) {
  using R = SettingsRecord;
  expect<R>({}, {[](R& r) { r.sessions = unknown<R::Sessions>(2); }, [](R& r) { r.busy_poll = 2; },
                 [](R& r) { r.session_limit = 0; }, [](R& r) { r.session_limit = 0xffffffff; },
                 [](R& r) { r.tcp_established_s = 0; }, [](R& r) { r.generic_s = 0x80000000; },
                 [](R& r) { r.host_path = 2; }, [](R& r) { r.import_routes = 2; },
                 [](R& r) { r.host_namespace.assign("../passwd"); },
                 [](R& r) { r.host_namespace.assign(".."); }, [](R& r) { r.host_namespace.length = 64; }});
  R import;
  import.host_path = import.import_routes = 1;
  import.import_protocols[2] = 1;
  import.host_namespace.assign("host");
  expect<R>(import, {[](R& r) { r.import_table = 0; }, [](R& r) { r.import_protocols[2] = 0; }});
}

InterfaceRecord port() {
  InterfaceRecord r;
  r.index = InterfaceIndex(3);
  r.name.assign("eth0");
  r.device.assign("net_null0");
  return r;
}

TEST(RecordCheck, Interfaces) {
  using R = InterfaceRecord;
  expect<R>(port(), {[](R& r) { r.index = kNoInterface; },
                     [](R& r) { r.index = InterfaceIndex(statistics::kMaxInterfaces); },
                     [](R& r) { r.kind = unknown<InterfaceKind>(5); },
                     [](R& r) { r.enabled = 2; },
                     [](R& r) { r.name.length = 0; },
                     [](R& r) { r.name.length = 32; },
                     [](R& r) { r.name.bytes[0] = '\033'; },
                     [](R& r) { r.device.length = 0; },
                     [](R& r) { r.device.length = 255; },
                     [](R& r) { r.mtu_bytes = 67; },
                     [](R& r) { r.mtu_bytes = 65536; },
                     [](R& r) { r.vlan_id = 1; },
                     [](R& r) { r.parent = InterfaceIndex(0); },
                     [](R& r) { r.dad = 2; },
                     [](R& r) { r.mss_clamp_bytes = 87; },
                     [](R& r) { r.mss_clamp_bytes = 9141; },
                     [](R& r) { r.protect = 1; },
                     [](R& r) { r.has_key = 1; },
                     [](R& r) { r.key = 1; },
                     [](R& r) { r.local = v4("192.0.2.1"); },
                     [](R& r) { r.remote = v6("2001:db8::1"); }});
  auto vlan = port();
  vlan.kind = InterfaceKind::kVlan;
  vlan.parent = InterfaceIndex(2);
  vlan.vlan_id = 4094;
  vlan.mss_clamp_bytes = kMssToPathMtu;
  expect<R>(vlan, {[](R& r) { r.vlan_id = 0; }, [](R& r) { r.vlan_id = 4095; },
                   [](R& r) { r.parent = kNoInterface; }, [](R& r) { r.parent = InterfaceIndex(3); }});
}

TEST(RecordCheck, TunnelInterfaces) {
  using R = InterfaceRecord;
  auto gre = port();
  gre.kind = InterfaceKind::kGre;
  gre.local = v4("198.51.100.3");
  gre.remote = v4("203.0.113.9");
  gre.ttl = 0;
  gre.protect = gre.has_key = 1;
  gre.key = 0xffffffff;
  expect<R>(gre, {[](R& r) { r.local = {}; }, [](R& r) { r.remote = {}; },
                  [](R& r) { r.local = r.remote = {}; }, [](R& r) { r.remote = v4("224.0.0.9"); },
                  [](R& r) { r.local = v6("2001:db8::1"); }, [](R& r) { r.local = r.remote = v4("0.0.0.0"); },
                  [](R& r) { r.protect = 2; }, [](R& r) { r.has_key = 2; }, [](R& r) { r.has_key = 0; },
                  [](R& r) { r.kind = InterfaceKind::kDummy; }, [](R& r) { r.kind = InterfaceKind::kVti; }});
  auto vti = port();
  vti.kind = InterfaceKind::kVti;
  expect<R>(vti, {[](R& r) { r.local = v4("198.51.100.3"); }, [](R& r) { r.remote = v4("198.51.100.3"); }});
  vti.local = v6("2001:db8::1");
  vti.remote = v6("2001:db8::2");
  expect<R>(vti, {[](R& r) { r.remote = v4("203.0.113.9"); }, [](R& r) { r.remote = v6("ff02::1"); },
                  [](R& r) { r.protect = 1; }});
}

TEST(RecordCheck, Addresses) {
  using R = AddressRecord;
  expect<R>({InterfaceIndex(0), IpPrefix::of(v4("192.0.2.1"), 24)},
            {[](R& r) { r.prefix = IpPrefix::of(v4("192.0.2.1"), 33); },
             [](R& r) { r.prefix.length = 95; },  // an IPv4 address with a length of IPv6
             [](R& r) { r.interface = kNoInterface; }, [](R& r) { r.prefix.address = {}; },
             [](R& r) { r.prefix.address = v4("224.0.0.1"); },
             [](R& r) { r.prefix.address = v4("255.255.255.255"); }});
  expect<R>({InterfaceIndex(0), IpPrefix::of(v6("2001:db8:a::1"), 64)},
            {[](R& r) { r.prefix.length = 129; }, [](R& r) { r.prefix.address = v6("::"); },
             [](R& r) { r.prefix.address = v6("ff02::1"); }});
}

TEST(RecordCheck, Routes) {
  using R = RouteRecord;
  R via;
  via.index = RouteIndex(0);
  via.next_hop_count = 1;
  via.prefix = IpPrefix::of(v4("10.0.0.0"), 8);
  via.metric = 0x7fffffff;
  via.next_hops[0] = {v4("192.0.2.1"), InterfaceIndex(1)};
  expect<R>(via, {[](R& r) { r.kind = unknown<RouteKind>(4); },
                  [](R& r) { r.prefix = IpPrefix::of(v4("10.0.0.0"), 33); },
                  [](R& r) { r.prefix.address = v4("10.0.0.1"); }, [](R& r) { r.prefix.length = 64; },
                  [](R& r) { r.next_hops[0].interface = kNoInterface; },
                  [](R& r) { r.next_hops[0].interface = InterfaceIndex(999); },
                  [](R& r) { r.next_hops[0].via = v4("224.0.0.1"); },
                  [](R& r) { r.next_hops[0].via = v6("fe80::1"); }, [](R& r) { r.next_hop_count = 0; },
                  [](R& r) { r.next_hop_count = 2; }, [](R& r) { r.next_hop_count = 9; },
                  [](R& r) { r.imported = 2; }, [](R& r) { r.metric = 0x80000000; },
                  [](R& r) { r.index = kNoRoute; }, [](R& r) { r.kind = RouteKind::kBlackhole; }});
  R on_link = via;
  on_link.next_hops[0].via = {};
  expect<R>(on_link, {});
  R ecmp = via;
  ecmp.prefix = IpPrefix::any(Family::kIpv6);
  ecmp.next_hop_count = 8;
  std::ranges::fill(ecmp.next_hops, NextHop{v6("fe80::1"), InterfaceIndex(2)});
  expect<R>(ecmp, {[](R& r) { r.next_hops[7].interface = kNoInterface; },
                   [](R& r) { r.next_hops[7].via = v4("192.0.2.1"); }, [](R& r) { r.prefix.length = 130; },
                   [](R& r) { r.prefix.address = v6("::1"); }});
  R blackhole = via;
  blackhole.kind = RouteKind::kBlackhole;
  blackhole.next_hop_count = 0;
  expect<R>(blackhole, {[](R& r) { r.kind = RouteKind::kNextHop; }});
}

TEST(RecordCheck, Neighbors) {
  using R = NeighborRecord;
  expect<R>({InterfaceIndex(0), v4("192.0.2.1"), {2, 0, 0, 0, 0, 1}},
            {[](R& r) { r.mac = {}; }, [](R& r) { r.mac[0] = 1; }, [](R& r) { r.address = {}; },
             [](R& r) { r.interface = kNoInterface; }});
  expect<R>({InterfaceIndex(0), v6("fe80::1"), {2, 0, 0, 0, 0, 1}},
            {[](R& r) { r.address = v6("ff02::1"); }});
}

NatRuleRecord nat_rule(Family family) {
  NatRuleRecord rule;
  rule.family = family;
  rule.source = rule.destination = NatMatch::any(family);
  return rule;
}

TEST(RecordCheck, NatRules) {
  using R = NatRuleRecord;
  R rule = nat_rule(Family::kIpv4);
  rule.translation = NatTranslation::kAddress;
  rule.address_low = rule.address_high = v4("192.0.2.1");
  expect<R>(rule, {[](R& r) { r.kind = unknown<NatKind>(2); },
                   [](R& r) { r.family = unknown<Family>(2); },
                   [](R& r) { r.family = Family::kIpv6; },
                   [](R& r) { r.translation = unknown<NatTranslation>(5); },
                   [](R& r) { r.ipsec = unknown<IpsecMatch>(3); },
                   [](R& r) { r.local_output = 2; },
                   [](R& r) { r.local_output = 1; },
                   [](R& r) { r.prefix_length = 128; },
                   [](R& r) { r.has_port_range = 2; },
                   [](R& r) { r.index = statistics::kMaxNatRules; },
                   [](R& r) { r.source.low = v4("10.0.0.2"), r.source.high = v4("10.0.0.1"); },
                   [](R& r) { r.source.high = plus(r.source.low, -1); },
                   [](R& r) { r.destination = NatMatch::any(Family::kIpv6); },
                   [](R& r) {
                     r.destination.ports = {2, 1};
                   },
                   [](R& r) { r.destination.negate = 2; },
                   [](R& r) {
                     r.ports = {2, 1};
                   },
                   [](R& r) {
                     r.has_port_range = 1, r.ports = {0, 5};
                   },
                   [](R& r) { r.address_low = v4("0.0.0.0"); },
                   [](R& r) { r.address_low = r.address_high = v4("255.255.255.255"); },
                   [](R& r) { r.address_low = r.address_high = v4("224.0.0.1"); },
                   [](R& r) { r.address_low = r.address_high = v4("127.0.0.1"); },
                   [](R& r) { r.address_low = r.address_high = v6("2001:db8::1"); },
                   [](R& r) { r.address_high = plus(r.address_high, 1); },
                   [](R& r) { r.interface = InterfaceIndex(256); }});
  rule.translation = NatTranslation::kRange;
  rule.address_high = plus(rule.address_high, 3);
  expect<R>(rule, {[](R& r) { r.address_high = plus(r.address_low, -1); },
                   [](R& r) { r.address_low = v4("126.0.0.1"), r.address_high = v4("128.0.0.1"); },
                   [](R& r) { r.address_high = v6("2001:db8::1"); }});
  rule.translation = NatTranslation::kMasquerade;
  expect<R>(rule, {[](R& r) { r.kind = NatKind::kDestination; }});
  rule.translation = NatTranslation::kExclude;
  rule.kind = NatKind::kDestination;
  rule.local_output = 1;
  expect<R>(rule, {[](R& r) { r.kind = NatKind::kSource; }});
}

TEST(RecordCheck, NatRulesOfIpv6AndToPrefixes) {
  using R = NatRuleRecord;
  R rule = nat_rule(Family::kIpv6);
  rule.translation = NatTranslation::kRange;
  rule.address_low = v6("2001:db8::1");
  rule.address_high = v6("2001:db8::ffff");
  expect<R>(rule, {[](R& r) { r.family = Family::kIpv4; }, [](R& r) { r.address_low = v6("::1"); },
                   [](R& r) { r.address_high = v6("ff02::1"); },
                   [](R& r) { r.source = NatMatch::any(Family::kIpv4); },
                   [](R& r) { r.source.low = v4("10.0.0.0"); }});
  rule.translation = NatTranslation::kPrefix;
  rule.address_low = v6("2001:db8:1::");
  rule.prefix_length = 48;
  expect<R>(rule, {[](R& r) { r.prefix_length = 129; }, [](R& r) { r.prefix_length = 40; },
                   [](R& r) { r.prefix_length = 0; }, [](R& r) { r.address_low = v4("10.0.0.0"); },
                   [](R& r) { r.address_low = v6("ff05::"); }});
  R v4_rule = nat_rule(Family::kIpv4);
  v4_rule.translation = NatTranslation::kPrefix;
  v4_rule.address_low = v4("172.16.12.0");
  v4_rule.prefix_length = 96 + 24;
  expect<R>(v4_rule, {[](R& r) { r.prefix_length = 24; }, [](R& r) { r.prefix_length = 96 + 16; },
                      [](R& r) { r.family = Family::kIpv6; }, [](R& r) { r.address_low = v4("127.0.0.0"); }});
}

TEST(RecordCheck, Policies) {
  using R = PolicyRecord;
  R policy;
  policy.templates = 2;
  policy.selector.source = IpPrefix::of(v4("10.0.0.0"), 8);
  policy.selector.destination = IpPrefix::any(Family::kIpv4);
  policy.interface = InterfaceIndex(1);
  policy.vti = InterfaceIndex(7);
  policy.tmpl[0] = {
      .source = v6("2001:db8::1"), .destination = v6("2001:db8::2"), .reqid = {}, .spi = Spi(256)};
  policy.tmpl[1].mode = EspMode::kTransport;
  policy.tmpl[1].level = TemplateLevel::kUse;
  expect<R>(policy, {[](R& r) { r.direction = unknown<Direction>(3); },
                     [](R& r) { r.action = unknown<PolicyAction>(3); },
                     [](R& r) { r.templates = 5; },
                     [](R& r) { r.templates = 0; },
                     [](R& r) { r.action = PolicyAction::kBypass; },
                     [](R& r) { r.index = PolicyIndex(statistics::kMaxPolicies); },
                     [](R& r) { r.direction = Direction::kIn; },  // with an egress interface
                     [](R& r) { r.interface = InterfaceIndex(300); },
                     [](R& r) { r.vti = InterfaceIndex(300); },
                     [](R& r) { r.tmpl[0].mode = unknown<EspMode>(2); },
                     [](R& r) { r.tmpl[1].level = unknown<TemplateLevel>(2); },
                     [](R& r) { r.tmpl[1].mode = EspMode::kTunnel; },  // optional, in an out policy
                     [](R& r) { r.tmpl[0].spi = Spi(255); },
                     [](R& r) { r.tmpl[0].source = v4("192.0.2.1"); },
                     [](R& r) { r.tmpl[0].destination = v6("ff02::1"); },
                     [](R& r) { r.selector.source.length = 4; },
                     [](R& r) { r.selector.destination.length = 140; },
                     [](R& r) { r.selector.destination = IpPrefix::any(Family::kIpv6); },
                     [](R& r) {
                       r.selector.source_port = {7, 6};
                     },
                     [](R& r) { r.name.length = 200; }});
  policy.direction = Direction::kFwd;
  policy.interface = kNoInterface;
  policy.tmpl[1].mode = EspMode::kTunnel;  // inbound a tunnel may be optional
  policy.templates = 4;
  expect<R>(policy, {[](R& r) { r.direction = Direction::kOut; },
                     [](R& r) { r.tmpl[3].mode = unknown<EspMode>(2); }});
}

// Every value of all four fields against a list of what exists, written down from the RFCs.
TEST(RecordCheck, AlgorithmsThatExist) {
  using Key = std::tuple<EspCipher, EspIntegrity, int, int>;
  std::set<Key> existing;
  for (const int key : {16, 24, 32})
    for (const int icv : {8, 12, 16}) existing.emplace(EspCipher::kAesGcm, EspIntegrity::kNone, key, icv);
  existing.emplace(EspCipher::kChaCha20Poly1305, EspIntegrity::kNone, 32, 16);
  const std::pair<EspIntegrity, std::vector<int>> hashes[] = {
      {EspIntegrity::kHmacSha1, {12, 16, 20}},
      {EspIntegrity::kHmacSha256, {12, 16, 20, 24, 28, 32}},
      {EspIntegrity::kHmacSha384, {12, 16, 20, 24, 28, 32, 36, 40, 44, 48}},
      {EspIntegrity::kHmacSha512, {12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64}}};
  for (const auto& [integrity, lengths] : hashes)
    for (const int icv : lengths) {
      existing.emplace(EspCipher::kNull, integrity, 0, icv);
      for (const int key : {16, 24, 32}) existing.emplace(EspCipher::kAesCbc, integrity, key, icv);
    }
  size_t found = 0;
  for (int cipher = 0; cipher < 6; ++cipher)
    for (int integrity = 0; integrity < 7; ++integrity)
      for (int key = 0; key < 256; ++key)
        for (int icv = 0; icv < 256; ++icv) {
          const EspAlgorithm a{unknown<EspCipher>(cipher), unknown<EspIntegrity>(integrity),
                               static_cast<uint8_t>(key), static_cast<uint8_t>(icv)};
          const bool exists = existing.contains({a.cipher, a.integrity, key, icv});
          ASSERT_EQ(!check(a), exists) << cipher << " " << integrity << " " << key << " " << icv;
          found += exists ? 1 : 0;
        }
  EXPECT_EQ(found, existing.size());
}

SaRecord sa_record() {
  SaRecord sa;
  sa.spi = Spi(256);
  sa.replay_window = 65536;
  sa.source = v4("192.0.2.1");
  sa.destination = v4("198.51.100.1");
  return sa;
}

TEST(RecordCheck, Sas) {
  using R = SaRecord;
  R sa = sa_record();
  sa.last_sequence = 0xffffffff;
  expect<R>(sa, {[](R& r) { r.spi = Spi(255); }, [](R& r) { r.direction = Direction::kFwd; },
                 [](R& r) { r.direction = unknown<Direction>(9); },
                 [](R& r) { r.mode = unknown<EspMode>(2); }, [](R& r) { r.algorithm.key_bytes = 20; },
                 [](R& r) { r.flags = 512; }, [](R& r) { r.replay_window = 65537; },
                 [](R& r) { r.source = {}; }, [](R& r) { r.destination = v4("224.0.0.1"); },
                 [](R& r) { r.destination = v6("2001:db8::1"); }, [](R& r) { r.vti = InterfaceIndex(256); },
                 [](R& r) { r.name.length = 77; }, [](R& r) { r.last_sequence = uint64_t{1} << 32; },
                 [](R& r) { r.encap_source_port = 4500; }, [](R& r) { r.encap_destination_port = 4500; },
                 [](R& r) { r.keepalive_s = 20; }, [](R& r) { r.flags = kSaMapping; },
                 [](R& r) { r.flags = kSaHasSelector, r.selector.source.length = 133; }});
  sa.flags = kSaHasSelector;
  sa.selector.source = sa.selector.destination = IpPrefix::any(Family::kIpv6);
  expect<R>(sa, {[](R& r) { r.mode = EspMode::kTransport; },
                 [](R& r) { r.selector.source = IpPrefix::any(Family::kIpv4); }});
}

TEST(RecordCheck, SasWithEncapEsnAndLimits) {
  using R = SaRecord;
  R sa = sa_record();
  sa.flags = kSaEncap;
  sa.encap_source_port = sa.encap_destination_port = 4500;
  sa.keepalive_s = 20;
  expect<R>(sa, {[](R& r) { r.encap_source_port = 0; }, [](R& r) { r.encap_destination_port = 0; },
                 [](R& r) { r.direction = Direction::kIn; }, [](R& r) { r.flags |= kSaMapping; }});
  sa.keepalive_s = 0;
  sa.direction = Direction::kIn;
  sa.flags |= kSaMapping | kSaEsn;
  sa.last_sequence = 0xffff'ffff'ffff'fffe;
  expect<R>(sa, {[](R& r) { r.direction = Direction::kOut; }, [](R& r) { r.replay_window = 0; },
                 [](R& r) { ++r.last_sequence; }, [](R& r) { r.flags &= ~kSaEsn; }});
  sa.limits = {.soft_packets = 5,
               .hard_packets = 5,
               .soft_bytes = 5,
               .hard_bytes = 0,
               .soft_seconds = 0,
               .hard_seconds = 5};
  expect<R>(sa, {[](R& r) { r.limits.hard_packets = 4; }, [](R& r) { r.limits.hard_bytes = 4; },
                 [](R& r) { r.limits.soft_seconds = 6; }});
}

TEST(RecordCheck, QueriesAndExplain) {
  using Q = message::Query;
  expect<Q>({}, {[](Q& q) { q.kind = unknown<message::QueryKind>(4); }, [](Q& q) { q.limit = 0; },
                 [](Q& q) { q.limit = 5000; }, [](Q& q) { q.count_only = 1; },
                 [](Q& q) { q.filter.protocol = kProtoTcp; }, [](Q& q) { q.filter.port = 80; },
                 [](Q& q) { q.filter.rule = 10; }, [](Q& q) { q.filter.has_prefix = 1; }});
  Q sessions{.kind = message::QueryKind::kSessions, .count_only = 1, .filter = {}};
  sessions.filter.has_prefix = 1;
  sessions.filter.prefix = IpPrefix::of(v4("10.0.0.0"), 8);
  expect<Q>(sessions, {[](Q& q) { q.count_only = 2; }, [](Q& q) { q.filter.has_prefix = 2; },
                       [](Q& q) { q.filter.prefix.address = v4("10.0.0.1"); },
                       [](Q& q) { q.filter.prefix.length = 129; }});
  using E = message::Explain;
  expect<E>({}, {[](E& e) { e.in = InterfaceIndex(300); }, [](E& e) { e.dont_fragment = 2; },
                 [](E& e) { e.decrypted = 1; }, [](E& e) { e.size_bytes = 47; }});
  E v4_packet;
  v4_packet.source = v4("192.0.2.1");
  v4_packet.destination = v4("198.51.100.1");
  v4_packet.size_bytes = 28;
  expect<E>(v4_packet, {[](E& e) { e.size_bytes = 27; }, [](E& e) { e.source = v6("2001:db8::1"); }});
}

TEST(RecordCheck, WhatTheDataplaneAnswers) {
  using A = message::Ack;
  expect<A>({},
            {[](A& a) { a.ok = 2; }, [](A& a) { a.text.length = 240; }, [](A& a) { a.text.assign("a\nb"); }});
  using I = message::InterfaceRow;
  I row;
  row.name.assign("eth0");
  expect<I>(row, {[](I& r) { r.name.length = 0; }, [](I& r) { r.link_up = 3; },
                  [](I& r) { r.index = kNoInterface; }});
  using R = message::RouteRow;
  R route;
  route.record.prefix = IpPrefix::of(v6("2001:db8::"), 32);
  route.record.next_hop_count = 1;
  route.record.next_hops[0].interface = InterfaceIndex(4);
  expect<R>(route, {[](R& r) { r.record.prefix.length = 129; }, [](R& r) { r.connected = 2; },
                    [](R& r) { r.usable = 2; }, [](R& r) { r.record.kind = unknown<RouteKind>(4); },
                    [](R& r) { r.record.next_hop_count = 9; }, [](R& r) { r.record.imported = 2; },
                    [](R& r) { r.record.next_hops[0].interface = InterfaceIndex(400); }});
  using N = message::NeighborRow;
  expect<N>({}, {[](N& r) { r.state = unknown<message::NeighborState>(6); },
                 [](N& r) { r.record.interface = kNoInterface; }});
  using S = message::SessionRow;
  expect<S>({}, {[](S& r) { r.assured = 2; }, [](S& r) { r.seen_reply = 2; }});
  using T = message::TextRow;
  expect<T>({}, {[](T& r) { r.stage.length = 32; }, [](T& r) { r.text.assign("\033[2J"); }});
}

TEST(RecordCheck, Events) {
  using A = message::Acquire;
  A acquire;
  acquire.policy = PolicyIndex(0);
  expect<A>(acquire, {[](A& e) { e.policy = kNoPolicy; },
                      [](A& e) { e.policy = PolicyIndex(statistics::kMaxPolicies); },
                      [](A& e) { e.vti = InterfaceIndex(256); }});
  acquire.policy = kNoPolicy;
  acquire.vti = InterfaceIndex(3);
  expect<A>(acquire, {[](A& e) { e.vti = kNoInterface; }});
  using E = message::Expire;
  expect<E>({.spi = Spi(256), .name = {}},
            {[](E& e) { e.spi = Spi(1); }, [](E& e) { e.direction = Direction::kFwd; },
             [](E& e) { e.hard = 2; }, [](E& e) { e.name.assign("\r"); }});
  using M = message::Mapping;
  expect<M>({.spi = Spi(256),
             .old_port = 4500,
             .new_port = 1,
             .old_address = v4("192.0.2.1"),
             .new_address = v4("192.0.2.2"),
             .name = {}},
            {[](M& e) { e.spi = Spi(255); }, [](M& e) { e.new_port = 0; }, [](M& e) { e.old_port = 0; },
             [](M& e) { e.new_address = v6("2001:db8::1"); }, [](M& e) { e.new_address = v4("0.0.0.0"); },
             [](M& e) { e.old_address = {}; }, [](M& e) { e.name.length = 99; }});
}

}  // namespace
}  // namespace espalier::record_check
