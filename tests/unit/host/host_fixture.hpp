// A host path whose devices are in a named network namespace of the test's own, and what the host sees there,
// asked of iproute2. The program itself is in a namespace of its own too. Include once, in the file with the
// tests.
#pragma once

#include <arpa/inet.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "dataplane/host/host_path.hpp"
#include "tests/unit/dataplane/network_namespace.hpp"

namespace espalier::dataplane {

using Json = nlohmann::json;
using Strings = std::vector<std::string>;

inline IpAddress ip(const std::string& text) {
  Ipv4Address v4;
  IpAddress v6;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return v4;
  EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), &v6), 1) << text;
  return v6;
}

inline IpPrefix prefix(const std::string& text) {
  const size_t slash = text.find('/');
  const IpAddress address = ip(text.substr(0, slash));
  if (slash == std::string::npos) return IpPrefix::host(address);
  return IpPrefix::of(address, static_cast<uint8_t>(std::stoi(text.substr(slash + 1))));
}

inline std::string output_of(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> room;
  while (const size_t count = fread(room.data(), 1, room.size(), pipe)) output.append(room.data(), count);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return output;
}

class OwnNamespace : public testing::Environment {
 public:
  void SetUp() override { ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "this test needs root"; }
};
inline const auto* const kOwnNamespace = testing::AddGlobalTestEnvironment(new OwnNamespace);

inline constexpr InterfaceIndex kLan{0}, kWan{1}, kDummy{2}, kTunnel{3};
inline constexpr MacAddress kLanMac{0x52, 0x54, 0, 0, 0, 1}, kWanMac{0x52, 0x54, 0, 0, 0, 2};

class HostTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(run("ip netns add " + host_ + " && ip -n " + host_ + " link set lo up"));
    auto created = HostPath::create();
    ASSERT_TRUE(created) << created.error().text;
    path_ = std::move(*created);
    wanted_ = {.network_namespace = host_, .interfaces = interfaces(), .routes = {}, .import = {}};
  }
  void TearDown() override {
    path_.reset();
    EXPECT_TRUE(run("ip netns del " + host_));
  }

  static HostInterface interface(InterfaceIndex index, InterfaceKind kind, const char* name, MacAddress mac,
                                 const Strings& addresses) {
    HostInterface made{.index = index, .kind = kind, .name = name, .mac = mac, .addresses = {}};
    for (const std::string& a : addresses) made.addresses.push_back(prefix(a));
    return made;
  }
  static std::vector<HostInterface> interfaces() {
    std::vector<HostInterface> all{
        interface(kLan, InterfaceKind::kPort, "lan0", kLanMac,
                  {"192.168.10.1/24", "2001:db8:10::1/64", "fe80::1/64"}),
        interface(kWan, InterfaceKind::kVlan, "wan0.7", kWanMac, {"203.0.113.1/24", "fe80::2/64"}),
        interface(kDummy, InterfaceKind::kDummy, "dum0", {}, {"10.255.0.1/32"}),
        interface(kTunnel, InterfaceKind::kVti, "vti1", {}, {"10.9.0.1/30", "fe80::4/64"})};
    all[3].mtu_bytes = 1400;
    return all;
  }

  void apply() {
    auto plan = path_->plan(wanted_);
    ASSERT_TRUE(plan) << plan.error().text;
    path_->carry_out(std::move(*plan));
  }

  // --- The host ---

  // Runs `ip WORDS` in the host's namespace.
  bool host_ip(const std::string& words) const { return run("ip -n " + host_ + " " + words); }
  Json host_json(const std::string& words) const {
    const std::string text = output_of("ip -j -d -n " + host_ + " " + words);
    return text.empty() ? Json::array() : Json::parse(text);
  }
  // As `ip address` has it; null when there is no such link.
  Json link(const std::string& name) const {
    for (const Json& link : host_json("address show"))
      if (link.at("ifname") == name) return link;
    return {};
  }
  // Sorted.
  static Strings addresses(const Json& link) {
    Strings found;
    for (const Json& a : link.at("addr_info"))
      found.push_back(fmt::format("{}/{}", a.at("local").get<std::string>(), a.at("prefixlen").get<int>()));
    std::ranges::sort(found);
    return found;
  }
  static bool has_flag(const Json& link, const char* flag) {
    return std::ranges::find(link.at("flags"), flag) != link.at("flags").end();
  }
  std::string setting(const std::string& path) const {
    return output_of("ip netns exec " + host_ + " cat /proc/sys/net/" + path);
  }
  // A socket of a program in the namespace; the host's.
  static Fd socket_in(const std::string& space, int family, int type, int protocol = 0) {
    Fd fd;
    EXPECT_TRUE(HostNamespace::open(space)->run([&]() -> Result<void> {
      fd.reset(socket(family, type | SOCK_CLOEXEC, protocol));
      return {};
    }));
    EXPECT_TRUE(fd) << errno_text();
    const timeval patience{.tv_sec = 10, .tv_usec = 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
  }
  Fd host_socket(int family, int type, int protocol = 0) const {
    return socket_in(host_, family, type, protocol);
  }

  // Waits up to two seconds.
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 200; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  const std::string host_ = "espt-host" + std::to_string(getpid());
  std::unique_ptr<HostPath> path_;
  HostSetup wanted_;
};

}  // namespace espalier::dataplane
