// The host's devices follow the configuration. What the host has is asked of iproute2.
#include "tests/unit/host/host_fixture.hpp"

namespace espalier::dataplane {
namespace {

TEST_F(HostTest, PortsAndVlansAreEthernetDevices) {
  apply();
  const Json lan = link("lan0");
  ASSERT_FALSE(lan.is_null());
  EXPECT_EQ(lan.at("linkinfo").at("info_data").at("type"), "tap");
  EXPECT_EQ(lan.at("address"), "52:54:00:00:00:01");
  EXPECT_EQ(lan.at("mtu"), 1500);
  EXPECT_TRUE(has_flag(lan, "UP") && has_flag(lan, "LOWER_UP") && has_flag(lan, "NOARP")) << lan;
  EXPECT_EQ(addresses(lan), (Strings{"192.168.10.1/24", "2001:db8:10::1/64", "fe80::1/64"}));
  EXPECT_EQ(lan.at("addr_info")[0].at("broadcast"), "192.168.10.255");
  EXPECT_EQ(link("wan0.7").at("address"), "52:54:00:00:00:02");
}

TEST_F(HostTest, TunnelsArePointToPointAndDummiesHaveAMac) {
  apply();
  const Json tunnel = link("vti1");
  EXPECT_EQ(tunnel.at("linkinfo").at("info_data").at("type"), "tun");
  EXPECT_TRUE(has_flag(tunnel, "POINTOPOINT") && has_flag(tunnel, "UP")) << tunnel;
  EXPECT_EQ(tunnel.at("mtu"), 1400);
  EXPECT_EQ(addresses(tunnel), (Strings{"10.9.0.1/30", "fe80::4/64"}));
  const Json dummy = link("dum0");
  EXPECT_EQ(dummy.at("address"), "02:45:53:50:00:02");
  EXPECT_EQ(addresses(dummy), (Strings{"10.255.0.1/32", "fe80::45:53ff:fe50:2/64"}));
}

TEST_F(HostTest, TheKernelNeitherForwardsNorListensToRouters) {
  ASSERT_TRUE(run("ip netns exec " + host_ +
                  " sysctl -q -w net.ipv4.ip_forward=1 "
                  "net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=1"));
  apply();
  for (const char* name : {"lan0", "wan0.7", "vti1"}) {
    EXPECT_EQ(setting(fmt::format("ipv4/conf/{}/forwarding", name)), "0\n") << name;
    EXPECT_EQ(setting(fmt::format("ipv6/conf/{}/forwarding", name)), "0\n") << name;
    EXPECT_EQ(setting(fmt::format("ipv6/conf/{}/accept_ra", name)), "0\n") << name;
    EXPECT_EQ(setting(fmt::format("ipv4/conf/{}/rp_filter", name)), "2\n") << name;
  }
}

TEST_F(HostTest, ForwardingThatWasSwitchedOnForAllGoesOffAgain) {
  apply();
  ASSERT_TRUE(run("ip netns exec " + host_ + " sysctl -q -w net.ipv4.ip_forward=1"));
  EXPECT_EQ(setting("ipv4/conf/lan0/forwarding"), "1\n");
  apply();
  EXPECT_EQ(setting("ipv4/conf/lan0/forwarding"), "0\n");
}

// Once, a second after they came.
TEST_F(HostTest, NewAddressesAreToldTwice) {
  apply();
  const Fd listener = host_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  sockaddr_nl groups{};
  groups.nl_family = AF_NETLINK;
  groups.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  const auto told = [&] {
    std::array<char, 8192> room;
    int addresses = 0;
    for (ssize_t got; (got = recv(listener.get(), room.data(), room.size(), MSG_DONTWAIT)) > 0;)
      for (auto* at = reinterpret_cast<nlmsghdr*>(room.data()); NLMSG_OK(at, got); at = NLMSG_NEXT(at, got))
        addresses += at->nlmsg_type == RTM_NEWADDR;
    return addresses;
  };
  std::this_thread::sleep_for(
      std::chrono::milliseconds(100));  // the kernel tells of IPv6 addresses a bit later
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&groups), sizeof groups), 0) << errno_text();
  path_->tick(5000);
  path_->tick(5999);
  EXPECT_EQ(told(), 0);
  path_->tick(6000);
  EXPECT_TRUE(eventually([&, all = 0]() mutable { return (all += told()) == 9; }));
  path_->tick(9000);
  apply();
  path_->tick(10'000);
  path_->tick(20'000);
  EXPECT_EQ(told(), 0) << "nothing is new";
  EXPECT_EQ(addresses(link("lan0")), (Strings{"192.168.10.1/24", "2001:db8:10::1/64", "fe80::1/64"}));
  EXPECT_EQ(link("lan0").at("addr_info")[0].at("broadcast"), "192.168.10.255");
}

TEST_F(HostTest, TheOwnNamespaceStaysUntouched) {
  const size_t before = Json::parse(output_of("ip -j link")).size();
  apply();
  EXPECT_EQ(Json::parse(output_of("ip -j link")).size(), before);
  for (const HostInterface& wanted : wanted_.interfaces) EXPECT_FALSE(link(wanted.name).is_null());
}

TEST_F(HostTest, WithoutANamespaceTheDevicesAreInOurOwn) {
  const size_t before = Json::parse(output_of("ip -j link")).size();
  wanted_.network_namespace.clear();
  apply();
  EXPECT_EQ(Json::parse(output_of("ip -j link")).size(), before + 4);
  EXPECT_TRUE(link("lan0").is_null());
  wanted_.interfaces.clear();
  apply();
  EXPECT_EQ(Json::parse(output_of("ip -j link")).size(), before);
}

TEST_F(HostTest, ATakenNameIsRefusedAndNothingChanges) {
  ASSERT_TRUE(host_ip("tuntap add mode tap name wan0.7"));
  const size_t before = host_json("link").size();
  const auto plan = path_->plan(wanted_);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().text,
            "host path: interface wan0.7: the host has an interface of this name already; "
            "dataplane.host-namespace keeps them apart");
  EXPECT_EQ(host_json("link").size(), before);
}

TEST_F(HostTest, AMissingNamespaceIsRefused) {
  wanted_.network_namespace = "espt-none";
  const auto plan = path_->plan(wanted_);
  ASSERT_FALSE(plan);
  EXPECT_TRUE(plan.error().text.starts_with("host namespace espt-none: ")) << plan.error().text;
}

TEST_F(HostTest, Ipv6NeedsItsMtu) {
  wanted_.interfaces[0].mtu_bytes = 1279;
  const auto plan = path_->plan(wanted_);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().text,
            "host path: interface lan0: address 2001:db8:10::1/64 with an MTU of 1279: IPv6 needs 1280");
  wanted_.interfaces[0].addresses.erase(wanted_.interfaces[0].addresses.begin() + 1);
  apply();  // without the link-local address, which cannot be
  EXPECT_EQ(addresses(link("lan0")), Strings{"192.168.10.1/24"});
}

TEST_F(HostTest, APlanThatIsNotCarriedOutLeavesNothing) {
  const size_t before = host_json("link").size();
  ASSERT_TRUE(path_->plan(wanted_));
  EXPECT_EQ(host_json("link").size(), before);
}

TEST_F(HostTest, WhatDoesNotChangeStays) {
  apply();
  const Json before = link("lan0");
  wanted_.interfaces.erase(wanted_.interfaces.begin() + 1);
  wanted_.interfaces[1].index = InterfaceIndex{1};
  wanted_.interfaces[2].index = InterfaceIndex{2};
  apply();
  EXPECT_EQ(link("lan0").at("ifindex"), before.at("ifindex"));
  EXPECT_TRUE(link("wan0.7").is_null());
  EXPECT_EQ(path_->send(InterfaceIndex{3}, {}), DropReason::kLocalNoService);
}

TEST_F(HostTest, AddressesFollowAndForeignOnesStay) {
  wanted_.interfaces[0].addresses.push_back(prefix("192.168.10.2/24"));
  apply();
  ASSERT_TRUE(host_ip("address add 192.168.10.99/24 dev lan0"));
  wanted_.interfaces[0].addresses = {prefix("192.168.10.2/24"), prefix("172.16.0.1/16"),
                                     prefix("2001:db8:11::1/64")};
  apply();
  EXPECT_EQ(addresses(link("lan0")),
            (Strings{"172.16.0.1/16", "192.168.10.2/24", "192.168.10.99/24", "2001:db8:11::1/64"}))
      << "and removing the primary address leaves the others";
}

TEST_F(HostTest, MacAndMtuFollow) {
  apply();
  const Json before = link("lan0");
  wanted_.interfaces[0].mac = {0x52, 0x54, 0, 0, 0, 9};
  wanted_.interfaces[0].mtu_bytes = 9000;
  apply();
  const Json now = link("lan0");
  EXPECT_EQ(now.at("address"), "52:54:00:00:00:09");
  EXPECT_EQ(now.at("mtu"), 9000);
  EXPECT_EQ(now.at("ifindex"), before.at("ifindex"));
}

TEST_F(HostTest, Ipv6AddressesComeBackWithTheLink) {
  apply();
  wanted_.interfaces[0].enabled = false;
  apply();
  EXPECT_FALSE(has_flag(link("lan0"), "UP"));
  wanted_.interfaces[0].enabled = true;
  apply();
  EXPECT_TRUE(has_flag(link("lan0"), "UP"));
  EXPECT_EQ(addresses(link("lan0")), (Strings{"192.168.10.1/24", "2001:db8:10::1/64", "fe80::1/64"}));
}

TEST_F(HostTest, Ipv6AddressesComeBackWithTheMtu) {
  apply();
  const auto all = wanted_.interfaces[0].addresses;
  wanted_.interfaces[0].addresses.resize(1);
  wanted_.interfaces[0].mtu_bytes = 1000;
  apply();
  wanted_.interfaces[0].addresses = all;
  wanted_.interfaces[0].mtu_bytes = 1500;
  apply();
  EXPECT_EQ(addresses(link("lan0")), (Strings{"192.168.10.1/24", "2001:db8:10::1/64", "fe80::1/64"}));
}

TEST_F(HostTest, TheLinkFollows) {
  wanted_.interfaces[1].link_up = false;
  apply();
  EXPECT_TRUE(eventually([&] { return has_flag(link("wan0.7"), "NO-CARRIER"); }));
  EXPECT_TRUE(has_flag(link("lan0"), "LOWER_UP"));
  path_->set_link(kLan, false);
  path_->set_link(kWan, true);
  path_->set_link(kTunnel, false);
  EXPECT_TRUE(eventually([&] { return has_flag(link("lan0"), "NO-CARRIER"); }));
  EXPECT_TRUE(eventually([&] { return has_flag(link("wan0.7"), "LOWER_UP"); }));
  EXPECT_TRUE(eventually([&] { return has_flag(link("vti1"), "NO-CARRIER"); }));
  EXPECT_EQ(addresses(link("lan0")).size(), 3u);
  path_->set_link(InterfaceIndex{17}, true);  // none of ours: nothing happens
}

TEST_F(HostTest, ANameMayBecomeAnotherKindOfDevice) {
  apply();
  const size_t before = host_json("link").size();
  wanted_.interfaces[0].kind = InterfaceKind::kGre;
  wanted_.interfaces[3].kind = InterfaceKind::kPort;
  apply();
  EXPECT_TRUE(has_flag(link("lan0"), "POINTOPOINT"));
  EXPECT_FALSE(has_flag(link("vti1"), "POINTOPOINT"));
  EXPECT_EQ(addresses(link("lan0")).size(), 3u);
  EXPECT_EQ(host_json("link").size(), before);
}

TEST_F(HostTest, DevicesMoveToAnotherNamespace) {
  const std::string other = host_ + "b";
  apply();
  ASSERT_TRUE(run("ip netns add " + other));
  const size_t before = Json::parse(output_of("ip -j -n " + other + " link")).size();
  wanted_.network_namespace = other;
  apply();
  EXPECT_TRUE(link("lan0").is_null());
  EXPECT_EQ(Json::parse(output_of("ip -j -n " + other + " link")).size(), before + 4);
  wanted_.interfaces.clear();
  apply();
  EXPECT_EQ(Json::parse(output_of("ip -j -n " + other + " link")).size(), before);
  EXPECT_TRUE(run("ip netns del " + other));
}

TEST_F(HostTest, ANamespaceThatWasMadeAnewIsAnother) {
  apply();
  ASSERT_TRUE(run("ip netns del " + host_ + " && ip netns add " + host_));
  apply();
  EXPECT_EQ(addresses(link("lan0")).size(), 3u);
}

TEST_F(HostTest, ThousandsOfAddresses) {
  auto& all = wanted_.interfaces[2].addresses;
  for (uint32_t i = 0; i < 5000; ++i) all.push_back(IpPrefix::host(Ipv4Address::from_host(0x0a640000 + i)));
  apply();
  EXPECT_EQ(addresses(link("dum0")).size(), 5002u);
  all.resize(1);
  apply();
  EXPECT_EQ(addresses(link("dum0")).size(), 2u);
}

TEST_F(HostTest, ADeviceThatWasDeletedIsMadeAgain) {
  apply();
  ASSERT_TRUE(host_ip("link del lan0"));
  EXPECT_FALSE(path_->receive());
  pollfd waiting{.fd = path_->wait_fds()[0], .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&waiting, 1, 0), 0) << "nothing wakes us any more";
  path_->set_link(kLan, false);
  apply();
  EXPECT_EQ(addresses(link("lan0")).size(), 3u);
}

}  // namespace
}  // namespace espalier::dataplane
