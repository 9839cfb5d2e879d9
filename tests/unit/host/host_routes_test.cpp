// The configuration's routes in the host's kernel.
#include "tests/unit/host/host_fixture.hpp"

namespace espalier::dataplane {
namespace {

class HostRoutesTest : public HostTest {
 protected:
  using Hops = std::vector<std::pair<const char*, InterfaceIndex>>;
  static RouteRecord route(const std::string& to, const Hops& hops, uint32_t metric = 0) {
    RouteRecord record;
    record.prefix = prefix(to);
    record.metric = metric;
    for (const auto& [via, interface] : hops)
      record.next_hops[record.next_hop_count++] = {.via = *via ? ip(via) : IpAddress{},
                                                   .interface = interface};
    return record;
  }
  // "PREFIX metric M: VIA DEV, ..." of all routes of ours that the kernel has.
  Strings written() const {
    Strings found;
    for (const char* family : {"-4", "-6"})
      for (const Json& r : host_json(fmt::format("{} route show protocol {}", family, kRouteProtocol))) {
        std::string line =
            r.at("dst").get<std::string>() + " metric " + std::to_string(r.value("metric", 0)) + ":";
        for (const Json& hop : r.contains("nexthops") ? r.at("nexthops") : Json::array({r}))
          line += fmt::format(" {} {}", hop.value("gateway", "-"), hop.at("dev").get<std::string>());
        found.push_back(line);
      }
    return found;
  }
};

TEST_F(HostRoutesTest, TheHostFindsAWay) {
  wanted_.routes = {route("0.0.0.0/0", {{"203.0.113.254", kWan}}),
                    route("10.20.0.0/16", {{"192.168.10.9", kLan}, {"10.9.0.2", kTunnel}}, 7),
                    route("10.30.0.0/16", {{"", kTunnel}}),
                    route("::/0", {{"fe80::99", kWan}}),
                    route("2001:db8:50::/48", {{"2001:db8:10::9", kLan}, {"fe80::9", kTunnel}}, 3),
                    route("2001:db8:60::/48", {{"", kTunnel}})};
  apply();
  EXPECT_EQ(written(), (Strings{"default metric 0: 203.0.113.254 wan0.7",
                                "10.20.0.0/16 metric 7: 192.168.10.9 lan0 10.9.0.2 vti1",
                                "10.30.0.0/16 metric 0: - vti1",
                                "2001:db8:50::/48 metric 3: 2001:db8:10::9 lan0 fe80::9 vti1",
                                "2001:db8:60::/48 metric 1: - vti1", "default metric 1: fe80::99 wan0.7"}));
}

// The kernel cannot; for the host one is enough.
TEST_F(HostRoutesTest, Ipv6HasOneNextHopIfNotAllHaveAnAddress) {
  wanted_.routes = {route("2001:db8:50::/48", {{"", kTunnel}, {"2001:db8:10::9", kLan}})};
  apply();
  EXPECT_EQ(written(), Strings{"2001:db8:50::/48 metric 1: - vti1"});
  wanted_.interfaces[3].enabled = false;
  apply();
  EXPECT_EQ(written(), Strings{"2001:db8:50::/48 metric 1: 2001:db8:10::9 lan0"});
}

TEST_F(HostRoutesTest, OnlyForwardingOnesOfTheConfiguration) {
  RouteRecord imported = route("10.20.0.0/16", {{"192.168.10.9", kLan}});
  imported.imported = 1;
  RouteRecord blackhole = route("10.30.0.0/16", {});
  blackhole.kind = RouteKind::kBlackhole;
  wanted_.routes = {imported, blackhole};
  apply();
  EXPECT_EQ(written(), Strings{});
}

TEST_F(HostRoutesTest, TheyFollow) {
  wanted_.routes = {route("10.20.0.0/16", {{"192.168.10.9", kLan}}),
                    route("10.30.0.0/16", {{"192.168.10.9", kLan}}),
                    route("2001:db8:50::/48", {{"2001:db8:10::9", kLan}})};
  apply();
  wanted_.routes = {route("10.30.0.0/16", {{"192.168.10.8", kLan}}),
                    route("10.40.0.0/16", {{"192.168.10.9", kLan}}),
                    route("2001:db8:50::/48", {{"2001:db8:10::9", kLan}, {"2001:db8:10::8", kLan}})};
  apply();
  EXPECT_EQ(written(),
            (Strings{"10.30.0.0/16 metric 0: 192.168.10.8 lan0", "10.40.0.0/16 metric 0: 192.168.10.9 lan0",
                     "2001:db8:50::/48 metric 1: 2001:db8:10::9 lan0 2001:db8:10::8 lan0"}));
  wanted_.routes.clear();
  apply();
  EXPECT_EQ(written(), Strings{});
}

TEST_F(HostRoutesTest, AForeignRouteStays) {
  apply();
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 via 192.168.10.7 proto bgp"));
  wanted_.routes = {route("10.20.0.0/16", {{"192.168.10.9", kLan}})};
  apply();
  EXPECT_EQ(written(), Strings{});
  wanted_.routes.clear();
  apply();
  EXPECT_EQ(host_json("route show protocol bgp").size(), 1u);
}

TEST_F(HostRoutesTest, TheyComeBackWithTheLink) {
  const Strings all{"10.20.0.0/16 metric 0: 192.168.10.9 lan0",
                    "2001:db8:50::/48 metric 1: 2001:db8:10::9 lan0"};
  wanted_.routes = {route("10.20.0.0/16", {{"192.168.10.9", kLan}}),
                    route("2001:db8:50::/48", {{"2001:db8:10::9", kLan}})};
  apply();
  EXPECT_EQ(written(), all);
  wanted_.interfaces[0].enabled = false;
  apply();
  EXPECT_EQ(written(), Strings{});
  wanted_.interfaces[0].enabled = true;
  apply();
  EXPECT_EQ(written(), all);
  ASSERT_TRUE(host_ip("link del lan0"));
  path_->receive();  // notices
  apply();
  EXPECT_EQ(written(), all);
}

TEST_F(HostRoutesTest, ADisabledNextHopIsLeftOut) {
  wanted_.routes = {route("10.20.0.0/16", {{"192.168.10.9", kLan}, {"203.0.113.9", kWan}})};
  wanted_.interfaces[0].enabled = false;
  apply();
  EXPECT_EQ(written(), Strings{"10.20.0.0/16 metric 0: 203.0.113.9 wan0.7"});
  wanted_.interfaces[0].enabled = true;
  apply();
  EXPECT_EQ(written(), Strings{"10.20.0.0/16 metric 0: 192.168.10.9 lan0 203.0.113.9 wan0.7"});
}

}  // namespace
}  // namespace espalier::dataplane
