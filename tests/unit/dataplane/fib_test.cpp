// The forwarding table against naive models that walk all entries.
#include "dataplane/fib.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>

#include "dataplane/link_local.hpp"
#include "tests/unit/dataplane/table_tools.hpp"

namespace espalier::dataplane {
namespace {

// wan0, lan0 with a second network and a host address, p2p0, bare0 without addresses; vti0 and gre0
// (protected), gre1 (not).
constexpr uint16_t kWan = 0, kLan = 1, kP2p = 2, kBare = 3, kVti = 4, kGre = 5, kClearGre = 6;

std::vector<Interface> interfaces() {
  std::vector<Interface> list;
  list.push_back(interface(kWan, {prefix("203.0.113.1/24"), prefix("2001:db8:1::1/64")}));
  list.push_back(
      interface(kLan, {prefix("192.168.10.1/24"), prefix("192.168.10.129/25"), prefix("198.51.100.7/32"),
                       prefix("2001:db8:2::1/64"), prefix("2001:db8:2::7/128"), prefix("fe80::1/64")}));
  list.push_back(interface(kP2p, {prefix("10.0.0.0/31"), prefix("2001:db8:3::/127")}));
  list.push_back(interface(kBare, {}));
  list.push_back(interface(kVti, {prefix("10.1.0.1/30"), prefix("2001:db8:4::1/64")}));
  list.push_back(interface(kGre, {}));
  list.push_back(interface(kClearGre, {}));
  list[kVti].kind = InterfaceKind::kVti;
  list[kGre].kind = list[kClearGre].kind = InterfaceKind::kGre;
  list[kGre].protect = true;
  return list;
}

struct Hop {
  const char* via = nullptr;
  int out = -1;
};

RouteRecord route(uint32_t index, const char* to, std::vector<Hop> hops, uint32_t metric = 0) {
  RouteRecord r;
  r.index = RouteIndex{index};
  r.prefix = prefix(to);
  r.metric = metric;
  for (const Hop& hop : hops)
    r.next_hops[r.next_hop_count++] = {
        .via = hop.via ? ip(hop.via) : IpAddress{},
        .interface = hop.out < 0 ? kNoInterface : InterfaceIndex(static_cast<uint16_t>(hop.out))};
  return r;
}
RouteRecord route(uint32_t index, const char* to, RouteKind kind, uint32_t metric = 0) {
  RouteRecord r = route(index, to, std::vector<Hop>{}, metric);
  r.kind = kind;
  return r;
}

class FibTest : public testing::Test {
 protected:
  ~FibTest() override {
    for (uint16_t i = 0; i < 8; ++i) link_of(i).up = true;
  }
  void build(std::vector<RouteRecord> routes) {
    auto built = Fib::build(routes, table_);
    if (!built) throw std::runtime_error(built.error().text);
    fib_ = std::move(*built);
  }
  // "forward wan0 203.0.113.254 #0": verdict, interface, next hop, index of the record.
  std::string lookup(const char* destination, uint32_t hash = 0) const {
    return text(fib_->lookup(ip(destination), hash));
  }
  static std::string text(const RouteResult& r) {
    static constexpr const char* kVerdicts[] = {"forward",   "local",       "none",
                                                "blackhole", "unreachable", "prohibit"};
    static constexpr const char* kNames[] = {"wan0", "lan0", "p2p0", "bare0", "vti0", "gre0", "gre1"};
    std::string s = kVerdicts[static_cast<size_t>(r.verdict)];
    if (r.interface != kNoInterface) s += std::string(" ") + kNames[r.interface.value];
    if (r.verdict == RouteVerdict::kForward) s += " " + address(r.next_hop);
    if (r.route != kNoRoute) s += " #" + std::to_string(r.route.value);
    return s;
  }
  static std::string address(IpAddress a) {
    char out[INET6_ADDRSTRLEN];
    const Ipv4Address v4 = a.v4();
    return a.is_v4() ? inet_ntop(AF_INET, &v4, out, sizeof out) : inet_ntop(AF_INET6, &a, out, sizeof out);
  }
  InterfaceTable table_{interfaces()};
  std::unique_ptr<Fib> fib_;
};

TEST_F(FibTest, OwnAndBroadcastAddressesAreLocal) {
  build({});
  EXPECT_EQ(lookup("203.0.113.1"), "local wan0");
  EXPECT_EQ(lookup("203.0.113.255"), "local wan0");
  EXPECT_EQ(lookup("198.51.100.7"), "local lan0");
  EXPECT_EQ(lookup("10.0.0.0"), "local p2p0");
  EXPECT_EQ(lookup("2001:db8:1::1"), "local wan0");
  EXPECT_EQ(lookup("2001:db8:2::7"), "local lan0");
  EXPECT_TRUE(table_.is_own_address(ip("203.0.113.1")));
  EXPECT_FALSE(table_.is_own_address(ip("203.0.113.255")));
  link_of(kWan).up = false;
  EXPECT_EQ(lookup("203.0.113.1"), "local wan0") << "weak host model";
}

TEST_F(FibTest, ConnectedNetworks) {
  build({});
  EXPECT_EQ(lookup("203.0.113.9"), "forward wan0 203.0.113.9");
  EXPECT_EQ(lookup("203.0.113.0"), "forward wan0 203.0.113.0");
  EXPECT_EQ(lookup("10.0.0.1"), "forward p2p0 10.0.0.1");
  EXPECT_EQ(lookup("198.51.100.8"), "none");
  EXPECT_EQ(lookup("2001:db8:1::9"), "forward wan0 2001:db8:1::9");
  EXPECT_EQ(lookup("2001:db8:1::"), "forward wan0 2001:db8:1::") << "no subnet-router anycast";
  EXPECT_EQ(lookup("2001:db8:1::ffff:ffff:ffff:ffff"), "forward wan0 2001:db8:1:0:ffff:ffff:ffff:ffff")
      << "no broadcast";
  EXPECT_EQ(lookup("2001:db8:3::1"), "forward p2p0 2001:db8:3::1");
  EXPECT_EQ(lookup("2001:db8:9::1"), "none");
}

TEST_F(FibTest, ConfiguredRoutes) {
  build({route(0, "0.0.0.0/0", {{"203.0.113.254"}}), route(1, "172.16.0.0/16", {{nullptr, kBare}}),
         route(2, "172.16.1.0/24", RouteKind::kBlackhole), route(3, "172.16.2.0/24", RouteKind::kUnreachable),
         route(4, "172.16.3.9/24", RouteKind::kProhibit),  // host bits are no obstacle
         route(5, "172.17.0.0/16", {{"9.9.9.9", kBare}}),  // on link
         route(6, "::/0", {{"fe80::99", kWan}}), route(7, "2001:db8:f::/48", {{"2001:db8:2::99"}}),
         route(8, "2001:db8:f:1::/64", RouteKind::kProhibit)});
  EXPECT_EQ(lookup("8.8.8.8"), "forward wan0 203.0.113.254 #0");
  EXPECT_EQ(lookup("172.16.9.9"), "forward bare0 172.16.9.9 #1");
  EXPECT_EQ(lookup("172.16.1.1"), "blackhole #2");
  EXPECT_EQ(lookup("172.16.2.1"), "unreachable #3");
  EXPECT_EQ(lookup("172.16.3.1"), "prohibit #4");
  EXPECT_EQ(lookup("172.17.3.1"), "forward bare0 9.9.9.9 #5");
  EXPECT_EQ(lookup("2a00::1"), "forward wan0 fe80::99 #6");
  EXPECT_EQ(lookup("2001:db8:f::1"), "forward lan0 2001:db8:2::99 #7");
  EXPECT_EQ(lookup("2001:db8:f:1::1"), "prohibit #8");
  EXPECT_EQ(lookup("fe80::1"), "none") << "of which link?";
}

TEST_F(FibTest, FamiliesDoNotMeet) {
  build({route(0, "::/0", {{"2001:db8:1::99"}})});
  EXPECT_EQ(lookup("8.8.8.8"), "none") << "::/0 holds no IPv4 address, mapped or not";
  build({route(0, "0.0.0.0/0", {{"203.0.113.254"}})});
  EXPECT_EQ(lookup("2a00::1"), "none");
  EXPECT_EQ(lookup("::"), "none");
}

TEST_F(FibTest, LinkLocalDestinations) {
  build({route(0, "::/0", {{"2001:db8:1::99"}})});
  const auto on = [&](const char* destination, uint16_t i) {
    return text(fib_->lookup_on_link(ip(destination), InterfaceIndex{i}));
  };
  EXPECT_EQ(on("fe80::1", kLan), "local lan0");
  EXPECT_EQ(on("fe80::2", kLan), "forward lan0 fe80::2");
  EXPECT_EQ(on("fe80::1", kWan), "forward wan0 fe80::1");
  EXPECT_EQ(on("fe80::1", kBare), "none") << "no IPv6 there";
  EXPECT_EQ(on("fe80::1", kNoInterface.value), "none");
}

TEST_F(FibTest, PrecedenceAmongEqualPrefixes) {
  build({route(0, "203.0.113.0/24", RouteKind::kBlackhole),    // a network
         route(1, "203.0.113.1/32", RouteKind::kBlackhole),    // an own address
         route(2, "203.0.113.255/32", RouteKind::kBlackhole),  // a broadcast address
         route(3, "172.16.0.0/12", RouteKind::kBlackhole), route(4, "172.16.0.0/12", RouteKind::kProhibit),
         route(5, "2001:db8:1::/64", RouteKind::kBlackhole),
         route(6, "2001:db8:1::1/128", RouteKind::kBlackhole),
         route(7, "10.9.0.0/16", RouteKind::kBlackhole, 20),
         route(8, "10.9.0.0/16", RouteKind::kProhibit, 10)});
  EXPECT_EQ(lookup("203.0.113.9"), "forward wan0 203.0.113.9");
  EXPECT_EQ(lookup("203.0.113.1"), "local wan0");
  EXPECT_EQ(lookup("203.0.113.255"), "local wan0");
  EXPECT_EQ(lookup("172.20.0.0"), "blackhole #3");
  EXPECT_EQ(lookup("2001:db8:1::9"), "forward wan0 2001:db8:1::9");
  EXPECT_EQ(lookup("2001:db8:1::1"), "local wan0");
  EXPECT_EQ(lookup("10.9.9.9"), "prohibit #8") << "the lowest metric, whatever the order";
  EXPECT_EQ(fib_->lookup(ip("10.9.9.9")).metric, 10u);
}

TEST_F(FibTest, EntriesAreListedByPrefixAndPrecedence) {
  RouteRecord imported = route(1, "0.0.0.0/0", {{"203.0.113.254"}, {nullptr, kBare}}, 20);
  imported.imported = 1;
  build({route(0, "::/0", {{"fe80::99", kWan}}), imported, route(2, "0.0.0.0/0", {{"192.168.10.9"}}, 10)});
  const auto entries = fib_->entries();
  EXPECT_EQ(entries[0].route, RouteIndex{2});
  EXPECT_EQ(entries[1].route, RouteIndex{1});
  EXPECT_EQ(entries[1].imported, 1);
  ASSERT_EQ(fib_->next_hops(entries[1]).size(), 2u);
  EXPECT_EQ(fib_->next_hops(entries[1])[0].interface, InterfaceIndex{kWan}) << "found by its network";
  // Own addresses: 5 + 3 + 3 (one of them link-local, not here), broadcasts: wan0, vti0 and one of the two
  // that lan0's networks share; networks: 5 of IPv4, 4 of IPv6; the routes.
  EXPECT_EQ(entries.size(), 6u + 5 + 3 + 5 + 4 + 3);
  link_of(kWan).up = false;
  EXPECT_TRUE(fib_->is_usable(entries[1])) << "by its other next hop";
  link_of(kBare).up = false;
  EXPECT_FALSE(fib_->is_usable(entries[1]));
  EXPECT_TRUE(fib_->is_usable(entries[0]));
  EXPECT_TRUE(std::is_sorted(entries.begin(), entries.end(), [](const RouteEntry& a, const RouteEntry& b) {
    return std::pair(a.prefix.family(), a.prefix.address) < std::pair(b.prefix.family(), b.prefix.address);
  }));
}

TEST_F(FibTest, RoutesThatLeadNowhereAreRefused) {
  const auto refused = [&](const RouteRecord& r, std::string_view reason) {
    const auto fib = Fib::build(std::span(&r, 1), table_);
    ASSERT_FALSE(fib) << reason;
    EXPECT_NE(fib.error().text.find(reason), std::string::npos) << fib.error().text;
  };
  refused(route(0, "172.16.0.0/12", {{"8.8.8.8"}}), "in no interface's network");
  refused(route(0, "2001:db8:f::/48", {{"fe80::9"}}), "in no interface's network");
  refused(route(0, "172.16.0.0/12", {{"203.0.113.1"}}), "an address of the gateway itself");
  refused(route(0, "2001:db8:f::/48", {{"2001:db8:1::1", kWan}}), "an address of the gateway itself");
  refused(route(0, "172.16.0.0/12", {{nullptr}}), "neither address nor interface");
  refused(route(0, "172.16.0.0/12", {{nullptr, 7}}), "no interface number 7");
  refused(route(0, "172.16.0.0/12", {{"2001:db8:1::9"}}), "other family");
  refused(route(0, "172.16.0.0/12", std::vector<Hop>{}), "has 0 next hops");
  RouteRecord many = route(0, "172.16.0.0/12", {{"203.0.113.9"}});
  many.next_hop_count = 9;
  refused(many, "has 9 next hops");
}

// --- Links that go down ---

TEST_F(FibTest, ARouteWithoutALinkMakesWay) {
  build({route(0, "0.0.0.0/0", {{"203.0.113.254"}}), route(1, "172.16.0.0/12", {{"192.168.10.9"}}, 10),
         route(2, "172.16.0.0/12", {{nullptr, kP2p}}, 20), route(3, "::/0", {{"2001:db8:1::99"}}),
         route(4, "2001:db8:f::/48", {{"2001:db8:2::99"}})});
  EXPECT_EQ(lookup("172.16.1.1"), "forward lan0 192.168.10.9 #1");
  link_of(kLan).up = false;
  EXPECT_EQ(lookup("172.16.1.1"), "forward p2p0 172.16.1.1 #2");
  EXPECT_EQ(lookup("2001:db8:f::1"), "forward wan0 2001:db8:1::99 #3");
  link_of(kP2p).up = false;
  EXPECT_EQ(lookup("172.16.1.1"), "forward wan0 203.0.113.254 #0");
  link_of(kWan).up = false;
  EXPECT_EQ(lookup("172.16.1.1"), "none");
  link_of(kLan).up = true;
  EXPECT_EQ(lookup("172.16.1.1"), "forward lan0 192.168.10.9 #1");
}

// What is for the LAN must not leave by the default route, in clear perhaps.
TEST_F(FibTest, ANetworkStaysWhereItIs) {
  build({route(0, "0.0.0.0/0", {{"203.0.113.254"}}), route(1, "2001:db8:2::/64", {{"2001:db8:1::9"}}, 5)});
  link_of(kLan).up = false;
  EXPECT_EQ(lookup("192.168.10.9"), "forward lan0 192.168.10.9") << "dropped as egress_down";
  EXPECT_EQ(lookup("2001:db8:2::9"), "forward wan0 2001:db8:1::9 #1")
      << "what the operator wrote for that case";
  link_of(kWan).up = false;
  EXPECT_EQ(lookup("2001:db8:2::9"), "forward lan0 2001:db8:2::9");
}

TEST_F(FibTest, TunnelsFailClosed) {
  build({route(0, "0.0.0.0/0", {{"203.0.113.254"}}), route(1, "172.16.0.0/12", {{nullptr, kVti}}),
         route(2, "172.32.0.0/12", {{nullptr, kGre}}), route(3, "172.48.0.0/12", {{nullptr, kClearGre}}),
         route(4, "172.64.0.0/12", {{nullptr, kVti}}, 10), route(5, "172.64.0.0/12", {{nullptr, kGre}}, 20),
         route(6, "172.80.0.0/12", {{"203.0.113.254"}, {nullptr, kVti}}),
         route(7, "172.16.5.0/24", {{"192.168.10.9"}})});
  EXPECT_EQ(lookup("172.16.1.1"), "forward vti0 172.16.1.1 #1");
  EXPECT_EQ(lookup("10.1.0.2"), "forward vti0 10.1.0.2");
  link_of(kVti).up = link_of(kGre).up = link_of(kClearGre).up = false;
  EXPECT_EQ(lookup("172.16.1.1"), "unreachable vti0 #1") << "never the default route";
  EXPECT_EQ(lookup("172.32.1.1"), "unreachable gre0 #2");
  EXPECT_EQ(lookup("172.48.1.1"), "forward wan0 203.0.113.254 #0") << "clear GRE protects nothing";
  EXPECT_EQ(lookup("172.64.1.1"), "unreachable vti0 #4");
  EXPECT_EQ(lookup("10.1.0.2"), "unreachable vti0");
  EXPECT_EQ(lookup("10.1.0.1"), "local vti0");
  link_of(kWan).up = false;
  link_of(kLan).up = false;
  EXPECT_EQ(lookup("172.16.5.1"), "unreachable vti0 #1") << "a smaller route made way to one that does not";
  link_of(kGre).up = true;
  EXPECT_EQ(lookup("172.64.1.1"), "forward gre0 172.64.1.1 #5");
}

// Those that took it wait for it, or take another tunnel: a next hop beside it would have them in clear.
TEST_F(FibTest, FlowsOfALostTunnelDoNotMoveIntoTheClear) {
  build({route(0, "172.16.0.0/12", {{"203.0.113.254"}, {nullptr, kVti}}),
         route(1, "172.32.0.0/12", {{"203.0.113.254"}, {nullptr, kVti}, {nullptr, kGre}})});
  constexpr uint32_t kFlows = 3000;
  std::map<std::string, int> moves;
  const auto note = [&](const char* destination) {
    for (uint32_t i = 0; i < kFlows; ++i) {
      const uint32_t hash = i * 2654435761;
      link_of(kVti).up = true;
      const auto before = fib_->lookup(ip(destination), hash).interface.value;
      link_of(kVti).up = false;
      const RouteResult after = fib_->lookup(ip(destination), hash);
      ++moves[std::to_string(before) + (after.verdict == RouteVerdict::kForward
                                            ? " to " + std::to_string(after.interface.value)
                                            : " is unreachable")];
    }
  };
  note("172.16.1.1");
  EXPECT_EQ(moves.size(), 2u);
  EXPECT_NEAR(moves["0 to 0"], kFlows / 2, 180);
  EXPECT_NEAR(moves["4 is unreachable"], kFlows / 2, 180);
  moves.clear();
  note("172.32.1.1");
  EXPECT_EQ(moves.size(), 3u);
  EXPECT_NEAR(moves["4 to 5"], kFlows / 3, 180);
}

TEST_F(FibTest, AnImportedRouteDoesNotTakeOverFromALostTunnel) {
  RouteRecord imported = route(1, "172.16.0.0/12", {{"203.0.113.9"}}, 20);
  imported.imported = 1;
  build({route(0, "172.16.0.0/12", {{nullptr, kVti}}), imported, route(2, "172.32.0.0/12", {{nullptr, kVti}}),
         route(3, "172.32.0.0/12", {{"203.0.113.8"}}, 20)});
  link_of(kVti).up = false;
  EXPECT_EQ(lookup("172.16.1.1"), "unreachable vti0 #0");
  EXPECT_EQ(lookup("172.32.1.1"), "forward wan0 203.0.113.8 #3") << "the operator wrote it for that case";
  build({imported});
  EXPECT_EQ(lookup("172.16.1.1"), "forward wan0 203.0.113.9 #1") << "there is no tunnel beside it";
}

TEST_F(FibTest, DisabledIsDown) {
  std::vector<Interface> list = interfaces();
  list[kLan].enabled = false;
  table_ = InterfaceTable(std::move(list));
  build({route(0, "0.0.0.0/0", {{"203.0.113.254"}}), route(1, "172.16.0.0/12", {{"192.168.10.9"}})});
  EXPECT_EQ(lookup("172.16.1.1"), "forward wan0 203.0.113.254 #0");
}

TEST_F(FibTest, SourcesBehindTunnels) {
  build({route(0, "0.0.0.0/0", {{"203.0.113.254"}}), route(1, "172.16.0.0/12", {{nullptr, kVti}}),
         route(2, "172.32.0.0/12", {{nullptr, kGre}}), route(3, "172.48.0.0/12", {{nullptr, kClearGre}}),
         route(4, "172.64.0.0/12", {{nullptr, kVti}}, 10), route(5, "172.64.0.0/12", {{"203.0.113.254"}}, 20),
         route(6, "172.80.0.0/12", {{"203.0.113.254"}}, 10), route(7, "172.80.0.0/12", {{nullptr, kVti}}, 20),
         route(8, "172.16.5.0/24", {{"192.168.10.9"}}), route(9, "2001:db8:f::/48", {{nullptr, kVti}})});
  const auto check = [&](const char* when) {
    for (const char* source :
         {"172.16.1.1", "172.32.1.1", "172.64.1.1", "10.1.0.2", "2001:db8:f::1", "2001:db8:4::2"})
      EXPECT_TRUE(fib_->leads_into_tunnel(ip(source))) << source << when;
    for (const char* source :
         {"8.8.8.8", "172.48.1.1", "172.80.1.1", "172.16.5.1", "192.168.10.9", "2a00::1"})
      EXPECT_FALSE(fib_->leads_into_tunnel(ip(source))) << source << when;
  };
  check(" up");
  link_of(kVti).up = link_of(kGre).up = link_of(kClearGre).up = false;
  check(" down");
  link_of(kLan).up = false;
  EXPECT_TRUE(fib_->leads_into_tunnel(ip("172.16.5.1"))) << "its packets go into the tunnel now";
  EXPECT_FALSE(fib_->leads_into_tunnel(ip("192.168.10.9")));
  link_of(kVti).up = true;
  link_of(kWan).up = false;
  EXPECT_TRUE(fib_->leads_into_tunnel(ip("172.80.1.1"))) << "the second best is used";
}

// --- Several next hops ---

std::map<std::string, int> spread(const Fib& fib, const char* destination) {
  std::map<std::string, int> counts;
  Tuple tuple{ip("192.0.2.1"), ip(destination), {}, {}, kProtoTcp};
  for (uint16_t port = 0; port < 4000; ++port) {
    tuple.source_port = be16::from_host(port);
    const RouteResult r = fib.lookup(tuple.destination, flow_hash(tuple));
    ++counts[std::to_string(r.interface.value) + " " + std::to_string(r.next_hop.low.host() & 0xff)];
  }
  return counts;
}

TEST_F(FibTest, FlowsSpreadOverNextHops) {
  build({route(0, "172.16.0.0/12",
               {{"203.0.113.2"},
                {"203.0.113.3"},
                {"203.0.113.4"},
                {"203.0.113.5"},
                {"192.168.10.6"},
                {"192.168.10.7"},
                {"192.168.10.8"},
                {"192.168.10.9"}}),
         route(1, "2001:db8:f::/48", {{"2001:db8:1::2"}, {"2001:db8:2::2"}})});
  for (const auto& [hop, count] : spread(*fib_, "172.16.1.1")) EXPECT_NEAR(count, 500, 90) << hop;
  EXPECT_EQ(spread(*fib_, "172.16.1.1").size(), 8u);
  EXPECT_EQ(spread(*fib_, "2001:db8:f::1").size(), 2u);
  for (const auto& [hop, count] : spread(*fib_, "2001:db8:f::1")) EXPECT_NEAR(count, 2000, 180) << hop;
}

TEST_F(FibTest, OnlyFlowsOfALostNextHopMove) {
  build({route(0, "172.16.0.0/12", {{"203.0.113.2"}, {nullptr, kP2p}, {nullptr, kBare}})});
  std::vector<InterfaceIndex> before;
  for (uint32_t hash = 0; hash < 3000; ++hash)
    before.push_back(fib_->lookup(ip("172.16.1.1"), hash * 2654435761).interface);
  link_of(kP2p).up = false;
  std::map<uint16_t, int> heirs;
  for (uint32_t hash = 0; hash < 3000; ++hash) {
    const InterfaceIndex now = fib_->lookup(ip("172.16.1.1"), hash * 2654435761).interface;
    if (before[hash] != InterfaceIndex{kP2p})
      ASSERT_EQ(now, before[hash]);
    else
      ++heirs[now.value];
  }
  EXPECT_NEAR(heirs[kWan], 500, 90);
  EXPECT_NEAR(heirs[kBare], 500, 90);
}

TEST(FlowHash, DependsOnAllOfTheTuple) {
  const Tuple base{ip("192.0.2.1"), ip("2001:db8::1"), be16::from_host(1), be16::from_host(2), kProtoTcp};
  std::vector<Tuple> others(5, base);
  others[0].source = ip("192.0.2.2");
  others[1].destination = ip("2001:db9::1");
  others[2].source_port = be16::from_host(3);
  others[3].destination_port = be16::from_host(3);
  others[4].protocol = kProtoUdp;
  for (const Tuple& other : others) EXPECT_NE(flow_hash(other), flow_hash(base));
  EXPECT_EQ(flow_hash(Tuple(base)), flow_hash(base));
}

// --- Against a model ---

// The usable one of the longest prefix, then of the lowest metric, then the first.
const RouteRecord* naive_lookup(std::span<const RouteRecord> routes, IpAddress a) {
  const RouteRecord* best = nullptr;
  for (const RouteRecord& r : routes) {
    if (!r.prefix.contains(a)) continue;
    if (r.kind == RouteKind::kNextHop && !link_of(r.next_hops[0].interface.value).up) continue;
    if (best == nullptr || r.prefix.length > best->prefix.length ||
        (r.prefix.length == best->prefix.length && r.metric < best->metric))
      best = &r;
  }
  return best;
}

TEST(Fib, AgreesWithTheModelOnRandomRoutesAndLinks) {
  std::mt19937 random(7);
  const InterfaceTable interfaces({interface(0, {}), interface(1, {}), interface(2, {})});
  int found = 0, none = 0;
  for (int table = 0; table < 40; ++table) {
    const bool v6 = table % 2;
    // Few distinct bits, so that prefixes nest and repeat.
    const auto address = [&](uint32_t mask) -> IpAddress {
      if (!v6) return Ipv4Address::from_host(random() & mask);
      return ipv6(uint64_t{random() & mask} << 32 | (random() & 0xf0000000),
                  uint64_t{random() & 0x80000001} << 32);
    };
    std::vector<RouteRecord> routes;
    for (uint32_t i = 0; i < 500; ++i) {
      RouteRecord r = route(i, "0.0.0.0/0", {{nullptr, static_cast<int>(random() % 3)}}, random() % 3);
      r.prefix = IpPrefix::of(address(0xf0f0f0f0), static_cast<uint8_t>(random() % (v6 ? 129 : 33)));
      if (random() % 8 == 0) r.kind = RouteKind::kProhibit;
      routes.push_back(r);
    }
    const auto fib = Fib::build(routes, interfaces);
    ASSERT_TRUE(fib);
    for (int i = 0; i < 3000; ++i) {
      if (i % 500 == 0)
        for (uint16_t link = 0; link < 3; ++link) link_of(link).up = random() % 3 != 0;
      const IpAddress a = address(i % 2 ? 0xf0f0f0f0 : 0xffffffff);
      if (a.is_link_local()) continue;
      const RouteRecord* const expected = naive_lookup(routes, a);
      const RouteResult actual = (*fib)->lookup(a);
      ASSERT_EQ(actual.route, expected ? expected->index : kNoRoute);
      ++(expected ? found : none);
    }
  }
  for (uint16_t link = 0; link < 3; ++link) link_of(link).up = true;
  EXPECT_GT(found, 50'000);
  EXPECT_GT(none, 500);
}

TEST(Fib, BuildAndLookupTimes) {
  using Clock = std::chrono::steady_clock;
  std::mt19937 random(7);
  for (const bool v6 : {false, true}) {
    std::vector<RouteRecord> routes;
    for (uint32_t i = 0; i < 10000; ++i) {
      RouteRecord r = route(i, "0.0.0.0/0", {{nullptr, 0}});
      const uint32_t bits = static_cast<uint32_t>(random());
      r.prefix = v6 ? IpPrefix::of(ipv6(uint64_t{0x2000'0000 | bits} << 32, 0), 48)
                    : IpPrefix::of(Ipv4Address::from_host(bits), 24);
      routes.push_back(r);
    }
    const InterfaceTable interfaces({interface(0, {})});
    const auto start = Clock::now();
    const auto fib = Fib::build(routes, interfaces);
    const auto middle = Clock::now();
    ASSERT_TRUE(fib);
    uint64_t sum = 0;
    constexpr int kLookups = 200000;
    for (int i = 0; i < kLookups; ++i)
      sum += (*fib)->lookup(routes[random() % routes.size()].prefix.address).route.value;
    const auto end = Clock::now();
    EXPECT_GT(sum, 0u);
    const std::chrono::duration<double, std::milli> build = middle - start;
    const std::chrono::duration<double, std::nano> lookups = end - middle;
    std::printf("10000 IPv%d routes: built in %.1f ms, %.0f ns a lookup\n", v6 ? 6 : 4, build.count(),
                lookups.count() / kLookups);
  }
}

}  // namespace
}  // namespace espalier::dataplane
