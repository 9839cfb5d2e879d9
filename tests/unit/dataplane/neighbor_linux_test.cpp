// The resolver beside a Linux kernel on one cable: each finds the other, and each sees that the other has an
// address already. In a network namespace of its own; needs root.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/neighbor_fixture.hpp"
#include "tests/unit/dataplane/network_namespace.hpp"
#include "tests/unit/dataplane/table_tools.hpp"

namespace espalier::dataplane {
namespace {

const auto* const kNamespace = testing::AddGlobalTestEnvironment(new NamespaceEnvironment);
constexpr size_t kEthernetBytes = 14;

// Our side of the cable is eth0 of the fixture, fed from the raw socket; the kernel's is peer0.
class LinuxTest : public NeighborTest {
 protected:
  LinuxTest() {
    run("ip link del gw0 2>/dev/null");
    EXPECT_TRUE(run("ip link add gw0 type veth peer name peer0"));
    EXPECT_TRUE(
        run("sysctl -q -w net.ipv6.conf.peer0.disable_ipv6=0 net.ipv6.conf.peer0.router_solicitations=0"));
    EXPECT_TRUE(run("ip link set gw0 up && ip link set peer0 address 02:00:00:00:aa:01 up"));
    // Until it has seen the carrier, a busy kernel has joined no group and hears no question.
    EXPECT_TRUE(
        run("for i in $(seq 100); do ip -6 route show table all dev peer0 | grep -q ff00::/8 && exit 0; "
            "sleep 0.1; done; exit 1"));
    socket_.emplace("gw0");
  }
  ~LinuxTest() override { run("ip link del gw0"); }

  void start_with(const char* own) {
    auto all = interfaces();
    all[0].addresses.push_back(prefix(own));
    link_.up = false;
    tick_for(0);
    reconfigure(all);
    link_.up = true;
    tick_for(0);
    carry_out();
  }
  void carry_out() {
    for (const NeighborFrame& f : std::exchange(out_.frames, {})) {
      if (f.interface != kLan) continue;
      Bytes bytes;
      test::append(bytes, f.destination);
      test::append(bytes, kLanMac);
      test::append16(bytes, f.ether_type);
      test::append(bytes, f.payload);
      ASSERT_TRUE(socket_->send(bytes));
    }
  }
  void hear(const Frame& frame) {
    const std::span<const uint8_t> payload = std::span(frame).subspan(kEthernetBytes);
    const uint16_t type = test::get16(frame, 12);
    if (type == kEtherTypeArp) resolver_.handle_arp(kLan, payload, now_ms_, out_);
    if (type != kEtherTypeIpv6) return;
    const size_t l4 = payload[6] == kProtoHopByHop ? 48 : 40;
    if (payload[l4 == 48 ? 40 : 6] != kProtoIcmpv6) return;
    if (!nd::is_wanted(payload[l4])) return;
    EXPECT_EQ(resolver_.handle_nd(kLan, payload, l4, now_ms_, out_), DropReason::kUsedNd)
        << test::to_hex(payload);
  }
  // Both sides at work, in real time, until `done` holds or some seconds have passed.
  template <class Done>
  bool live_until(Done done, int seconds = 6) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const uint64_t start_ms = now_ms_;
    while (!done()) {
      const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
      if (ms > seconds * 1000) return false;
      now_ms_ = start_ms + static_cast<uint64_t>(ms);
      // All that came before time goes on: where this program had to wait, answers lie there already.
      for (auto frame = socket_->receive(20); frame; frame = socket_->receive(0)) hear(*frame);
      resolver_.tick(now_ms_, out_);
      carry_out();
    }
    return true;
  }
  bool is_usable(const char* address) const { return table_of_interfaces_->is_own_address(ip(address)); }
  bool kernel_says(const std::string& command) const { return run("(" + command + ") >/dev/null 2>&1"); }

  std::optional<RawSocket> socket_;
};

TEST_F(LinuxTest, WeFindTheKernelAndItFindsUs) {
  ASSERT_TRUE(run("ip addr add 2001:db8:1::45/64 dev peer0 nodad && ip addr add 192.168.10.45/24 dev peer0"));
  start_with("2001:db8:1::1/64");
  ASSERT_TRUE(live_until([&] { return is_usable("2001:db8:1::1"); }));
  send_to(ip("2001:db8:1::45"));
  send_to(kHost);
  ASSERT_TRUE(live_until([&] { return out_.ready.size() == 2; }));
  take_ready();
  MacAddress mac;
  seen_by_worker(ip("2001:db8:1::45"), &mac);
  EXPECT_EQ(mac, kHostMac);
  // What it learned from our questions is forgotten, so that its pings ask for us; nobody answers the echo.
  run("ip neigh flush dev peer0; (ping -c 3 -W 1 -i 0.3 2001:db8:1::1; ping -c 3 -W 1 -i 0.3 192.168.10.1) "
      ">/dev/null 2>&1 &");
  const auto knows = [&](const char* address, const char* how) {
    return kernel_says(
        fmt::format("ip neigh get {} dev peer0 | grep 'lladdr 02:00:00:00:00:01 {}'", address, how));
  };
  EXPECT_TRUE(live_until([&] { return knows("192.168.10.1", "REACHABLE"); }));
  EXPECT_TRUE(live_until([&] { return knows("2001:db8:1::1", "router REACHABLE"); }));
  EXPECT_EQ(out_.conflicts.size(), 0u);
}

TEST_F(LinuxTest, TheKernelHasTheAddressAlready) {
  ASSERT_TRUE(run("ip addr add 2001:db8:1::1/64 dev peer0 nodad"));
  start_with("2001:db8:1::1/64");
  ASSERT_TRUE(live_until([&] { return !out_.conflicts.empty(); }));
  EXPECT_EQ(out_.conflicts[0].address, ip("2001:db8:1::1"));
  EXPECT_EQ(out_.conflicts[0].mac, kHostMac);
  EXPECT_TRUE(out_.conflicts[0].refused);
  EXPECT_FALSE(live_until([&] { return is_usable("2001:db8:1::1"); }, 2));
}

TEST_F(LinuxTest, WeHaveTheAddressAlready) {
  start_with("2001:db8:1::1/64");
  ASSERT_TRUE(live_until([&] { return is_usable("2001:db8:1::1"); }));
  ASSERT_TRUE(run("ip addr add 2001:db8:1::1/64 dev peer0"));
  EXPECT_TRUE(
      live_until([&] { return kernel_says("ip addr show dev peer0 | grep '2001:db8:1::1/64.*dadfailed'"); }));
}

// It learns the group from a report, and would forget it in two seconds if its queries were not answered.
TEST_F(LinuxTest, ASnoopingBridgeKeepsOurGroups) {
  ASSERT_TRUE(
      run("ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_query_interval 100 "
          "mcast_query_response_interval 50 mcast_membership_interval 200 mcast_startup_query_interval 100"));
  ASSERT_TRUE(run(
      "sysctl -q -w net.ipv6.conf.br0.disable_ipv6=0 && ip link set peer0 master br0 && ip link set br0 up"));
  start_with("2001:db8:1::1/64");
  const auto has_group = [&] {
    return kernel_says("bridge mdb show dev br0 | grep 'port peer0 grp ff02::1:ff00:1'");
  };
  EXPECT_TRUE(live_until(has_group, 10));
  EXPECT_FALSE(live_until([] { return false; }, 8));
  EXPECT_TRUE(has_group());
  run("ip link del br0");
}

}  // namespace
}  // namespace espalier::dataplane
