// What the host's programs send comes out of receive(), what send() takes reaches them.
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

#include <atomic>

#include "tests/unit/host/host_fixture.hpp"

namespace espalier::dataplane {
namespace {

using namespace std::string_literals;
using Bytes = std::vector<uint8_t>;

// A socket address of either family.
struct Endpoint {
  sockaddr_storage storage{};
  socklen_t length;
  Endpoint(const std::string& address, uint16_t port, unsigned scope = 0) {
    const IpAddress a = ip(address);
    if (a.is_v4()) {
      auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
      v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {a.v4().be.raw()}, .sin_zero = {}};
      length = sizeof v4;
    } else {
      auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(port);
      v6.sin6_scope_id = scope;
      std::memcpy(&v6.sin6_addr, &a, sizeof a);
      length = sizeof v6;
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

class HostPacketsTest : public HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    apply();
    ASSERT_TRUE(
        eventually([&] { return takes_packets_for("2001:db8:10::1") && takes_packets_for("fe80::4"); }));
  }

  // The kernel makes an IPv6 address its own in a work queue, some time after it has the address.
  bool takes_packets_for(const std::string& address) const {
    return std::ranges::any_of(host_json("-6 route show table local"), [&](const Json& route) {
      return route.at("type") == "local" && route.at("dst") == address;
    });
  }
  Fd udp(int family) const { return host_socket(family, SOCK_DGRAM); }
  unsigned index(const char* name) const { return link(name).at("ifindex").get<unsigned>(); }
  static void send_from_host(const Fd& socket, const Endpoint& to, const std::string& text) {
    EXPECT_EQ(sendto(socket.get(), text.data(), text.size(), 0, to.get(), to.length),
              static_cast<ssize_t>(text.size()))
        << errno_text();
  }
  static std::string receive_at_host(const Fd& socket) {
    pollfd event{.fd = socket.get(), .events = POLLIN, .revents = 0};
    std::array<char, 2048> room;
    if (poll(&event, 1, 1000) != 1) return "nothing";
    return {room.data(),
            static_cast<size_t>(std::max<ssize_t>(0, recv(socket.get(), room.data(), room.size(), 0)))};
  }

  struct Sent {
    InterfaceIndex interface;
    bool for_link = false;
    std::string text;  // of the UDP packet
    friend bool operator==(const Sent&, const Sent&) = default;
    friend void PrintTo(const Sent& s, std::ostream* out) {
      *out << s.interface.value << (s.for_link ? " for the link: " : ": ") << s.text;
    }
  };
  // The UDP packets that the host sends; what the kernel says to its multicast groups aside.
  std::optional<Sent> next_sent() {
    std::optional<Sent> sent;
    eventually([&] {
      while (auto packet = path_->receive()) {
        const bool v4 = packet->bytes[0] >> 4 == 4;
        const size_t header = v4 ? sizeof(iphdr) : sizeof(ip6_hdr);
        if (packet->bytes[v4 ? 9 : 6] != IPPROTO_UDP) continue;
        const auto text = packet->bytes.subspan(header + sizeof(udphdr));
        sent = Sent{packet->interface, packet->for_link, std::string(text.begin(), text.end())};
        return true;
      }
      return false;
    });
    return sent;
  }

  // A UDP packet for the host; the IPv4 header has its checksum, the UDP header has it too.
  static Bytes udp_packet(const std::string& from, const std::string& to, uint16_t port,
                          const std::string& text);
  DropReason give(InterfaceIndex interface, Bytes packet) {
    const iovec part{.iov_base = packet.data(), .iov_len = packet.size()};
    return path_->send(interface, {&part, 1});
  }
  void bind_at_host(const Fd& socket, const std::string& address, uint16_t port) const {
    const Endpoint own(address, port);
    ASSERT_EQ(bind(socket.get(), own.get(), own.length), 0) << errno_text();
  }
};

uint16_t sum_of(const Bytes& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += i % 2 ? bytes[i] : bytes[i] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

void put16(Bytes& bytes, size_t at, uint16_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}

// RFC 768, RFC 8200 section 8.1.
Bytes HostPacketsTest::udp_packet(const std::string& from, const std::string& to, uint16_t port,
                                  const std::string& text) {
  const IpAddress source = ip(from), destination = ip(to);
  const bool v4 = source.is_v4();
  const size_t address = v4 ? 4 : 16;
  const auto length = static_cast<uint16_t>(sizeof(udphdr) + text.size());
  const auto append = [&](Bytes& bytes, const IpAddress& a) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&a) + 16 - address;
    bytes.insert(bytes.end(), raw, raw + address);
  };
  Bytes udp(sizeof(udphdr));
  put16(udp, 0, 4000);
  put16(udp, 2, port);
  put16(udp, 4, length);
  udp.insert(udp.end(), text.begin(), text.end());
  Bytes pseudo;
  append(pseudo, source);
  append(pseudo, destination);
  pseudo.insert(pseudo.end(), {0, IPPROTO_UDP, 0, 0});
  put16(pseudo, pseudo.size() - 2, length);
  pseudo.insert(pseudo.end(), udp.begin(), udp.end());
  put16(udp, 6, sum_of(pseudo));

  Bytes packet = v4 ? Bytes{0x45, 0, 0, 0, 0, 0, 0, 0, 64, IPPROTO_UDP, 0, 0}
                    : Bytes{0x60, 0, 0, 0, 0, 0, IPPROTO_UDP, 64};
  append(packet, source);
  append(packet, destination);
  put16(packet, v4 ? 2 : 4, static_cast<uint16_t>(length + (v4 ? packet.size() : 0)));
  if (v4) put16(packet, 10, sum_of(packet));
  packet.insert(packet.end(), udp.begin(), udp.end());
  return packet;
}

// --- From the host ---

TEST_F(HostPacketsTest, TheFirstPacketToAnyNeighbourLeavesAtOnce) {
  const Fd v4 = udp(AF_INET), v6 = udp(AF_INET6);
  send_from_host(v4, {"192.168.10.77", 9}, "to the lan");
  EXPECT_EQ(next_sent(), (Sent{kLan, false, "to the lan"}));
  send_from_host(v6, {"2001:db8:10::77", 9}, "to the lan, six");
  EXPECT_EQ(next_sent(), (Sent{kLan, false, "to the lan, six"}));
  send_from_host(v4, {"10.9.0.2", 9}, "through the tunnel");
  EXPECT_EQ(next_sent(), (Sent{kTunnel, false, "through the tunnel"}));
  EXPECT_EQ(path_->counters().ignored, 0u) << "neither ARP nor neighbour discovery";
}

TEST_F(HostPacketsTest, WhatIsForTheLinkIsMarked) {
  const Fd v4 = udp(AF_INET), v6 = udp(AF_INET6);
  const int on = 1;
  setsockopt(v4.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
  const ip_mreqn wan{
      .imr_multiaddr = {}, .imr_address = {}, .imr_ifindex = static_cast<int>(index("wan0.7"))};
  setsockopt(v4.get(), IPPROTO_IP, IP_MULTICAST_IF, &wan, sizeof wan);
  send_from_host(v4, {"224.0.0.5", 9}, "to all OSPF routers");
  EXPECT_EQ(next_sent(), (Sent{kWan, true, "to all OSPF routers"}));
  send_from_host(v4, {"192.168.10.255", 9}, "to the lan's broadcast");
  EXPECT_EQ(next_sent(), (Sent{kLan, true, "to the lan's broadcast"}));
  send_from_host(v6, {"ff02::5", 9, index("wan0.7")}, "to all OSPFv3 routers");
  EXPECT_EQ(next_sent(), (Sent{kWan, true, "to all OSPFv3 routers"}));
  send_from_host(v6, {"fe80::99", 9, index("vti1")}, "to the tunnel's other end");
  EXPECT_EQ(next_sent(), (Sent{kTunnel, true, "to the tunnel's other end"}));
  ASSERT_EQ(setsockopt(v4.get(), SOL_SOCKET, SO_BINDTODEVICE, "wan0.7", 6), 0);
  send_from_host(v4, {"255.255.255.255", 9}, "like DHCP");
  EXPECT_EQ(next_sent(), (Sent{kWan, true, "like DHCP"}));
}

TEST_F(HostPacketsTest, NeighbourDiscoveryAndArpByHandAreIgnored) {
  const Fd raw = host_socket(AF_PACKET, SOCK_RAW);
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(index("lan0"));
  Bytes arp(42), solicitation(14 + 40 + 24), advertisement = solicitation, lldp(60);
  put16(arp, 12, ETH_P_ARP);
  put16(lldp, 12, ETH_P_LLDP);
  put16(solicitation, 12, ETH_P_IPV6);
  solicitation[14] = 0x60;
  solicitation[14 + 6] = IPPROTO_ICMPV6;
  advertisement = solicitation;
  solicitation[14 + 40] = ND_NEIGHBOR_SOLICIT;
  advertisement[14 + 40] = ND_NEIGHBOR_ADVERT;
  while (path_->receive()) continue;  // what the kernel says when a link comes up
  for (const Bytes& frame : {arp, solicitation, advertisement, lldp, Bytes(14), Bytes(20)})
    ASSERT_EQ(sendto(raw.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
              static_cast<ssize_t>(frame.size()));
  EXPECT_TRUE(eventually([&] {
    while (path_->receive()) ADD_FAILURE() << "something was let through";
    return path_->counters().ignored == 6;
  }));
}

TEST_F(HostPacketsTest, AQuietHostDoesNotWakeUs) {
  const Fd socket = udp(AF_INET);
  pollfd waiting{.fd = path_->wait_fds()[0], .events = POLLIN, .revents = 0};
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  while (path_->receive()) continue;
  send_from_host(socket, {"192.168.10.77", 9}, "wake up");
  EXPECT_EQ(poll(&waiting, 1, 1000), 1);
  EXPECT_EQ(next_sent(), (Sent{kLan, false, "wake up"}));
}

TEST_F(HostPacketsTest, DevicesTakeTurns) {
  const Fd socket = udp(AF_INET);
  for (int i = 0; i < 20; ++i) send_from_host(socket, {"192.168.10.77", 9}, "lan");
  send_from_host(socket, {"203.0.113.77", 9}, "wan");
  std::vector<uint16_t> order;
  for (int i = 0; i < 21; ++i) order.push_back(next_sent().value_or(Sent{kDummy, false, {}}).interface.value);
  const auto place = std::ranges::find(order, kWan.value) - order.begin();
  EXPECT_LE(place, 2) << "the other device does not wait for all of the first one's";
}

// --- To the host ---

TEST_F(HostPacketsTest, UnicastReachesTheSocket) {
  const Fd v4 = udp(AF_INET), v6 = udp(AF_INET6);
  bind_at_host(v4, "192.168.10.1", 500);
  bind_at_host(v6, "2001:db8:10::1", 500);
  EXPECT_EQ(give(kLan, udp_packet("192.168.10.77", "192.168.10.1", 500, "four")), DropReason::kUsedHost);
  EXPECT_EQ(receive_at_host(v4), "four");
  EXPECT_EQ(give(kLan, udp_packet("2001:db8:10::77", "2001:db8:10::1", 500, "six")), DropReason::kUsedHost);
  EXPECT_EQ(receive_at_host(v6), "six");
  EXPECT_EQ(path_->counters().to_host, 2u);
}

TEST_F(HostPacketsTest, ItMayComeByAnotherInterfaceFromAnywhere) {
  ASSERT_TRUE(run("ip netns exec " + host_ + " sysctl -q -w net.ipv4.conf.all.rp_filter=1"));
  ASSERT_TRUE(host_ip("route add 10.10.0.0/16 via 203.0.113.9 dev wan0.7"));
  const Fd socket = udp(AF_INET);
  bind_at_host(socket, "192.168.10.1", 500);
  EXPECT_EQ(give(kWan, udp_packet("192.168.10.77", "192.168.10.1", 500, "by the wan")),
            DropReason::kUsedHost);
  EXPECT_EQ(receive_at_host(socket), "by the wan");
  EXPECT_EQ(give(kTunnel, udp_packet("10.10.0.1", "192.168.10.1", 500, "by the tunnel")),
            DropReason::kUsedHost);
  EXPECT_EQ(receive_at_host(socket), "by the tunnel");
}

TEST_F(HostPacketsTest, MulticastReachesWhoHasJoined) {
  const Fd v4 = udp(AF_INET), v6 = udp(AF_INET6);
  bind_at_host(v4, "224.0.0.5", 500);
  bind_at_host(v6, "::", 501);
  const ip_mreqn group4{.imr_multiaddr = {ip("224.0.0.5").v4().be.raw()},
                        .imr_address = {},
                        .imr_ifindex = static_cast<int>(index("lan0"))};
  ASSERT_EQ(setsockopt(v4.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group4, sizeof group4), 0);
  ipv6_mreq group6{.ipv6mr_multiaddr = {}, .ipv6mr_interface = index("vti1")};
  const IpAddress all_routers = ip("ff02::5");
  std::memcpy(&group6.ipv6mr_multiaddr, &all_routers, sizeof all_routers);
  ASSERT_EQ(setsockopt(v6.get(), IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &group6, sizeof group6), 0);
  EXPECT_EQ(give(kLan, udp_packet("192.168.10.77", "224.0.0.5", 500, "hello")), DropReason::kUsedHost);
  EXPECT_EQ(receive_at_host(v4), "hello");
  EXPECT_EQ(give(kTunnel, udp_packet("fe80::99", "ff02::5", 501, "hello, six")), DropReason::kUsedHost);
  EXPECT_EQ(receive_at_host(v6), "hello, six");
}

// The kernel looks at the destination of a frame first: a wrong MAC address is another host's packet.
TEST_F(HostPacketsTest, FramesHaveTheRightDestination) {
  const Fd raw = host_socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  sockaddr_ll own{};
  own.sll_family = AF_PACKET;
  own.sll_protocol = htons(ETH_P_ALL);
  own.sll_ifindex = static_cast<int>(index("lan0"));
  ASSERT_EQ(bind(raw.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  const int on = 1;
  setsockopt(raw.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
  const auto destination = [&](const Bytes& packet) {
    EXPECT_EQ(give(kLan, packet), DropReason::kUsedHost);
    return receive_at_host(raw).substr(0, 6);
  };
  EXPECT_EQ(destination(udp_packet("192.168.10.77", "192.168.10.1", 9, "")),
            std::string("\x52\x54\0\0\0\1", 6));
  EXPECT_EQ(destination(udp_packet("192.168.10.77", "239.129.2.3", 9, "")), "\x01\x00\x5e\x01\x02\x03"s);
  EXPECT_EQ(destination(udp_packet("0.0.0.0", "255.255.255.255", 9, "")), "\xff\xff\xff\xff\xff\xff");
  EXPECT_EQ(destination(udp_packet("fe80::9", "ff02::1:2", 9, "")), "\x33\x33\x00\x01\x00\x02"s);
}

TEST_F(HostPacketsTest, APacketInPartsIsOnePacket) {
  const Fd socket = udp(AF_INET);
  bind_at_host(socket, "192.168.10.1", 500);
  Bytes packet = udp_packet("192.168.10.77", "192.168.10.1", 500, std::string(1000, 'x'));
  const iovec parts[] = {{.iov_base = packet.data(), .iov_len = 40},
                         {.iov_base = packet.data() + 40, .iov_len = 500},
                         {.iov_base = packet.data() + 540, .iov_len = packet.size() - 540}};
  EXPECT_EQ(path_->send(kLan, parts), DropReason::kUsedHost);
  EXPECT_EQ(receive_at_host(socket), std::string(1000, 'x'));
}

TEST_F(HostPacketsTest, WhatTheDeviceDoesNotTakeIsCounted) {
  const Bytes packet = udp_packet("192.168.10.77", "192.168.10.1", 500, "x");
  EXPECT_EQ(give(InterfaceIndex{9}, packet), DropReason::kLocalNoService);
  EXPECT_EQ(give(kLan, Bytes(packet.begin(), packet.begin() + 19)), DropReason::kHostFull) << "no header";
  wanted_.interfaces[0].enabled = false;
  apply();
  EXPECT_EQ(give(kLan, packet), DropReason::kHostFull);
  EXPECT_EQ(path_->counters().to_host, 0u);
}

// --- Both ---

// Answers the host's echo request as a neighbour would.
Bytes echo_reply(std::span<const uint8_t> request) {
  Bytes reply(request.begin(), request.end());
  const bool v4 = reply[0] >> 4 == 4;
  const size_t addresses = v4 ? 12 : 8, length = v4 ? 4 : 16, header = v4 ? 20 : 40;
  std::swap_ranges(reply.begin() + addresses, reply.begin() + addresses + length,
                   reply.begin() + addresses + length);
  const uint16_t before = static_cast<uint16_t>(reply[header] << 8);
  reply[header] = v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
  const uint16_t after = static_cast<uint16_t>(reply[header] << 8);
  uint32_t sum = static_cast<uint16_t>(~(reply[header + 2] << 8 | reply[header + 3]));  // RFC 1624
  sum += static_cast<uint16_t>(~before) + after;
  sum = (sum & 0xffff) + (sum >> 16);
  put16(reply, header + 2, static_cast<uint16_t>(~((sum & 0xffff) + (sum >> 16))));
  return reply;
}

TEST_F(HostPacketsTest, TheHostPings) {
  for (const std::string target : {"192.168.10.77", "2001:db8:10::77", "fe80::77%lan0", "10.9.0.2"}) {
    std::atomic<int> status{-1};
    std::thread ping([&] {
      status = std::system(
          ("ip netns exec " + host_ + " ping -q -c 3 -i 0.01 -W 1 -s 1400 " + target + " >/dev/null")
              .c_str());
    });
    eventually([&] {
      while (const auto packet = path_->receive()) {
        const uint8_t protocol = packet->bytes[packet->bytes[0] >> 4 == 4 ? 9 : 6];
        if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
          give(packet->interface, echo_reply(packet->bytes));
      }
      return status != -1;
    });
    ping.join();
    EXPECT_EQ(status, 0) << target;
  }
}

// Two hosts, their devices back to back: what one sends, the other gets.
class TwoHostsTest : public HostPacketsTest {
 protected:
  void SetUp() override {
    HostPacketsTest::SetUp();
    ASSERT_TRUE(run("ip netns add " + far_name_));
    far_ = std::move(*HostPath::create());
    HostSetup wanted = wanted_;
    wanted.network_namespace = far_name_;
    wanted.interfaces[0].addresses = {prefix("192.168.10.2/24"), prefix("2001:db8:10::2/64")};
    wanted.interfaces[3].addresses = {prefix("10.9.0.2/30")};
    auto plan = far_->plan(wanted);
    ASSERT_TRUE(plan) << plan.error().text;
    far_->carry_out(std::move(*plan));
  }
  void TearDown() override {
    far_.reset();
    EXPECT_TRUE(run("ip netns del " + far_name_));
    HostPacketsTest::TearDown();
  }
  void carry(HostPath& from, HostPath& to) {
    while (const auto packet = from.receive()) {
      largest_ = std::max(largest_, packet->bytes.size());
      const iovec part{.iov_base = const_cast<uint8_t*>(packet->bytes.data()),
                       .iov_len = packet->bytes.size()};
      to.send(packet->interface, {&part, 1});
    }
  }
  // Waits at most 20 ms for something.
  void carry_some() {
    std::array<pollfd, 2> fds{{{.fd = path_->wait_fds()[0], .events = POLLIN, .revents = 0},
                               {.fd = far_->wait_fds()[0], .events = POLLIN, .revents = 0}}};
    poll(fds.data(), fds.size(), 20);
    carry(*path_, *far_);
    carry(*far_, *path_);
  }
  const std::string far_name_ = host_ + "far";
  std::unique_ptr<HostPath> far_;
  size_t largest_ = 0;  // of the packets carried
};

// Sends everything and says that this was all.
void send_all(const Fd& socket, const std::string& text) {
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t count = ::send(socket.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    ASSERT_GT(count, 0) << errno_text();
    sent += static_cast<size_t>(count);
  }
  shutdown(socket.get(), SHUT_WR);
}

std::string receive_all(const Fd& socket) {
  std::string all;
  std::array<char, 65536> room;
  for (ssize_t count; (count = recv(socket.get(), room.data(), room.size(), 0)) > 0;)
    all.append(room.data(), static_cast<size_t>(count));
  return all;
}

// Segments and checksums are finished when we get them.
TEST_F(TwoHostsTest, TcpCarriesMegabytes) {
  std::string text(4 << 20, 0);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 2654435761u >> 13);
  for (const std::string address : {"192.168.10.2", "2001:db8:10::2", "10.9.0.2"}) {
    const Endpoint server(address, 5999);
    const int family = server.get()->sa_family;
    const Fd listener = socket_in(far_name_, family, SOCK_STREAM), client = host_socket(family, SOCK_STREAM);
    ASSERT_EQ(bind(listener.get(), server.get(), server.length), 0) << errno_text();
    ASSERT_EQ(listen(listener.get(), 1), 0);
    std::string received;
    std::atomic<bool> done = false;
    std::thread receiver([&] {
      received = receive_all(Fd(accept(listener.get(), nullptr, nullptr)));
      done = true;
    });
    std::thread sender([&] {
      EXPECT_EQ(connect(client.get(), server.get(), server.length), 0) << errno_text();
      send_all(client, text);
    });
    while (!done) carry_some();
    sender.join();
    receiver.join();
    EXPECT_TRUE(received == text) << address << ": " << received.size() << " bytes";
  }
  EXPECT_EQ(largest_, 1500u) << "no more than the MTU";
}

}  // namespace
}  // namespace espalier::dataplane
