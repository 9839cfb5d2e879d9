// From text to records, and what an `apply` would change.
#include <gtest/gtest.h>

#include "tests/unit/config/tables_of.hpp"

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

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result(text);
  const size_t at = result.find(from);
  EXPECT_NE(at, result.npos) << from;
  return result.replace(at, from.size(), to);
}

IpAddress address(std::string_view text) {
  return *parse_address(text);
}
IpPrefix prefix(std::string_view text) {
  return *parse_interface_address(text);
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
    EXPECT_EQ(t.routes[i].next_hop_count, kind == RouteKind::kNextHop ? 1 : 0) << i;
    EXPECT_EQ(t.routes[i].next_hops[0].via, via.empty() ? IpAddress{} : address(via)) << i;
    EXPECT_EQ(t.routes[i].next_hops[0].interface, interface) << i;
  };
  expect(0, RouteKind::kNextHop, "198.51.100.1", InterfaceIndex(1));
  expect(1, RouteKind::kNextHop, "172.18.5.5", InterfaceIndex(2));
  expect(2, RouteKind::kNextHop, "192.168.1.9", InterfaceIndex(0));
  expect(3, RouteKind::kNextHop, "", InterfaceIndex(4));
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
  EXPECT_EQ(range.address_low, address("203.0.113.1"));
  EXPECT_EQ(range.address_high, address("203.0.113.4"));
  EXPECT_EQ(range.has_port_range, 1);
  EXPECT_EQ(range.ports, (PortRange{5000, 6000}));
  const NatRuleRecord& to = t.destination_rules.at(0);
  EXPECT_EQ(to.kind, NatKind::kDestination);
  EXPECT_EQ(to.translation, NatTranslation::kAddress);
  EXPECT_EQ(to.address_low, address("192.168.0.80"));
  EXPECT_EQ(to.ports, (PortRange{443, 443}));
  EXPECT_TRUE(to.destination.matches(address("198.51.100.3"), 8443));
}

TEST(Compile, Policies) {
  const Tables t = tables_of(kSite);
  ASSERT_EQ(t.policies.size(), 4u);
  const PolicyRecord& out = t.policies[0];
  EXPECT_EQ(out.direction, Direction::kOut);
  EXPECT_EQ(out.priority, 1000u);
  EXPECT_EQ(out.tmpl[0].destination, address("203.0.113.7"));
  EXPECT_EQ(out.tmpl[0].reqid, Reqid(1001));
  EXPECT_EQ(out.name.view(), "policy 1");
  EXPECT_EQ(t.policies[1].direction, Direction::kFwd);
  EXPECT_EQ(t.policies[1].priority, 0u);
  EXPECT_TRUE(t.policies[1].tmpl[0].source.is_unspecified());
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
  EXPECT_EQ(out.algorithm, (EspAlgorithm{EspCipher::kAesGcm, EspIntegrity::kNone, 24, 16}));
  EXPECT_EQ(out.flags, static_cast<uint32_t>(kSaStaticKey | kSaNoEcn | kSaDecapDscp));
  EXPECT_EQ(out.replay_window, 32u);
  EXPECT_EQ(out.name.view(), "to-b");
  for (size_t i = 0; i < kMaxKeyBytes; ++i) EXPECT_EQ(out.key[i], i < 24 ? i : 0) << i;
  for (size_t i = 0; i < kSaltBytes; ++i) EXPECT_EQ(out.salt[i], 0xa0 + i);
  const SaRecord& in = t.states.at(1);
  EXPECT_EQ(in.direction, Direction::kIn);
  EXPECT_EQ(in.algorithm, (EspAlgorithm{EspCipher::kAesGcm, EspIntegrity::kNone, 32, 16}));
  EXPECT_EQ(in.flags, static_cast<uint32_t>(kSaStaticKey | kSaHasSelector));
  EXPECT_EQ(in.replay_window, 4096u);
  EXPECT_EQ(in.selector.destination_port, (PortRange{53, 53}));
  EXPECT_EQ(in.key[31], 0x1f);
  EXPECT_EQ(in.salt[3], 0xb3);
}

// What IPv6, tunnels and the other ciphers bring.
constexpr std::string_view kWide = R"(
dataplane = { host-path = true; host-namespace = "frr"; };
interfaces = {
  eth0 = { device = "net_a"; address = [ "192.168.0.1/24", "2001:db8::1/64", "fe80::1/64" ]; mss-clamp = "pmtu"; };
  eth1 = { device = "net_b"; address = "198.51.100.3/24"; dad = false; mss-clamp = 1300;
           vif = ( { id = 5; address = "2001:db8:5::1/64"; mss-clamp = 1200; } ); };
  gre1 = { type = "gre"; local-ip = "198.51.100.3"; remote-ip = "203.0.113.9"; key = 4294967295L; ttl = 0; protect = true; };
  gre2 = { type = "gre"; local-ip = "2001:db8::1"; remote-ip = "2001:db8::9"; address = "10.9.0.1/30"; };
  gre3 = { type = "gre"; local-ip = "2001:db8::1"; remote-ip = "2001:db8::9"; key = 0; };
  gre4 = { type = "gre"; local-ip = "198.51.100.3"; remote-ip = "203.0.113.9"; };
  vti1 = { type = "vti"; };
  vti2 = { type = "vti"; local-ip = "198.51.100.3"; remote-ip = "203.0.113.7"; };
};
routes = (
  { prefix = "::/0"; via = [ "2001:db8::9", "2001:db8:5::9" ]; metric = 20; },
  { prefix = "::/0"; via = "fe80::9"; interface = "eth1.5"; metric = 10; },
  { prefix = "10.0.0.0/8"; interface = "vti1"; },
  { prefix = "2001:db8:99::/48"; prohibit = true; },
  { import = "kernel"; table = 100; protocol = [ "bgp", "3" ]; }
);
neighbors = ( { interface = "eth0"; address = "fe80::9"; mac = "02:00:00:00:00:fe"; } );
nat = {
  source = ( { rule = 5; outbound-interface = "vti1"; ipsec = "match-ipsec"; source = { address = "192.168.0.0/24"; };
               translation = { address = "172.16.0.0/24"; }; } );
  destination = ( { rule = 5; inbound-interface = "local"; ipsec = "match-none"; translation = { address = "192.168.0.9"; }; } );
};
nat66 = {
  source = ( { rule = 5; outbound-interface = "eth0"; protocol = "tcp"; source = { address = "2001:db8:1::/64"; };
               translation = { address = "2001:db8:2::/64"; }; },
             { rule = 1; outbound-interface = "eth0"; source = { address = "!2001:db8:1::1-2001:db8:1::3"; }; translation = { address = "masquerade"; }; } );
};
xfrm = {
  state = (
    { spi = 0x1001; src = "198.51.100.3"; dst = "203.0.113.7"; direction = "out"; encryption = "aes256"; hash = "sha384"; auth-trunc = 256;
      key = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"; esn = true; replay-window = 128; last-sequence = 4294967298L;
      auth-key = "0x202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f";
      encap = { type = "espinudp"; sport = 4501; dport = 4502; }; vti = "vti1";
      limit = { soft-packets = 1; hard-packets = 2; soft-bytes = 3; hard-bytes = 1099511627776L; soft-seconds = 5; hard-seconds = 6; }; },
    { spi = 0x1002; src = "203.0.113.7"; dst = "198.51.100.3"; direction = "in"; encryption = "null"; hash = "sha1"; reqid = 2;
      auth-key = "0x000102030405060708090a0b0c0d0e0f10111213"; encap = { type = "espinudp"; }; mapping = true; },
    { spi = 0x1003; src = "198.51.100.3"; dst = "203.0.113.7"; direction = "out"; encryption = "aes128gcm64"; reqid = 3; flag = "af-unspec";
      key = "0x000102030405060708090a0b0c0d0e0fa0a1a2a3"; encap = { type = "espinudp"; }; keepalive = 0; },
    { spi = 0x1004; src = "2001:db8::1"; dst = "2001:db8::9"; direction = "out"; encryption = "chacha20poly1305"; mode = "transport"; reqid = 4;
      key = "0x100102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fa0a1a2a3"; }
  );
  policy = (
    { direction = "out"; src = "2001:db8:1::/48"; dst = "2001:db8:2::/48"; action = "protect"; interface = "eth1"; template = (
      { src = "198.51.100.3"; dst = "203.0.113.7"; reqid = 3; spi = 0x1003; }, { mode = "transport"; level = "use"; } ); },
    { direction = "fwd"; src = "10.0.0.0/8"; dst = "0.0.0.0/0"; action = "protect"; vti = "vti1"; template = { reqid = 2; }; }
  );
};
)";

TEST(CompileWide, EveryRecordIsOneThatTheDataplaneAccepts) {
  expect_valid(tables_of(kWide));
}

TEST(CompileWide, HostPathAndImport) {
  const SettingsRecord s = tables_of(kWide).settings;
  EXPECT_EQ(s.host_path, 1);
  EXPECT_EQ(s.host_namespace.view(), "frr");
  EXPECT_EQ(s.import_routes, 1);
  EXPECT_EQ(s.import_table, 100u);
  const uint64_t bgp = uint64_t{1} << (186 - 128), boot = 1 << 3;
  EXPECT_EQ(std::vector<uint64_t>(s.import_protocols, s.import_protocols + 4),
            (std::vector<uint64_t>{boot, 0, bgp, 0}));
  const SettingsRecord all =
      tables_of("dataplane = { host-path = true; }; routes = { import = \"kernel\"; };").settings;
  EXPECT_EQ(all.import_table, 254u);
  EXPECT_EQ(all.import_protocols[0], ~uint64_t{7});  // not what the kernel itself makes
  EXPECT_EQ(all.import_protocols[3], ~uint64_t{0});
}

TEST(CompileWide, Interfaces) {
  const Tables t = tables_of(kWide);
  std::vector<std::string> found;
  for (const InterfaceRecord& i : t.interfaces)
    found.push_back(fmt::format("{} kind {} mtu {} mss {} dad {} {} {} key {} {} ttl {} protect {}",
                                i.name.view(), static_cast<int>(i.kind), i.mtu_bytes, i.mss_clamp_bytes,
                                i.dad, to_text(i.local), to_text(i.remote), i.has_key, i.key, i.ttl,
                                i.protect));
  EXPECT_EQ(found,
            (std::vector<std::string>{
                "eth0 kind 0 mtu 1500 mss 65535 dad 1 :: :: key 0 0 ttl 64 protect 0",
                "eth1 kind 0 mtu 1500 mss 1300 dad 0 :: :: key 0 0 ttl 64 protect 0",
                "eth1.5 kind 1 mtu 1500 mss 1200 dad 1 :: :: key 0 0 ttl 64 protect 0",
                "gre1 kind 4 mtu 1472 mss 0 dad 1 198.51.100.3 203.0.113.9 key 1 4294967295 ttl 0 protect 1",
                "gre2 kind 4 mtu 1456 mss 0 dad 1 2001:db8::1 2001:db8::9 key 0 0 ttl 64 protect 0",
                "gre3 kind 4 mtu 1452 mss 0 dad 1 2001:db8::1 2001:db8::9 key 1 0 ttl 64 protect 0",
                "gre4 kind 4 mtu 1476 mss 0 dad 1 198.51.100.3 203.0.113.9 key 0 0 ttl 64 protect 0",
                "vti1 kind 3 mtu 1480 mss 0 dad 1 :: :: key 0 0 ttl 64 protect 0",
                "vti2 kind 3 mtu 1480 mss 0 dad 1 198.51.100.3 203.0.113.7 key 0 0 ttl 64 protect 0"}));
  EXPECT_EQ(t.addresses[1].prefix, prefix("2001:db8::1/64"));
  EXPECT_EQ(t.neighbors[0].address, address("fe80::9"));
}

TEST(CompileWide, Routes) {
  const Tables t = tables_of(kWide);
  std::vector<std::string> found;
  for (const RouteRecord& r : t.routes) {
    std::string hops;
    for (size_t i = 0; i < r.next_hop_count; ++i)
      hops += fmt::format(" {} on {}", to_text(r.next_hops[i].via), r.next_hops[i].interface.value);
    found.push_back(fmt::format("{} {} kind {} metric {}{}", r.index.value, to_text(r.prefix),
                                static_cast<int>(r.kind), r.metric, hops));
  }
  EXPECT_EQ(found, (std::vector<std::string>{"0 ::/0 kind 0 metric 20 2001:db8::9 on 0 2001:db8:5::9 on 2",
                                             "1 ::/0 kind 0 metric 10 fe80::9 on 2",
                                             "2 10.0.0.0/8 kind 0 metric 0 :: on 7",
                                             "3 2001:db8:99::/48 kind 3 metric 0"}));
}

TEST(CompileWide, NatRulesOfBothFamilies) {
  const Tables t = tables_of(kWide);
  ASSERT_EQ(t.source_rules.size(), 3u);
  const NatRuleRecord &v4 = t.source_rules[0], &masquerade = t.source_rules[1], &v6 = t.source_rules[2];
  EXPECT_EQ(v4.ipsec, IpsecMatch::kIpsec);
  EXPECT_EQ(v4.translation, NatTranslation::kPrefix);
  EXPECT_EQ(v4.prefix_length, 120);
  EXPECT_EQ(v4.address_low, address("172.16.0.0"));
  EXPECT_EQ(masquerade.number, 1u);
  EXPECT_EQ(masquerade.index, 1u);
  EXPECT_EQ(masquerade.family, Family::kIpv6);
  EXPECT_FALSE(masquerade.source.matches(address("2001:db8:1::2"), 1));
  EXPECT_TRUE(masquerade.source.matches(address("2001:db8:1::4"), 1));
  EXPECT_EQ(v6.prefix_length, 64);
  EXPECT_EQ(v6.address_low, address("2001:db8:2::"));
  const NatRuleRecord& local = t.destination_rules.at(0);
  EXPECT_EQ(local.local_output, 1);
  EXPECT_EQ(local.interface, kNoInterface);
  EXPECT_EQ(local.ipsec, IpsecMatch::kNone);
}

TEST(CompileWide, Policies) {
  const Tables t = tables_of(kWide);
  const PolicyRecord &nested = t.policies.at(0), &of_vti = t.policies.at(1);
  EXPECT_EQ(nested.interface, InterfaceIndex(1));
  EXPECT_EQ(nested.vti, kNoInterface);
  ASSERT_EQ(nested.templates, 2);
  EXPECT_EQ(nested.tmpl[0].spi, Spi(0x1003));
  EXPECT_EQ(nested.tmpl[0].mode, EspMode::kTunnel);
  EXPECT_EQ(nested.tmpl[1].mode, EspMode::kTransport);
  EXPECT_EQ(nested.tmpl[1].level, TemplateLevel::kUse);
  EXPECT_EQ(of_vti.vti, InterfaceIndex(7));
  EXPECT_EQ(of_vti.interface, kNoInterface);
}

TEST(CompileWide, StatesWithEverything) {
  const Tables t = tables_of(kWide);
  const SaRecord& cbc = t.states.at(0);
  EXPECT_EQ(cbc.algorithm, (EspAlgorithm{EspCipher::kAesCbc, EspIntegrity::kHmacSha384, 32, 32}));
  EXPECT_EQ(cbc.flags, static_cast<uint32_t>(kSaStaticKey | kSaEsn | kSaEncap));
  EXPECT_EQ(cbc.replay_window, 128u);
  EXPECT_EQ(cbc.last_sequence, 4294967298u);
  EXPECT_EQ(cbc.encap_source_port, 4501);
  EXPECT_EQ(cbc.encap_destination_port, 4502);
  EXPECT_EQ(cbc.keepalive_s, 20);
  EXPECT_EQ(cbc.vti, InterfaceIndex(7));
  EXPECT_EQ(cbc.limits, (SaLimits{1, 2, 3, uint64_t{1} << 40, 5, 6}));
  EXPECT_EQ(cbc.key[31], 0x1f);
  EXPECT_EQ(cbc.auth_key[0], 0x20);
  EXPECT_EQ(cbc.auth_key[47], 0x4f);
  EXPECT_EQ(cbc.auth_key[48], 0);
  const SaRecord& null = t.states.at(1);
  EXPECT_EQ(null.algorithm, (EspAlgorithm{EspCipher::kNull, EspIntegrity::kHmacSha1, 0, 12}));
  EXPECT_EQ(null.flags, static_cast<uint32_t>(kSaStaticKey | kSaEncap | kSaMapping | kSaHasSelector));
  EXPECT_EQ(null.keepalive_s, 0);
  const SaRecord& gcm = t.states.at(2);
  EXPECT_EQ(gcm.algorithm, (EspAlgorithm{EspCipher::kAesGcm, EspIntegrity::kNone, 16, 8}));
  EXPECT_EQ(gcm.keepalive_s, 0);
  const SaRecord& chacha = t.states.at(3);
  EXPECT_EQ(chacha.algorithm, (EspAlgorithm{EspCipher::kChaCha20Poly1305, EspIntegrity::kNone, 32, 16}));
  EXPECT_EQ(chacha.mode, EspMode::kTransport);
  EXPECT_EQ(chacha.salt[3], 0xa3);
}

// The policy of IPv6 could use IPv4's SAs: without a selector and without af-unspec they do not carry it.
TEST(CompileWide, FamiliesThatAStateCarries) {
  const Tables t = tables_of(kWide);
  EXPECT_EQ(t.states[1].selector.source, prefix("0.0.0.0/0"));
  EXPECT_EQ(t.states[1].selector.destination, prefix("0.0.0.0/0"));
  EXPECT_EQ(t.states[0].flags & kSaHasSelector, 0u);  // its VTI has policies of its own family only
  EXPECT_EQ(t.states[2].flags & kSaHasSelector, 0u);  // af-unspec
  EXPECT_EQ(t.states[3].flags & kSaHasSelector, 0u);  // no policy of IPv4 could use it
}

TEST(Compile, NoTablesWhereSomethingCannotBeApplied) {
  const CompileOutcome outcome =
      load_text(replaced(kSite, "name = \"ping\"", "limit = { hard-seconds = 5; }"));
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

// Every field that a record has, changed once: exactly one line tells of it.
TEST(Diff, NoFieldIsForgotten) {
  const std::vector<Change> changes = {
      {"host-namespace = \"frr\"", "host-namespace = \"bgp\"", {"~ dataplane.host-namespace bgp (was: frr)"}},
      {"protocol = [ \"bgp\", \"3\" ]",
       "protocol = \"ospf\"",
       {"~ routes import table 100 protocols 188 (was: table 100 protocols 3,186)"}},
      {"mss-clamp = \"pmtu\"",
       "mss-clamp = 1000",
       {"~ interface eth0 mtu 1500 mss-clamp 1000 device net_a (was: mtu 1500 mss-clamp pmtu device net_a)"}},
      {"dad = false; mss-clamp = 1300",
       "mss-clamp = 1300",
       {"~ interface eth1 mtu 1500 mss-clamp 1300 device net_b (was: mtu 1500 mss-clamp 1300 without dad "
        "device net_b)"}},
      {"ttl = 0; protect = true",
       "ttl = 1",
       {"~ interface gre1 mtu 1472 gre 198.51.100.3 -> 203.0.113.9 key 4294967295 ttl 1 (was: mtu 1472 gre "
        "198.51.100.3 -> "
        "203.0.113.9 key 4294967295 ttl 0 protect)"}},
      {"vti2 = { type = \"vti\"; local-ip = \"198.51.100.3\"; remote-ip = \"203.0.113.7\"; }",
       "vti2 = { type = \"dummy\"; mtu = 1480; }",
       {"~ interface vti2 mtu 1480 (was: mtu 1480 vti 198.51.100.3 -> 203.0.113.7)"}},
      {"[ \"2001:db8::9\", \"2001:db8:5::9\" ]",
       "\"2001:db8::9\"",
       {"~ route ::/0 metric 20 via 2001:db8::9 on eth0 (was: via 2001:db8::9 on eth0, via 2001:db8:5::9 on "
        "eth1.5)"}},
      {"metric = 10",
       "metric = 11",
       {"- route ::/0 metric 10 via fe80::9 on eth1.5", "+ route ::/0 metric 11 via fe80::9 on eth1.5"}},
      {"inbound-interface = \"local\"; ipsec = \"match-none\"",
       "inbound-interface = \"any\"",
       {"~ nat destination rule 5 any any 0.0.0.0/0 -> 0.0.0.0/0: 192.168.0.9 (was: local match-none any "
        "0.0.0.0/0 -> "
        "0.0.0.0/0: 192.168.0.9)"}},
      {"2001:db8:2::/64",
       "2001:db8:3::/64",
       {"~ nat66 source rule 5 eth0 tcp 2001:db8:1::/64 -> ::/0: 2001:db8:3::/64 (was: eth0 tcp "
        "2001:db8:1::/64 -> ::/0: "
        "2001:db8:2::/64)"}},
      {"esn = true; replay-window = 128; last-sequence = 4294967298L",
       "replay-window = 128",
       {"~ state out 0x1001 198.51.100.3 -> 203.0.113.7 of vti1 aes256 sha384/256 reqid 0 replay-window 128 "
        "espinudp 4501 -> 4502 "
        "keepalive 20 soft-packets 1 hard-packets 2 soft-bytes 3 hard-bytes 1099511627776 soft-seconds 5 "
        "hard-seconds 6 (state 0x1001) "
        "(was: of vti1 aes256 sha384/256 reqid 0 replay-window 128 esn last-sequence 4294967298 espinudp "
        "4501 -> 4502 keepalive 20 "
        "soft-packets 1 hard-packets 2 soft-bytes 3 hard-bytes 1099511627776 soft-seconds 5 hard-seconds 6 "
        "(state 0x1001))"}},
      {"4a4b4c4d4e4f", "4a4b4c4d4e4e", {"~ state out 0x1001 198.51.100.3 -> 203.0.113.7 another key"}},
      {"mapping = true",
       "mapping = false",
       {"~ state in 0x1002 203.0.113.7 -> 198.51.100.3 null sha1/96 reqid 2 replay-window 32 espinudp 4500 "
        "-> 4500 selector "
        "0.0.0.0/0 -> 0.0.0.0/0 any (state 0x1002) (was: null sha1/96 reqid 2 replay-window 32 espinudp 4500 "
        "-> 4500 mapping "
        "selector 0.0.0.0/0 -> 0.0.0.0/0 any (state 0x1002))"}},
      {"mode = \"transport\"; reqid = 4",
       "reqid = 4",
       {"~ state out 0x1004 2001:db8::1 -> 2001:db8::9 chacha20poly1305 reqid 4 replay-window 32 (state "
        "0x1004) (was: transport "
        "chacha20poly1305 reqid 4 replay-window 32 (state 0x1004))"}},
      {"spi = 0x1003; }, { mode = \"transport\"; level = \"use\"; }",
       "}",
       {"~ policy out on eth1 2001:db8:1::/48 -> 2001:db8:2::/48 any protect priority 0 template "
        "198.51.100.3 -> 203.0.113.7 reqid 3 "
        "(policy 1) (was: protect priority 0 template 198.51.100.3 -> 203.0.113.7 reqid 3 spi 0x1003 "
        "template :: -> :: reqid 0 "
        "transport use (policy 1))"}},
      {"vti = \"vti1\"; template",
       "vti = \"vti2\"; template",
       {"- policy fwd of vti1 10.0.0.0/8 -> 0.0.0.0/0 any protect priority 0 template :: -> :: reqid 2 "
        "(policy 2)",
        "+ policy fwd of vti2 10.0.0.0/8 -> 0.0.0.0/0 any protect priority 0 template :: -> :: reqid 2 "
        "(policy 2)"}},
  };
  const Tables before = tables_of(kWide);
  for (const Change& change : changes)
    EXPECT_EQ(diff(before, tables_of(replaced(kWide, change.from, change.to))), change.lines);
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
