// Routes that programs put into the host's kernel, read back. The programs are iproute2; what the kernel has
// is what `ip -j route` says.
#include <fstream>
#include <random>

#include "control/shared/text.hpp"
#include "tests/unit/host/host_fixture.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint8_t kBgp = 186, kOspf = 188, kStatic = 4;  // /etc/iproute2/rt_protos

class KernelRoutesTest : public HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    wanted_.import = import({kBgp, kOspf, RTPROT_KERNEL, kRouteProtocol});
    apply();
  }
  static RouteImport import(std::initializer_list<uint8_t> protocols, uint32_t table = RT_TABLE_MAIN) {
    RouteImport import{.table = table, .protocols = {}};
    for (const uint8_t p : protocols) import.protocols[p / 64] |= uint64_t{1} << (p % 64);
    return import;
  }

  // Lists that come until the kernel has nothing more to say.
  void settle() {
    for (int quiet = 0; quiet < 3; now_ms_ += KernelRoutes::kIntervalMs) {
      if (auto list = path_->take_routes(now_ms_)) {
        list_ = std::move(*list);
        ++lists_;
        quiet = 0;
      } else {
        quiet = has_more() ? 0 : quiet + 1;
      }
    }
  }
  bool has_more() const {
    pollfd waiting{.fd = path_->wait_fds()[1], .events = POLLIN, .revents = 0};
    return poll(&waiting, 1, 0) == 1;
  }
  std::string name(InterfaceIndex index) const { return wanted_.interfaces[index.value].name; }
  // "PREFIX metric M: VIA DEV ..." or "PREFIX metric M: KIND"
  std::string text(const RouteRecord& r) const {
    constexpr const char* kKinds[] = {"", " blackhole", " unreachable", " prohibit"};
    std::string line =
        fmt::format("{} metric {}:{}", to_text(r.prefix), r.metric, kKinds[static_cast<int>(r.kind)]);
    for (size_t i = 0; i < r.next_hop_count; ++i)
      line += fmt::format(" {} {}", r.next_hops[i].via.is_unspecified() ? "-" : to_text(r.next_hops[i].via),
                          name(r.next_hops[i].interface));
    return line;
  }
  Strings imported() {
    settle();
    Strings lines;
    for (size_t i = 0; i < list_.size(); ++i) {
      EXPECT_EQ(list_[i].index.value, i);
      EXPECT_EQ(list_[i].imported, 1);
      lines.push_back(text(list_[i]));
    }
    return lines;
  }

  std::vector<RouteRecord> list_;
  size_t lists_ = 0;
  uint64_t now_ms_ = 1000;
};

TEST_F(KernelRoutesTest, RoutesOfBothFamilies) {
  ASSERT_TRUE(host_ip("route add default via 203.0.113.254 proto bgp metric 20"));
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 via 192.168.10.9 proto ospf"));
  ASSERT_TRUE(host_ip("route add 10.30.0.1 dev vti1 proto bgp"));
  ASSERT_TRUE(host_ip("route add 2001:db8:50::/48 via fe80::99 dev wan0.7 proto bgp metric 20"));
  ASSERT_TRUE(host_ip("route add default via 2001:db8:10::9 proto bgp metric 9"));
  EXPECT_EQ(imported(),
            (Strings{"::/0 metric 9: 2001:db8:10::9 lan0", "0.0.0.0/0 metric 20: 203.0.113.254 wan0.7",
                     "10.20.0.0/16 metric 0: 192.168.10.9 lan0", "10.30.0.1/32 metric 0: - vti1",
                     "2001:db8:50::/48 metric 20: fe80::99 wan0.7"}));
}

TEST_F(KernelRoutesTest, WhatWasThereBeforeIsReadToo) {
  wanted_.import.reset();
  apply();
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 via 192.168.10.9 proto bgp"));
  wanted_.import = import({kBgp});
  apply();
  EXPECT_EQ(imported(), Strings{"10.20.0.0/16 metric 0: 192.168.10.9 lan0"});
}

TEST_F(KernelRoutesTest, KindsAndSeveralNextHops) {
  for (const char* kind : {"blackhole", "unreachable", "prohibit"}) {
    const std::string number = std::to_string(kind[0]);
    ASSERT_TRUE(host_ip(fmt::format("route add {} 10.{}.0.0/16 proto bgp", kind, number)));
  }
  ASSERT_TRUE(host_ip("route add unreachable 2001:db8:60::/48 proto bgp metric 5"));
  ASSERT_TRUE(
      host_ip("route add 10.20.0.0/16 proto bgp nexthop via 192.168.10.9 nexthop via 203.0.113.9 weight 3"));
  ASSERT_TRUE(
      host_ip("route add 2001:db8:50::/48 proto bgp metric 5 nexthop via fe80::9 dev lan0 nexthop via "
              "fe80::8 dev vti1"));
  EXPECT_EQ(imported(), (Strings{"10.20.0.0/16 metric 0: 192.168.10.9 lan0 203.0.113.9 wan0.7",
                                 "10.98.0.0/16 metric 0: blackhole", "10.112.0.0/16 metric 0: prohibit",
                                 "10.117.0.0/16 metric 0: unreachable",
                                 "2001:db8:50::/48 metric 5: fe80::9 lan0 fe80::8 vti1",
                                 "2001:db8:60::/48 metric 5: unreachable"}));
}

TEST_F(KernelRoutesTest, AtMostEightNextHops) {
  std::string command = "route add 10.20.0.0/16 proto bgp";
  for (int i = 10; i < 20; ++i) command += fmt::format(" nexthop via 192.168.10.{}", i);
  ASSERT_TRUE(host_ip(command));
  settle();
  ASSERT_EQ(list_.size(), 1u);
  EXPECT_EQ(list_[0].next_hop_count, 8);
}

TEST_F(KernelRoutesTest, OnlyTheProtocolsAndTheTableAskedFor) {
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 via 192.168.10.9 proto static"));
  ASSERT_TRUE(host_ip("route add 10.30.0.0/16 via 192.168.10.9 proto kernel"));
  ASSERT_TRUE(host_ip("route add 10.40.0.0/16 via 192.168.10.9 proto bgp table 1000"));
  ASSERT_TRUE(host_ip("route add 10.50.0.0/16 via 192.168.10.9 proto bgp tos 0x10"));
  ASSERT_TRUE(host_ip("route add 2001:db8:50::/48 from 2001:db8:10::/64 via fe80::9 dev lan0 proto bgp") ||
              true);
  RouteRecord own;
  own.prefix = prefix("10.60.0.0/16");
  own.next_hop_count = 1;
  own.next_hops[0] = {.via = ip("192.168.10.9"), .interface = kLan};
  wanted_.routes = {own};
  apply();
  EXPECT_EQ(imported(), Strings{});
  wanted_.import = import({kStatic, kBgp}, 1000);
  apply();
  EXPECT_EQ(imported(), Strings{"10.40.0.0/16 metric 0: 192.168.10.9 lan0"});
  wanted_.import = import({kStatic});
  apply();
  EXPECT_EQ(imported(), Strings{"10.20.0.0/16 metric 0: 192.168.10.9 lan0"});
  wanted_.import = import({kBgp}, 4711);  // a table that does not exist yet
  apply();
  EXPECT_EQ(imported(), Strings{});
  ASSERT_TRUE(host_ip("route add 10.70.0.0/16 via 192.168.10.9 proto bgp table 4711"));
  EXPECT_EQ(imported(), Strings{"10.70.0.0/16 metric 0: 192.168.10.9 lan0"});
}

TEST_F(KernelRoutesTest, NextHopsByForeignLinksAreLeftOut) {
  ASSERT_TRUE(
      host_ip("tuntap add mode tap name mgmt0 && ip -n " + host_ + " address add 172.20.0.1/24 dev mgmt0"));
  ASSERT_TRUE(host_ip("link set mgmt0 up"));
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 via 172.20.0.9 proto bgp"));
  ASSERT_TRUE(host_ip("route add 10.30.0.0/16 proto bgp nexthop via 172.20.0.9 nexthop via 192.168.10.9"));
  EXPECT_EQ(imported(), Strings{"10.30.0.0/16 metric 0: 192.168.10.9 lan0"});
}

TEST_F(KernelRoutesTest, ChangesAndRemovals) {
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 via 192.168.10.9 proto bgp"));
  ASSERT_TRUE(host_ip("route add 10.30.0.0/16 via 192.168.10.9 proto bgp"));
  ASSERT_TRUE(host_ip("route add 2001:db8:50::/48 via fe80::9 dev lan0 proto bgp"));
  EXPECT_EQ(imported().size(), 3u);
  ASSERT_TRUE(host_ip("route replace 10.20.0.0/16 via 203.0.113.9 proto ospf"));
  ASSERT_TRUE(host_ip("route del 10.30.0.0/16"));
  ASSERT_TRUE(host_ip("route replace 2001:db8:50::/48 via fe80::8 dev wan0.7 proto bgp"));
  EXPECT_EQ(imported(), (Strings{"10.20.0.0/16 metric 0: 203.0.113.9 wan0.7",
                                 "2001:db8:50::/48 metric 1024: fe80::8 wan0.7"}));
  ASSERT_TRUE(host_ip("route replace 10.20.0.0/16 via 203.0.113.9 proto static"));
  ASSERT_TRUE(host_ip("-6 route flush proto bgp"));
  EXPECT_EQ(imported(), Strings{}) << "now it is another protocol's";
}

TEST_F(KernelRoutesTest, SeveralOfOnePrefixAndMetric) {
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 via 192.168.10.9 proto bgp"));
  ASSERT_TRUE(host_ip("route append 10.20.0.0/16 via 192.168.10.8 proto bgp"));
  ASSERT_TRUE(host_ip("route add 2001:db8:50::/48 via fe80::9 dev lan0 proto bgp"));
  ASSERT_TRUE(host_ip("route append 2001:db8:50::/48 via fe80::8 dev lan0 proto bgp"));
  EXPECT_EQ(imported(), (Strings{"10.20.0.0/16 metric 0: 192.168.10.9 lan0",
                                 "2001:db8:50::/48 metric 1024: fe80::9 lan0 fe80::8 lan0"}));
  ASSERT_TRUE(host_ip("route del 10.20.0.0/16 via 192.168.10.9"));
  ASSERT_TRUE(host_ip("route del 2001:db8:50::/48 via fe80::9 dev lan0"));
  EXPECT_EQ(imported(), (Strings{"10.20.0.0/16 metric 0: 192.168.10.8 lan0",
                                 "2001:db8:50::/48 metric 1024: fe80::8 lan0"}));
}

TEST_F(KernelRoutesTest, NextHopObjects) {
  ASSERT_TRUE(host_ip("nexthop add id 1 via 192.168.10.9 dev lan0"));
  ASSERT_TRUE(host_ip("nexthop add id 2 via 203.0.113.9 dev wan0.7"));
  ASSERT_TRUE(host_ip("nexthop add id 3 via fe80::9 dev lan0"));
  ASSERT_TRUE(host_ip("nexthop add id 4 blackhole"));
  ASSERT_TRUE(host_ip("nexthop add id 10 group 1/2"));
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 nhid 1 proto bgp metric 20"));
  ASSERT_TRUE(host_ip("route add 10.30.0.0/16 nhid 10 proto bgp metric 20"));
  ASSERT_TRUE(host_ip("route add 10.40.0.0/16 nhid 4 proto bgp metric 20"));
  ASSERT_TRUE(host_ip("route add 2001:db8:50::/48 nhid 3 proto bgp metric 20"));
  ASSERT_TRUE(host_ip("route add 10.50.0.0/16 nhid 3 proto bgp metric 20")) << "IPv4 by IPv6: not for us";
  const Strings all{"10.20.0.0/16 metric 20: 192.168.10.9 lan0",
                    "10.30.0.0/16 metric 20: 192.168.10.9 lan0 203.0.113.9 wan0.7",
                    "10.40.0.0/16 metric 20: blackhole", "2001:db8:50::/48 metric 20: fe80::9 lan0"};
  EXPECT_EQ(imported(), all);
  // As FRR does it: the routes are not told of again.
  ASSERT_TRUE(host_ip("nexthop replace id 1 via 192.168.10.8 dev lan0"));
  EXPECT_EQ(imported()[0], "10.20.0.0/16 metric 20: 192.168.10.8 lan0");
  EXPECT_EQ(imported()[1], "10.30.0.0/16 metric 20: 192.168.10.8 lan0 203.0.113.9 wan0.7");
  ASSERT_TRUE(host_ip("nexthop replace id 10 group 2"));
  EXPECT_EQ(imported()[1], "10.30.0.0/16 metric 20: 203.0.113.9 wan0.7");
}

TEST_F(KernelRoutesTest, AnObjectTakesItsRoutesWithIt) {
  ASSERT_TRUE(host_ip("nexthop add id 1 via 192.168.10.9 dev lan0"));
  ASSERT_TRUE(host_ip("nexthop add id 2 via 203.0.113.9 dev wan0.7"));
  ASSERT_TRUE(host_ip("nexthop add id 10 group 1/2"));
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 nhid 1 proto bgp"));
  ASSERT_TRUE(host_ip("route add 10.30.0.0/16 nhid 10 proto bgp"));
  EXPECT_EQ(imported().size(), 2u);
  ASSERT_TRUE(host_ip("nexthop del id 1"));
  EXPECT_EQ(imported(), Strings{"10.30.0.0/16 metric 0: 203.0.113.9 wan0.7"});
  ASSERT_TRUE(host_ip("nexthop add id 1 via 192.168.10.7 dev lan0"));
  EXPECT_EQ(imported(), Strings{"10.30.0.0/16 metric 0: 203.0.113.9 wan0.7"})
      << "another object of this number";
  EXPECT_EQ(host_json("route show 10.20.0.0/16").size(), 0u);
}

TEST_F(KernelRoutesTest, ObjectsWithoutTheirNextHopsInRoutes) {
  ASSERT_TRUE(run("ip netns exec " + host_ + " sysctl -q -w net.ipv4.nexthop_compat_mode=0"));
  ASSERT_TRUE(host_ip("nexthop add id 1 via 192.168.10.9 dev lan0"));
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 nhid 1 proto bgp"));
  EXPECT_EQ(imported(), Strings{"10.20.0.0/16 metric 0: 192.168.10.9 lan0"});
  ASSERT_TRUE(host_ip("nexthop replace id 1 via 203.0.113.9 dev wan0.7"));
  EXPECT_EQ(imported(), Strings{"10.20.0.0/16 metric 0: 203.0.113.9 wan0.7"});
}

TEST_F(KernelRoutesTest, ALinkThatGoesDownTakesRoutesWithIt) {
  ASSERT_TRUE(host_ip("nexthop add id 1 via 192.168.10.9 dev lan0"));
  ASSERT_TRUE(host_ip("route add 10.20.0.0/16 nhid 1 proto bgp"));
  ASSERT_TRUE(host_ip("route add 10.30.0.0/16 via 192.168.10.9 proto bgp"));
  ASSERT_TRUE(host_ip("route add 10.40.0.0/16 via 203.0.113.9 proto bgp"));
  EXPECT_EQ(imported().size(), 3u);
  wanted_.interfaces[0].enabled = false;
  apply();
  EXPECT_EQ(imported(), Strings{"10.40.0.0/16 metric 0: 203.0.113.9 wan0.7"});
}

TEST_F(KernelRoutesTest, AnAddressThatGoesTakesRoutesWithIt) {
  ASSERT_TRUE(host_ip("route add 10.40.0.0/16 dev vti1 src 192.168.10.1 proto bgp"));
  EXPECT_EQ(imported().size(), 1u);
  wanted_.interfaces[0].addresses = {prefix("192.168.10.2/24")};
  apply();
  EXPECT_EQ(imported(), Strings{});
}

TEST_F(KernelRoutesTest, InterfacesMayMove) {
  ASSERT_TRUE(host_ip("route add 10.40.0.0/16 via 203.0.113.9 proto bgp"));
  EXPECT_EQ(imported(), Strings{"10.40.0.0/16 metric 0: 203.0.113.9 wan0.7"});
  const size_t lists = lists_;
  std::swap(wanted_.interfaces[0], wanted_.interfaces[1]);
  wanted_.interfaces[0].index = InterfaceIndex{0};
  wanted_.interfaces[1].index = InterfaceIndex{1};
  apply();
  EXPECT_EQ(imported(), Strings{"10.40.0.0/16 metric 0: 203.0.113.9 wan0.7"});
  EXPECT_EQ(list_[0].next_hops[0].interface, InterfaceIndex{0});
  EXPECT_GT(lists_, lists);
}

TEST(MovedRoutes, FollowTheNamesOfInterfaces) {
  const auto record = [](uint16_t index, const char* name) {
    InterfaceRecord r;
    r.index = InterfaceIndex{index};
    r.name.assign(name);
    return r;
  };
  const InterfaceRecord before[] = {record(0, "lan0"), record(1, "wan0"), record(2, "vti1")};
  const InterfaceRecord now[] = {record(0, "vti0"), record(1, "vti1"), record(2, "lan0")};
  std::array<RouteRecord, 4> routes;
  const auto set = [&](size_t i, std::initializer_list<uint16_t> interfaces) {
    routes[i].index = RouteIndex{static_cast<uint32_t>(i)};
    for (const uint16_t interface : interfaces)
      routes[i].next_hops[routes[i].next_hop_count++] = {ip("10.9.0.2"), InterfaceIndex{interface}};
  };
  set(0, {1});
  set(1, {2});
  set(2, {0, 1, 2});
  set(3, {});
  routes[3].kind = RouteKind::kBlackhole;
  const auto moved = moved_routes(routes, before, now);
  ASSERT_EQ(moved.size(), 3u) << "none by wan0 alone, which is gone";
  EXPECT_EQ(moved[0].next_hop_count, 1);
  EXPECT_EQ(moved[0].next_hops[0].interface, InterfaceIndex{1});
  EXPECT_EQ(moved[0].next_hops[0].via, ip("10.9.0.2"));
  EXPECT_EQ(moved[1].next_hop_count, 2);
  EXPECT_EQ(moved[1].next_hops[0].interface, InterfaceIndex{2});
  EXPECT_EQ(moved[1].next_hops[1].interface, InterfaceIndex{1});
  EXPECT_EQ(moved[2].kind, RouteKind::kBlackhole);
  for (size_t i = 0; i < moved.size(); ++i) EXPECT_EQ(moved[i].index.value, i);
}

TEST_F(KernelRoutesTest, AnEmptyListOnceWhenTheImportEnds) {
  ASSERT_TRUE(host_ip("route add 10.40.0.0/16 via 203.0.113.9 proto bgp"));
  EXPECT_EQ(imported().size(), 1u);
  wanted_.import.reset();
  apply();
  const auto last = path_->take_routes(now_ms_);
  ASSERT_TRUE(last);
  EXPECT_TRUE(last->empty());
  EXPECT_FALSE(path_->take_routes(now_ms_ + 1000));
  EXPECT_EQ(path_->wait_fds()[1], -1);
}

TEST_F(KernelRoutesTest, ChangesWakeUsAndWait) {
  settle();
  settle();
  EXPECT_FALSE(has_more());
  ASSERT_TRUE(host_ip("route add 10.40.0.0/16 via 203.0.113.9 proto bgp"));
  EXPECT_TRUE(has_more());
  ASSERT_TRUE(path_->take_routes(now_ms_));
  ASSERT_TRUE(host_ip("route add 10.50.0.0/16 via 203.0.113.9 proto bgp"));
  EXPECT_FALSE(path_->take_routes(now_ms_ + 1));
  EXPECT_FALSE(path_->take_routes(now_ms_ + KernelRoutes::kIntervalMs - 1));
  const auto list = path_->take_routes(now_ms_ + KernelRoutes::kIntervalMs);
  ASSERT_TRUE(list);
  EXPECT_EQ(list->size(), 2u);
}

// More changes than the socket can hold while nobody reads.
TEST_F(KernelRoutesTest, LostMessagesAreMadeUpFor) {
  settle();
  const std::string batch = testing::TempDir() + "espt-routes-" + std::to_string(getpid());
  constexpr int kRoutes = 30000;
  {
    std::ofstream file(batch);
    for (int i = 0; i < kRoutes; ++i)
      file << fmt::format("route add 10.{}.{}.0/24 via 192.168.10.9 proto bgp\n", 20 + i / 256, i % 256);
  }
  ASSERT_TRUE(host_ip("-batch " + batch));
  settle();
  EXPECT_EQ(list_.size(), static_cast<size_t>(kRoutes));
  std::remove(batch.c_str());
}

// --- Against what `ip route` says, after many changes at random ---

class RandomRoutes : public KernelRoutesTest {
 protected:
  std::string pick(const Strings& from) { return from[random_() % from.size()]; }
  std::string change() {
    const bool v4 = random_() % 2;
    const std::string to = v4 ? pick({"10.20.0.0/16", "10.20.1.0/24", "default", "10.30.0.1"})
                              : pick({"2001:db8:50::/48", "2001:db8:60::/48", "2001:db8:50:1::/64"});
    const std::string metric = pick({"5", "20"});
    const std::string hop = v4 ? pick({"via 192.168.10.9 dev lan0", "via 203.0.113.9 dev wan0.7", "dev vti1",
                                       "nhid 1", "nhid 10"})
                               : pick({"via fe80::9 dev lan0", "via fe80::8 dev wan0.7", "nhid 3"});
    const std::string verb = pick({"add", "replace", "append", "prepend", "del", "del"});
    if (random_() % 12 == 0)
      return "nexthop replace id 1 " + pick({"via 192.168.10.8 dev lan0", "via 203.0.113.8 dev wan0.7"});
    if (random_() % 20 == 0) return "nexthop del id " + pick({"1", "3", "10"});
    if (random_() % 8 == 0)
      return pick({"nexthop add id 1 via 192.168.10.9 dev lan0", "nexthop add id 10 group 1/2",
                   "nexthop add id 3 via fe80::9 dev lan0"});
    if (verb == "del" && random_() % 2) return fmt::format("route del {} metric {}", to, metric);
    return fmt::format("route {} {} {} metric {} proto {}", verb, to, hop, metric,
                       pick({"bgp", "ospf", "static"}));
  }
  // What the kernel has of the protocols asked for: of several routes of one prefix and metric the first.
  Strings kernel_has() const {
    std::map<std::string, std::string> first;
    for (const char* family : {"-4", "-6"})
      for (const Json& r : host_json(fmt::format("{} route show", family))) {
        const std::string protocol = r.value("protocol", "");
        if (protocol == "kernel") continue;
        std::string to = r.at("dst").get<std::string>();
        if (to == "default") to = family[1] == '4' ? "0.0.0.0/0" : "::/0";
        const std::string key = fmt::format("{} metric {}:", to_text(prefix(to)), r.value("metric", 0));
        std::string hops;
        for (const Json& hop : r.contains("nexthops") ? r.at("nexthops") : Json::array({r}))
          hops += fmt::format(" {} {}", hop.value("gateway", "-"), hop.at("dev").get<std::string>());
        first.try_emplace(key, protocol == "static" ? "" : key + hops);
      }
    Strings lines;
    for (const auto& [key, line] : first)
      if (!line.empty()) lines.push_back(line);
    return lines;
  }
  std::mt19937 random_{20261122};
};

TEST_F(RandomRoutes, AsTheKernelHasThem) {
  ASSERT_TRUE(host_ip("nexthop add id 2 via 203.0.113.7 dev wan0.7"));
  const std::string batch = testing::TempDir() + "espt-random-" + std::to_string(getpid());
  size_t most = 0;
  for (int round = 0; round < 60; ++round) {
    {
      std::ofstream file(batch);
      for (int i = 0; i < 12; ++i) file << change() << '\n';
    }
    (void)run("ip -n " + host_ + " -force -batch " + batch + " 2>/dev/null");  // some are refused
    Strings ours = imported();
    std::ranges::sort(ours);
    const Strings kernel = kernel_has();
    ASSERT_EQ(ours, kernel) << "round " << round << "\n" << output_of("cat " + batch);
    most = std::max(most, kernel.size());
  }
  EXPECT_GE(most, 5u);
  std::remove(batch.c_str());
}

}  // namespace
}  // namespace espalier::dataplane
