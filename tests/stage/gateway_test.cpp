// Packets that wait for a next hop, and what `apply` may not change, in the whole gateway with its main
// lcore.
#include "tests/stage/gateway_fixture.hpp"

namespace espalier::test {
namespace {

const EspKey kOutKey{.spi = 0x2001, .key = Bytes(20, 0x21)}, kInKey{.spi = 0x3001, .key = Bytes(20, 0x31)};
constexpr size_t kErrorBytes = 28;

struct Settings {
  std::string nat = {};
  std::string policies = {};
  int icmp_rate = 0;
  int replay_window = 32;
};

std::string protect(std::string_view destination) {
  return fmt::format(R"({{ direction = "out"; src = "192.168.10.0/24"; dst = "{}"; action = "protect";
    template = {{ src = "203.0.113.1"; dst = "203.0.113.2"; mode = "tunnel"; reqid = 1; }}; }})",
                     destination);
}

const std::string kFwdPolicy =
    R"({ direction = "fwd"; src = "10.10.10.0/24"; dst = "192.168.10.0/24"; action = "protect";
    template = { src = "203.0.113.2"; dst = "203.0.113.1"; mode = "tunnel"; reqid = 1; }; })";

std::string config(const Settings& s) {
  return fmt::format(
      R"(interfaces = {{
  lan0 = {{ device = "net_testbed-lan0"; address = [ "192.168.10.1/24" ]; mtu = 1500; }};
  wan0 = {{ device = "net_testbed-wan0"; address = [ "203.0.113.1/24" ]; mtu = 1500; }};
}};
routes = ( {{ prefix = "0.0.0.0/0"; via = "203.0.113.254"; }} );
neighbors = ( {{ interface = "lan0"; address = "192.168.10.45"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "lan0"; address = "192.168.10.46"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "wan0"; address = "203.0.113.9"; mac = "02:00:00:00:ff:01"; }} );
nat = {{ {} }};
icmp = {{ rate = {}; }};
xfrm = {{ state = (
  {{ spi = 0x2001; src = "203.0.113.1"; dst = "203.0.113.2"; reqid = 1; mode = "tunnel"; direction = "out";
     encryption = "aes128gcm128"; key = "0x2121212121212121212121212121212121212121"; }},
  {{ spi = 0x3001; src = "203.0.113.2"; dst = "203.0.113.1"; reqid = 1; mode = "tunnel"; direction = "in";
     encryption = "aes128gcm128"; key = "0x3131313131313131313131313131313131313131"; replay-window = {}; }} );
  policy = ( {} ); }};
)",
      s.nat, s.icmp_rate, s.replay_window, s.policies);
}

constexpr std::string_view kPortForward =
    R"(destination = ( { rule = 10; inbound-interface = "wan0"; protocol = "udp";
         destination = { address = "203.0.113.1"; port = "8080"; };
         translation = { address = "192.168.10.99"; port = "80"; }; } );)";

class GatewayTest : public GatewayBed {
 protected:
  void apply(const Settings& settings) { apply_text(config(settings)); }
  void wait_in_vain() {
    for (int i = 0; i < 45; ++i) bed_->advance_time(std::chrono::milliseconds(100));
  }
  void answer_arp(std::string_view interface, std::string_view host) {
    const bool lan = interface == "lan0";
    const MacAddress& mac = lan ? kLanMac : kWanMac;
    const Ipv4Address own = parse_address(lan ? "192.168.10.1" : "203.0.113.1");
    bed_->inject(interface, 0,
                 ethernet(mac, kHostMac, arp(2, kHostMac, parse_address(host), mac, own), kEtherTypeArp));
    bed_->run_until_idle();
  }
  std::vector<Bytes> sent(std::string_view interface) { return taken(interface); }
};

// RFC 792: type 3 code 1 with the packet as its sender knows it, but for the TTL.
void expect_unreachable(const Bytes& error, std::string_view from, std::string_view to, const Bytes& quote) {
  ASSERT_GE(error.size(), kErrorBytes);
  EXPECT_EQ(error, icmp(3, 1, 0, from, to, quote).tos(0xc0).id(get16(error, 4)).bytes());
}

TEST_F(GatewayTest, AnUnansweredNextHopIsToldToTheSender) {
  apply({});
  inject("lan0", udp("192.168.10.45:4000", "203.0.113.50:5000").bytes());
  EXPECT_EQ(sent("lan0").size(), 0u);
  wait_in_vain();
  const auto errors = sent("lan0");
  ASSERT_EQ(errors.size(), 1u);
  expect_unreachable(errors[0], "192.168.10.1", "192.168.10.45",
                     udp("192.168.10.45:4000", "203.0.113.50:5000").ttl(63).bytes());
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 1u);
}

TEST_F(GatewayTest, AfterSourceNatTheErrorShowsTheInside) {
  apply({.nat = std::string(kMasquerade)});
  // The second one's port and identifier are translated as well.
  inject("lan0", udp("192.168.10.45:4000", "203.0.113.50:5000").bytes());
  inject("lan0", udp("192.168.10.46:4000", "203.0.113.50:5000").bytes());
  inject("lan0", echo_request("192.168.10.45", "203.0.113.50").bytes());
  inject("lan0", echo_request("192.168.10.46", "203.0.113.50").bytes());
  wait_in_vain();
  const auto errors = sent("lan0");
  ASSERT_EQ(errors.size(), 4u);
  const Bytes quotes[] = {udp("192.168.10.45:4000", "203.0.113.50:5000").ttl(63).bytes(),
                          udp("192.168.10.46:4000", "203.0.113.50:5000").ttl(63).bytes(),
                          echo_request("192.168.10.45", "203.0.113.50").ttl(63).bytes(),
                          echo_request("192.168.10.46", "203.0.113.50").ttl(63).bytes()};
  for (size_t i = 0; i < 4; ++i)
    expect_unreachable(errors[i], "203.0.113.1", i % 2 ? "192.168.10.46" : "192.168.10.45", quotes[i]);
}

TEST_F(GatewayTest, AfterDestinationNatTheErrorShowsTheOutside) {
  apply({.nat = std::string(kPortForward)});
  inject("wan0", udp("203.0.113.9:4000", "203.0.113.1:8080").bytes());
  wait_in_vain();
  const auto errors = sent("wan0");
  ASSERT_EQ(errors.size(), 1u);
  expect_unreachable(errors[0], "203.0.113.1", "203.0.113.9",
                     udp("203.0.113.9:4000", "203.0.113.1:8080").ttl(63).bytes());
}

TEST_F(GatewayTest, OfFragmentsTheFirstIsAnswered) {
  apply({.nat = std::string(kMasquerade)});
  const Bytes whole = udp("192.168.10.45:4000", "203.0.113.50:5000").payload(1000).bytes();
  for (const size_t from : {size_t{0}, size_t{512}}) {
    const size_t end = std::min(whole.size() - kIpBytes, from + 512);
    Bytes fragment =
        ip(kProtoUdp, "192.168.10.45", "203.0.113.50", ByteView(whole).subspan(kIpBytes + from, end - from))
            .bytes();
    put16(fragment, 6, static_cast<uint16_t>(from / 8 | (from == 0 ? 0x2000 : 0)));
    put16(fragment, 10, 0);
    put16(fragment, 10, internet_checksum(ByteView(fragment).first(kIpBytes)));
    inject("lan0", fragment);
  }
  wait_in_vain();
  const auto errors = sent("lan0");
  ASSERT_EQ(errors.size(), 1u);
  const ByteView quote = ByteView(errors[0]).subspan(kErrorBytes);
  EXPECT_EQ(get16(quote, 6), 0x2000);
  EXPECT_EQ(internet_checksum(quote.first(kIpBytes)), 0);
  EXPECT_TRUE(std::equal(quote.begin() + kIpBytes, quote.end(), whole.begin() + kIpBytes));
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 2u);
}

TEST_F(GatewayTest, NobodyIsToldAboutEspOrAnErrorOrInClearAboutADecryptedPacket) {
  apply({.policies = protect("10.10.10.0/24") + ", " + kFwdPolicy});
  inject("lan0", udp("192.168.10.45:4000", "10.10.10.55:5000").bytes());  // leaves as ESP
  inject("lan0",
         icmp(3, 3, 0, "192.168.10.45", "203.0.113.50", udp("203.0.113.50:1", "192.168.10.45:2").bytes())
             .bytes());
  inject("wan0", esp_tunnel(kInKey, 1, "203.0.113.2", "203.0.113.1",
                            udp("10.10.10.55:5000", "192.168.10.99:4000").bytes())
                     .bytes());
  wait_in_vain();
  EXPECT_EQ(sent("lan0").size(), 0u);
  EXPECT_EQ(sent("wan0").size(), 0u);
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 3u);
  EXPECT_EQ(drops(DropReason::kIcmpErrorClear), 1u);
}

TEST_F(GatewayTest, UnreachablesAreLimited) {
  apply({.icmp_rate = 1});
  for (int i = 0; i < 5; ++i) inject("lan0", udp("192.168.10.45:4000", "203.0.113.50:5000").bytes());
  wait_in_vain();
  EXPECT_EQ(sent("lan0").size(), 1u);
  EXPECT_EQ(drops(DropReason::kIcmpRateLimited), 4u);
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 5u);
}

TEST_F(GatewayTest, WhatWaitsDoesNotLeaveInClearAfterAPolicyProtectsIt) {
  apply({});
  inject("lan0", udp("192.168.10.45:4000", "198.51.100.9:5000").bytes());
  apply({.policies = protect("198.51.100.0/24")});
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 1u) << "before the apply reports success";
  answer_arp("wan0", "203.0.113.254");
  EXPECT_EQ(sent("wan0").size(), 0u);
  EXPECT_EQ(sent("lan0").size(), 0u) << "nobody is told: the next packet may pass";
}

TEST_F(GatewayTest, WhatWasOnItsWayToTheQueueDoesNotLeaveEither) {
  apply({});
  bed_->inject("lan0", 0,
               ethernet(kLanMac, kHostMac, udp("192.168.10.45:4000", "198.51.100.9:5000").bytes()));
  bed_->run_workers();
  apply({.policies = protect("198.51.100.0/24")});
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 1u);
  answer_arp("wan0", "203.0.113.254");
  EXPECT_EQ(sent("wan0").size(), 0u);
}

TEST_F(GatewayTest, WhatAChangeDoesNotTouchGoesOnWaiting) {
  apply({});
  inject("lan0", udp("192.168.10.45:4000", "198.51.100.9:5000").bytes());
  apply({.policies = protect("10.10.10.0/24")});
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 0u);
  answer_arp("wan0", "203.0.113.254");
  EXPECT_EQ(sent("wan0").size(), 1u);
}

// A remote flood to an unused address of a connected network must not take ARP down for all others.
TEST_F(GatewayTest, PacketsThatWaitForANextHopDoNotDisplaceArp) {
  apply({});
  inject("lan0", udp("192.168.10.45:4000", "203.0.113.60:5000").bytes());
  const Bytes flood = udp("192.168.10.45:4000", "203.0.113.50:5000").bytes();
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 32; ++i) bed_->inject("lan0", 0, ethernet(kLanMac, kHostMac, flood));
    bed_->run_workers();
  }
  EXPECT_GT(drops(DropReason::kPuntFull), 0u) << "or nothing is displaced here";
  answer_arp("wan0", "203.0.113.60");
  EXPECT_EQ(sent("wan0").size(), 1u);
}

TEST_F(GatewayTest, WorkersDropByThemselvesWhatANextHopCannotTake) {
  apply({});
  const Bytes packet = udp("192.168.10.45:4000", "203.0.113.50:5000").bytes();
  const auto inject_without_main = [&] {
    bed_->inject("lan0", 0, ethernet(kLanMac, kHostMac, packet));
    bed_->run_workers();
  };
  for (int i = 0; i < 8; ++i) inject("lan0", packet);
  inject_without_main();
  EXPECT_EQ(drops(DropReason::kNeighborQueueFull), 1u);

  for (int i = 0; i < 31; ++i) bed_->advance_time(std::chrono::milliseconds(100));
  EXPECT_EQ(sent("lan0").size(), 8u) << "those that waited are told";
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 8u);
  inject_without_main();
  const auto errors = sent("lan0");
  ASSERT_EQ(errors.size(), 1u) << "and so is who comes while the failure is fresh";
  expect_unreachable(errors[0], "192.168.10.1", "192.168.10.45",
                     udp("192.168.10.45:4000", "203.0.113.50:5000").ttl(63).bytes());
  EXPECT_EQ(drops(DropReason::kNeighborUnresolved), 9u);

  for (int i = 0; i < 11; ++i) bed_->advance_time(std::chrono::milliseconds(100));
  inject("lan0", packet);
  answer_arp("wan0", "203.0.113.50");
  EXPECT_EQ(sent("wan0").size(), 1u) << "it is asked again later";
}

// The queue has room again when an apply took packets out of it.
TEST_F(GatewayTest, ANextHopTakesPacketsAgainAfterAnApply) {
  apply({});
  for (int i = 0; i < 8; ++i) inject("lan0", udp("192.168.10.45:4000", "198.51.100.9:5000").bytes());
  apply({.policies = protect("198.51.100.0/24")});
  inject("lan0", udp("192.168.10.45:4000", "192.0.2.9:5000").bytes());
  EXPECT_EQ(drops(DropReason::kNeighborQueueFull), 0u);
  answer_arp("wan0", "203.0.113.254");
  EXPECT_EQ(sent("wan0").size(), 1u);
}

// A device's ring keeps what was sent until it is needed for something else.
TEST_F(GatewayTest, WhatWasDecryptedFromFragmentsDoesNotKeepTheReassemblersBuffers) {
  apply({.policies = protect("10.10.10.0/24") + ", " + kFwdPolicy});
  constexpr uint32_t kDatagrams = 300;  // more than the buffers of a worker
  const Bytes inner = udp("10.10.10.55:5000", "192.168.10.45:4000").payload(1400).bytes();
  for (uint32_t i = 1; i <= kDatagrams; ++i) {
    const Bytes esp =
        esp_tunnel(kInKey, i, "203.0.113.2", "203.0.113.1", inner).id(static_cast<uint16_t>(i)).bytes();
    for (const Bytes& fragment : fragments(esp, 1000)) inject("wan0", fragment);
  }
  EXPECT_EQ(drops(DropReason::kNoMbuf), 0u);
  const auto packets = sent("lan0");
  ASSERT_EQ(packets.size(), kDatagrams);
  EXPECT_EQ(packets.back(), udp("10.10.10.55:5000", "192.168.10.45:4000").payload(1400).ttl(63).bytes());
}

// Workers that slept have all their old sessions before them when packets come again.
TEST_F(GatewayTest, AfterAPauseAllSessionsPastTheirTimeAreOver) {
  constexpr uint16_t kPorts = 128, kServers = 8;
  apply({.nat = R"(source = ( { rule = 10; outbound-interface = "wan0"; protocol = "udp";
           translation = { address = "masquerade"; port = "5000-5127"; }; } );)"});
  const auto use_all_ports = [&](uint16_t first_port) {
    size_t left = 0;
    for (uint16_t server = 0; server < kServers; ++server) {
      for (uint16_t i = 0; i < kPorts; ++i) {
        const Bytes packet =
            udp(fmt::format("192.168.10.45:{}", first_port + i), fmt::format("203.0.113.9:{}", 100 + server))
                .bytes();
        bed_->inject("lan0", 0, ethernet(kLanMac, kHostMac, packet));
        if (i % 32 == 31) bed_->run_workers();
      }
      left += sent("wan0").size();
    }
    return left;
  };
  EXPECT_EQ(use_all_ports(10000), kPorts * kServers);
  inject("lan0", udp("192.168.10.45:9000", "203.0.113.9:100").bytes());
  EXPECT_EQ(drops(DropReason::kNatPortsExhausted), 1u) << "or nothing is reused here";
  bed_->advance_time(std::chrono::seconds(31));
  EXPECT_EQ(use_all_ports(20000), kPorts * kServers);
  EXPECT_EQ(drops(DropReason::kNatPortsExhausted), 1u);
}

TEST_F(GatewayTest, AReplayWindowChangesByRemovingTheState) {
  apply({});
  const auto refused = bed_->apply(config({.replay_window = 64}));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("replay window of 32 cannot become 64"), std::string::npos)
      << refused.error().text;
  EXPECT_LT(refused.error().text.size(), 240u) << "longer ones are cut on their way to the operator";
  std::string without = config({});
  const size_t xfrm = without.find("xfrm = ");
  ASSERT_NE(xfrm, std::string::npos);
  without.resize(xfrm);
  ASSERT_TRUE(bed_->apply(without));
  apply({.replay_window = 64});
}

}  // namespace
}  // namespace espalier::test
