#include "control/shared/record_check.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "control/shared/statistics.hpp"

namespace espalier::record_check {
namespace {

constexpr auto address(uint32_t host) {
  return Ipv4Address::from_host(host);
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
                 [](R& r) { r.tcp_established_s = 0; }, [](R& r) { r.generic_s = 0x80000000; }});
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
                     [](R& r) { r.kind = unknown<InterfaceKind>(3); }, [](R& r) { r.enabled = 2; },
                     [](R& r) { r.name.length = 0; }, [](R& r) { r.name.length = 32; },
                     [](R& r) { r.name.bytes[0] = '\033'; }, [](R& r) { r.device.length = 0; },
                     [](R& r) { r.device.length = 255; }, [](R& r) { r.mtu_bytes = 67; },
                     [](R& r) { r.mtu_bytes = 65536; }, [](R& r) { r.vlan_id = 1; },
                     [](R& r) { r.parent = InterfaceIndex(0); }});
  auto vlan = port();
  vlan.kind = InterfaceKind::kVlan;
  vlan.parent = InterfaceIndex(2);
  vlan.vlan_id = 4094;
  expect<R>(vlan, {[](R& r) { r.vlan_id = 0; }, [](R& r) { r.vlan_id = 4095; },
                   [](R& r) { r.parent = kNoInterface; }, [](R& r) { r.parent = InterfaceIndex(3); }});
}

TEST(RecordCheck, Addresses) {
  using R = AddressRecord;
  expect<R>({InterfaceIndex(0), {address(0xc0000201), 24}},
            {[](R& r) { r.prefix.length = 33; }, [](R& r) { r.interface = kNoInterface; },
             [](R& r) { r.prefix.address = {}; }, [](R& r) { r.prefix.address = address(0xe0000001); },
             [](R& r) { r.prefix.address = address(0xffffffff); }});
}

TEST(RecordCheck, Routes) {
  using R = RouteRecord;
  const R via{
      RouteIndex(0), RouteKind::kNextHop, {address(0x0a000000), 8}, address(0xc0000201), InterfaceIndex(1)};
  expect<R>(via,
            {[](R& r) { r.kind = unknown<RouteKind>(5); }, [](R& r) { r.prefix.length = 33; },
             [](R& r) { r.prefix.address = address(0x0a000001); }, [](R& r) { r.interface = kNoInterface; },
             [](R& r) { r.interface = InterfaceIndex(999); }, [](R& r) { r.via = {}; },
             [](R& r) { r.index = kNoRoute; }, [](R& r) { r.kind = RouteKind::kBlackhole; }});
  R blackhole = via;
  blackhole.kind = RouteKind::kBlackhole;
  blackhole.interface = kNoInterface;
  expect<R>(blackhole, {[](R& r) { r.kind = RouteKind::kInterface; }});
}

TEST(RecordCheck, Neighbors) {
  using R = NeighborRecord;
  expect<R>({InterfaceIndex(0), address(0xc0000201), {2, 0, 0, 0, 0, 1}},
            {[](R& r) { r.mac = {}; }, [](R& r) { r.mac[0] = 1; }, [](R& r) { r.address = {}; },
             [](R& r) { r.interface = kNoInterface; }});
}

TEST(RecordCheck, NatRules) {
  using R = NatRuleRecord;
  R rule;
  rule.translation = NatTranslation::kAddress;
  rule.address_low = rule.address_high = 0xc0000201;
  expect<R>(rule, {[](R& r) { r.kind = unknown<NatKind>(2); },
                   [](R& r) { r.translation = unknown<NatTranslation>(4); },
                   [](R& r) { r.has_port_range = 2; }, [](R& r) { r.index = statistics::kMaxNatRules; },
                   [](R& r) { r.source.low = 2, r.source.high = 1; },
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
                   [](R& r) { r.address_low = 0; }, [](R& r) { r.address_low = r.address_high = 0xffffffff; },
                   [](R& r) { r.address_low = r.address_high = 0xe0000001; },
                   [](R& r) { r.address_low = r.address_high = 0x7f000001; },
                   [](R& r) { r.address_high += 1; }, [](R& r) { r.interface = InterfaceIndex(256); }});
  rule.translation = NatTranslation::kRange;
  rule.address_high += 3;
  expect<R>(rule, {[](R& r) { r.address_high = r.address_low - 1; },
                   [](R& r) { r.address_low = 0x7e000001, r.address_high = 0x80000001; }});
  rule.translation = NatTranslation::kMasquerade;
  expect<R>(rule, {[](R& r) { r.kind = NatKind::kDestination; }});
}

TEST(RecordCheck, Policies) {
  using R = PolicyRecord;
  R policy;
  policy.templates = 1;
  policy.selector.source = {address(0x0a000000), 8};
  expect<R>(policy,
            {[](R& r) { r.direction = unknown<Direction>(3); },
             [](R& r) { r.action = unknown<PolicyAction>(3); }, [](R& r) { r.templates = 2; },
             [](R& r) { r.templates = 0; }, [](R& r) { r.action = PolicyAction::kBypass; },
             [](R& r) { r.index = PolicyIndex(statistics::kMaxPolicies); },
             [](R& r) { r.selector.source.length = 4; }, [](R& r) { r.selector.destination.length = 40; },
             [](R& r) {
               r.selector.source_port = {7, 6};
             },
             [](R& r) { r.name.length = 200; }});
}

TEST(RecordCheck, Sas) {
  using R = SaRecord;
  R sa;
  sa.spi = Spi(256);
  sa.replay_window = 65536;
  sa.source = address(0xc0000201);
  sa.destination = address(0xc6336401);
  expect<R>(sa, {[](R& r) { r.spi = Spi(255); }, [](R& r) { r.direction = Direction::kFwd; },
                 [](R& r) { r.direction = unknown<Direction>(9); },
                 [](R& r) { r.algorithm = unknown<EspAlgorithm>(3); }, [](R& r) { r.flags = 64; },
                 [](R& r) { r.replay_window = 65537; }, [](R& r) { r.source = {}; },
                 [](R& r) { r.destination = address(0xe0000001); }, [](R& r) { r.name.length = 77; },
                 [](R& r) { r.flags = kSaHasSelector, r.selector.source.length = 33; }});
}

TEST(RecordCheck, QueriesAndExplain) {
  using Q = message::Query;
  expect<Q>({}, {[](Q& q) { q.kind = unknown<message::QueryKind>(4); }, [](Q& q) { q.limit = 0; },
                 [](Q& q) { q.limit = 5000; }});
  using E = message::Explain;
  expect<E>({}, {[](E& e) { e.in = InterfaceIndex(300); }, [](E& e) { e.dont_fragment = 2; },
                 [](E& e) { e.decrypted = 1; }, [](E& e) { e.size_bytes = 27; }});
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
  expect<R>({}, {[](R& r) { r.record.prefix.length = 33; }, [](R& r) { r.connected = 2; },
                 [](R& r) { r.record.kind = unknown<RouteKind>(5); },
                 [](R& r) { r.record.interface = InterfaceIndex(400); }});
  using N = message::NeighborRow;
  expect<N>({}, {[](N& r) { r.state = unknown<message::NeighborState>(6); },
                 [](N& r) { r.record.interface = kNoInterface; }});
  using S = message::SessionRow;
  expect<S>({}, {[](S& r) { r.assured = 2; }, [](S& r) { r.seen_reply = 2; }});
  using T = message::TextRow;
  expect<T>({}, {[](T& r) { r.stage.length = 32; }, [](T& r) { r.text.assign("\033[2J"); }});
}

}  // namespace
}  // namespace espalier::record_check
