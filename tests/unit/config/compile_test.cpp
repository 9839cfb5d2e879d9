// From text to records, and what an `apply` would change.
#include <gtest/gtest.h>

#include "control/config/config.hpp"
#include "control/shared/record_check.hpp"
#include "tests/unit/config/case_file.hpp"

namespace espalier::config::testing {
namespace {

constexpr std::string_view kSite = R"(
dataplane = { workers = 2; cores = "1-2"; poll = "busy"; memory = "ordinary"; sessions = 4096; };
icmp = { rate = 50; };
interfaces = {
  eth0 = { device = "net_af_packet,iface=a"; address = [ "192.168.0.1/24", "192.168.1.1/24" ]; };
  eth1 = { device = "0000:3b:00.0"; address = "198.51.100.3/24"; mtu = 9000; disable = true;
           vif = ( { id = 201; address = "172.18.201.10/16"; mtu = 1400; }, { id = 7; address = "192.168.7.1/16"; } ); };
  dum0 = { type = "dummy"; address = "172.18.0.1/32"; };
};
routes = (
  { prefix = "0.0.0.0/0"; via = "198.51.100.1"; },
  { prefix = "10.1.0.0/16"; via = "172.18.5.5"; },
  { prefix = "10.2.0.0/16"; via = "192.168.1.9"; interface = "eth0"; },
  { prefix = "10.3.0.0/16"; interface = "dum0"; },
  { prefix = "10.4.0.0/16"; blackhole = true; },
  { prefix = "10.5.0.0/16"; unreachable = true; },
  { prefix = "10.6.0.1"; prohibit = true; },
  { prefix = "10.7.0.0/16"; via = "192.168.1.9"; },
  { prefix = "10.8.0.0/16"; via = "192.168.2.9"; }
);
neighbors = ( { interface = "eth1"; address = "198.51.100.1"; mac = "02:00:00:00:00:fe"; } );
nat = {
  sessions = "always";
  timeouts = { tcp-established = 100; udp-stream = 99; };
  limits = { sessions = 4000; };
  source = (
    { rule = 30; outbound-interface = "any"; translation = { address = "masquerade"; }; },
    { rule = 10; outbound-interface = "eth1.201"; protocol = "tcp_udp"; source = { address = "!192.168.0.0/24"; port = "1000-2000"; };
      translation = { address = "203.0.113.1-203.0.113.4"; port = "5000-6000"; }; },
    { rule = 20; outbound-interface = "eth1"; destination = { address = "10.0.0.0/8"; }; exclude = true; },
    { rule = 25; outbound-interface = "eth1"; exclude = true; disable = true; }
  );
  destination = ( { rule = 10; inbound-interface = "eth1"; protocol = "tcp"; destination = { address = "198.51.100.3"; port = 8443; };
    translation = { address = "192.168.0.80"; port = 443; }; } );
};
xfrm = {
  state = (
    { spi = 0xC0DE0001L; src = "198.51.100.3"; dst = "203.0.113.7"; reqid = 1001; direction = "out"; name = "to-b";
      encryption = "aes192gcm128"; key = "0x000102030405060708090a0b0c0d0e0f1011121314151617a0A1a2a3"; flag = [ "noecn", "decap-dscp" ]; },
    { spi = 0x2001; src = "203.0.113.7"; dst = "198.51.100.3"; reqid = 1001; mode = "tunnel"; direction = "in"; replay-window = 4096;
      encryption = "aes256gcm128"; key = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fb0b1b2b3";
      selector = { src = "10.30.0.0/24"; dst = "192.168.0.0/24"; protocol = "udp"; dst-port = 53; }; }
  );
  policy = (
    { direction = "out"; src = "192.168.0.0/24"; dst = "10.30.0.0/24"; priority = 1000; action = "protect";
      template = { src = "198.51.100.3"; dst = "203.0.113.7"; reqid = 1001; }; },
    { direction = "fwd"; src = "10.30.0.0/24"; dst = "192.168.0.0/24"; action = "protect"; template = { reqid = 1001; }; },
    { direction = "in"; src = "192.168.0.0/24"; dst = "192.168.0.1"; protocol = "icmp"; icmp-type = 8; action = "bypass"; name = "ping"; },
    { direction = "out"; src = "0.0.0.0/0"; dst = "10.97.0.0/16"; protocol = 6; dst-port = "80-90"; action = "discard"; }
  );
};
)";

CompileOutcome load_text(std::string_view text) {
  return load(Source{"test.conf", Secret(text), std::nullopt});
}

Tables tables_of(std::string_view text) {
  CompileOutcome outcome = load_text(text);
  EXPECT_TRUE(outcome.tables) << render_diagnostics(outcome.diagnostics);
  return outcome.tables ? std::move(*outcome.tables) : Tables();
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result(text);
  const size_t at = result.find(from);
  EXPECT_NE(at, result.npos) << from;
  return result.replace(at, from.size(), to);
}

Ipv4Address address(std::string_view text) {
  return parse_address(text)->ipv4();
}
Ipv4Prefix prefix(std::string_view text) {
  return parse_interface_address(text)->ipv4();
}

template <class Record>
void expect_valid(const std::vector<Record>& records) {
  for (const Record& record : records) EXPECT_EQ(record_check::check(record), std::nullopt);
}

void expect_valid(const Tables& t) {
  EXPECT_EQ(record_check::check(t.settings), std::nullopt);
  expect_valid(t.interfaces), expect_valid(t.addresses), expect_valid(t.routes), expect_valid(t.neighbors);
  expect_valid(t.source_rules), expect_valid(t.destination_rules), expect_valid(t.policies),
      expect_valid(t.states);
}

TEST(Compile, EveryRecordIsOneThatTheDataplaneAccepts) {
  expect_valid(tables_of(kSite));
}

TEST(Compile, SettingsAndStartup) {
  const Tables t = tables_of(kSite);
  EXPECT_EQ(t.startup, (Startup{2, {1, 2}, Memory::kOrdinary, 4096}));
  EXPECT_EQ(t.settings.sessions, SettingsRecord::Sessions::kAlways);
  EXPECT_EQ(t.settings.busy_poll, 1);
  EXPECT_EQ(t.settings.icmp_errors_per_second, 50u);
  EXPECT_EQ(t.settings.session_limit, 4000u);
  EXPECT_EQ(t.settings.tcp_established_s, 100u);
  EXPECT_EQ(t.settings.udp_stream_s, 99u);
  EXPECT_EQ(t.settings.udp_s, 30u);
}

TEST(Compile, DefaultsAreTheRecordsOwn) {
  EXPECT_EQ(diff(Tables(), tables_of("")), std::vector<std::string>());
}

// Each timeout reaches the setting of its own name: no two are exchanged.
TEST(Compile, EveryTimeoutReachesItsSetting) {
  const Tables t = tables_of(R"(nat = { timeouts = { tcp-syn-sent = 1; tcp-syn-recv = 2; tcp-established = 3;
    tcp-fin-wait = 4; tcp-close-wait = 5; tcp-last-ack = 6; tcp-time-wait = 7; tcp-close = 8;
    tcp-unacknowledged = 9; udp = 10; udp-stream = 11; icmp = 12; generic = 13; }; };)");
  const SettingsRecord& s = t.settings;
  const std::vector<uint32_t> found = {
      s.tcp_syn_sent_s, s.tcp_syn_recv_s,  s.tcp_established_s, s.tcp_fin_wait_s,       s.tcp_close_wait_s,
      s.tcp_last_ack_s, s.tcp_time_wait_s, s.tcp_close_s,       s.tcp_unacknowledged_s, s.udp_s,
      s.udp_stream_s,   s.icmp_s,          s.generic_s};
  EXPECT_EQ(found, (std::vector<uint32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}));
}

TEST(Compile, InterfacesInFileOrderWithVifsBehindTheirParent) {
  const Tables t = tables_of(kSite);
  std::vector<std::string> found;
  for (const InterfaceRecord& i : t.interfaces)
    found.push_back(fmt::format("{} {} kind {} parent {} vlan {} mtu {} enabled {} [{}]", i.index.value,
                                i.name.view(), static_cast<int>(i.kind), i.parent.value, i.vlan_id,
                                i.mtu_bytes, i.enabled, i.device.view()));
  EXPECT_EQ(found, (std::vector<std::string>{
                       "0 eth0 kind 0 parent 65535 vlan 0 mtu 1500 enabled 1 [net_af_packet,iface=a]",
                       "1 eth1 kind 0 parent 65535 vlan 0 mtu 9000 enabled 0 [0000:3b:00.0]",
                       "2 eth1.201 kind 1 parent 1 vlan 201 mtu 1400 enabled 1 []",
                       "3 eth1.7 kind 1 parent 1 vlan 7 mtu 9000 enabled 1 []",
                       "4 dum0 kind 2 parent 65535 vlan 0 mtu 1500 enabled 1 []"}));
  ASSERT_EQ(t.addresses.size(), 6u);
  EXPECT_EQ(t.addresses[1].prefix, prefix("192.168.1.1/24"));
  EXPECT_EQ(t.addresses[3].interface, InterfaceIndex(2));
}

TEST(Compile, RoutesTakeTheInterfaceOfTheLongestConnectedNetwork) {
  const Tables t = tables_of(kSite);
  ASSERT_EQ(t.routes.size(), 9u);
  const auto expect = [&](size_t i, RouteKind kind, std::string_view via, InterfaceIndex interface) {
    EXPECT_EQ(t.routes[i].index, RouteIndex(static_cast<uint32_t>(i)));
    EXPECT_EQ(t.routes[i].kind, kind) << i;
    EXPECT_EQ(t.routes[i].via, via.empty() ? Ipv4Address{} : address(via)) << i;
    EXPECT_EQ(t.routes[i].interface, interface) << i;
  };
  expect(0, RouteKind::kNextHop, "198.51.100.1", InterfaceIndex(1));
  expect(1, RouteKind::kNextHop, "172.18.5.5", InterfaceIndex(2));
  expect(2, RouteKind::kNextHop, "192.168.1.9", InterfaceIndex(0));
  expect(3, RouteKind::kInterface, "", InterfaceIndex(4));
  expect(4, RouteKind::kBlackhole, "", kNoInterface);
  expect(5, RouteKind::kUnreachable, "", kNoInterface);
  expect(6, RouteKind::kProhibit, "", kNoInterface);
  expect(7, RouteKind::kNextHop, "192.168.1.9", InterfaceIndex(0));  // /24 before eth1.7's /16
  expect(8, RouteKind::kNextHop, "192.168.2.9", InterfaceIndex(3));
  EXPECT_EQ(t.routes[6].prefix, prefix("10.6.0.1/32"));
  EXPECT_EQ(t.neighbors[0].mac, (MacAddress{2, 0, 0, 0, 0, 0xfe}));
}

TEST(Compile, NatRulesInNumberOrder) {
  const Tables t = tables_of(kSite);
  ASSERT_EQ(t.source_rules.size(), 4u);  // 10 twice, for TCP and UDP; 25 is disabled
  std::vector<std::string> found;
  for (const NatRuleRecord& r : t.source_rules)
    found.push_back(fmt::format("{} {} proto {} kind {} if {}", r.index, r.number, r.protocol,
                                static_cast<int>(r.translation), r.interface.value));
  EXPECT_EQ(found, (std::vector<std::string>{"0 10 proto 6 kind 2 if 2", "1 10 proto 17 kind 2 if 2",
                                             "2 20 proto 0 kind 0 if 1", "3 30 proto 0 kind 3 if 65535"}));
  const NatRuleRecord& range = t.source_rules[0];
  EXPECT_FALSE(range.source.matches(address("192.168.0.5"), 1000));
  EXPECT_TRUE(range.source.matches(address("192.168.1.5"), 2000));
  EXPECT_FALSE(range.source.matches(address("192.168.1.5"), 2001));
  EXPECT_EQ(range.address_low, address("203.0.113.1").host());
  EXPECT_EQ(range.address_high, address("203.0.113.4").host());
  EXPECT_EQ(range.has_port_range, 1);
  EXPECT_EQ(range.ports, (PortRange{5000, 6000}));
  const NatRuleRecord& to = t.destination_rules.at(0);
  EXPECT_EQ(to.kind, NatKind::kDestination);
  EXPECT_EQ(to.translation, NatTranslation::kAddress);
  EXPECT_EQ(to.address_low, address("192.168.0.80").host());
  EXPECT_EQ(to.ports, (PortRange{443, 443}));
  EXPECT_TRUE(to.destination.matches(address("198.51.100.3"), 8443));
}

TEST(Compile, Policies) {
  const Tables t = tables_of(kSite);
  ASSERT_EQ(t.policies.size(), 4u);
  const PolicyRecord& out = t.policies[0];
  EXPECT_EQ(out.direction, Direction::kOut);
  EXPECT_EQ(out.priority, 1000u);
  EXPECT_EQ(out.tmpl.destination, address("203.0.113.7"));
  EXPECT_EQ(out.tmpl.reqid, Reqid(1001));
  EXPECT_EQ(out.name.view(), "policy 1");
  EXPECT_EQ(t.policies[1].direction, Direction::kFwd);
  EXPECT_EQ(t.policies[1].priority, 0u);
  EXPECT_TRUE(t.policies[1].tmpl.source.is_unspecified());
  const PolicyRecord& ping = t.policies[2];
  EXPECT_EQ(ping.name.view(), "ping");
  EXPECT_EQ(ping.index, PolicyIndex(2));
  EXPECT_TRUE(ping.selector.matches(address("192.168.0.9"), address("192.168.0.1"), kProtoIcmp, 8, 0));
  EXPECT_FALSE(ping.selector.matches(address("192.168.0.9"), address("192.168.0.1"), kProtoIcmp, 0, 0));
  EXPECT_EQ(t.policies[3].action, PolicyAction::kDiscard);
  EXPECT_EQ(t.policies[3].selector.destination_port, (PortRange{80, 90}));
}

TEST(Compile, StatesSplitKeyAndSalt) {
  const Tables t = tables_of(kSite);
  const SaRecord& out = t.states.at(0);
  EXPECT_EQ(out.spi, Spi(0xC0DE0001));
  EXPECT_EQ(out.algorithm, EspAlgorithm::kAes192Gcm16);
  EXPECT_EQ(out.flags, static_cast<uint32_t>(kSaStaticKey | kSaNoEcn | kSaDecapDscp));
  EXPECT_EQ(out.replay_window, 32u);
  EXPECT_EQ(out.name.view(), "to-b");
  for (size_t i = 0; i < kMaxKeyBytes; ++i) EXPECT_EQ(out.key[i], i < 24 ? i : 0) << i;
  for (size_t i = 0; i < kSaltBytes; ++i) EXPECT_EQ(out.salt[i], 0xa0 + i);
  const SaRecord& in = t.states.at(1);
  EXPECT_EQ(in.direction, Direction::kIn);
  EXPECT_EQ(in.algorithm, EspAlgorithm::kAes256Gcm16);
  EXPECT_EQ(in.flags, static_cast<uint32_t>(kSaStaticKey | kSaHasSelector));
  EXPECT_EQ(in.replay_window, 4096u);
  EXPECT_EQ(in.selector.destination_port, (PortRange{53, 53}));
  EXPECT_EQ(in.key[31], 0x1f);
  EXPECT_EQ(in.salt[3], 0xb3);
}

TEST(Compile, NoTablesWhereSomethingCannotBeApplied) {
  const CompileOutcome outcome = load_text(replaced(kSite, "reqid = 1001; mode = \"tunnel\"", "esn = true"));
  EXPECT_FALSE(outcome.tables);
  ASSERT_TRUE(has_errors(outcome.diagnostics));
}

TEST(Diff, TheSameFileTwiceIsNoChange) {
  const Tables a = tables_of(kSite), b = tables_of(kSite);
  EXPECT_EQ(diff(a, b), std::vector<std::string>());
}

TEST(Diff, FromNothingEverythingIsAdded) {
  const std::vector<std::string> lines = diff(tables_of(""), tables_of(kSite));
  // startup 4, settings 6, interfaces and addresses 11, routes and neighbors 10, rules 5, policies 4, states
  // 2
  EXPECT_EQ(lines.size(), 42u);
  EXPECT_EQ(
      lines.back(),
      "+ state in 0x2001 203.0.113.7 -> 198.51.100.3 aes256gcm128 reqid 1001 replay-window 4096 selector "
      "10.30.0.0/24 -> 192.168.0.0/24:53 udp (state 0x2001)");
}

struct Change {
  std::string_view from, to;
  std::vector<std::string> lines;
};

TEST(Diff, SaysWhatChanges) {
  const std::vector<Change> changes = {
      {"workers = 2; cores = \"1-2\"",
       "workers = 1; cores = \"1\"",
       {"~ dataplane.workers 1; this restarts the dataplane (was: 2; this restarts the dataplane)",
        "~ dataplane.cores 1; this restarts the dataplane (was: 1,2; this restarts the dataplane)"}},
      {"rate = 50", "rate = 51", {"~ icmp.rate 51 (was: 50)"}},
      {"mtu = 9000; disable = true",
       "mtu = 9000",
       {"~ interface eth1 mtu 9000 device 0000:3b:00.0 (was: mtu 9000 disabled device 0000:3b:00.0)"}},
      {"\"192.168.0.1/24\", \"192.168.1.1/24\"",
       "\"192.168.0.1/24\", \"192.168.1.2/24\"",
       {"- address 192.168.1.1/24 on eth0", "+ address 192.168.1.2/24 on eth0"}},
      {"10.4.0.0/16\"; blackhole",
       "10.4.0.0/16\"; prohibit",
       {"~ route 10.4.0.0/16 prohibit (was: blackhole)"}},
      {"00:fe", "00:ff", {"~ neighbor 198.51.100.1 on eth1 02:00:00:00:00:ff (was: 02:00:00:00:00:fe)"}},
      {"{ address = \"masquerade\"; }",
       "{ address = \"203.0.113.9\"; }",
       {"~ nat source rule 30 any any 0.0.0.0/0 -> 0.0.0.0/0: 203.0.113.9 (was: any any 0.0.0.0/0 -> "
        "0.0.0.0/0: "
        "masquerade)"}},
      {"priority = 1000",
       "priority = 7",
       {"~ policy out 192.168.0.0/24 -> 10.30.0.0/24 any protect priority 7 template 198.51.100.3 -> "
        "203.0.113.7 "
        "reqid 1001 (policy 1) (was: protect priority 1000 template 198.51.100.3 -> 203.0.113.7 reqid 1001 "
        "(policy "
        "1))"}},
      {"a0A1a2a3", "a0A1a2a4", {"~ state out 0xc0de0001 198.51.100.3 -> 203.0.113.7 another key"}},
      {"flag = [ \"noecn\", \"decap-dscp\" ]",
       "flag = \"noecn\"",
       {"~ state out 0xc0de0001 198.51.100.3 -> 203.0.113.7 aes192gcm128 reqid 1001 replay-window 32 noecn "
        "(to-b) "
        "(was: aes192gcm128 reqid 1001 replay-window 32 noecn decap-dscp (to-b))"}},
  };
  const Tables before = tables_of(kSite);
  for (const Change& change : changes) {
    const Tables after = tables_of(replaced(kSite, change.from, change.to));
    EXPECT_EQ(diff(before, after), change.lines);
  }
}

// Among equal priorities the earlier policy wins: changing places is a change.
TEST(Diff, OrderOfPolicies) {
  constexpr std::string_view kA =
      R"({ direction = "in"; src = "10.0.0.0/8"; dst = "10.0.0.0/8"; action = "bypass"; name = "a"; })";
  constexpr std::string_view kB =
      R"({ direction = "in"; src = "10.0.0.0/9"; dst = "10.0.0.0/8"; action = "discard"; name = "b"; })";
  const Tables ab = tables_of(fmt::format("xfrm = {{ policy = ( {}, {} ); }};", kA, kB));
  const Tables ba = tables_of(fmt::format("xfrm = {{ policy = ( {}, {} ); }};", kB, kA));
  EXPECT_EQ(diff(ab, ba), std::vector<std::string>{"~ order of the policies"});
}

TEST(Tables, MoveAssignmentKeepsTheNewRecords) {
  Tables a = tables_of(kSite);
  a = tables_of("");
  EXPECT_TRUE(a.states.empty());
  a = tables_of(kSite);
  EXPECT_EQ(a.states.at(0).key[23], 23);
}

}  // namespace
}  // namespace espalier::config::testing
