// What is decided for a first packet in the whole gateway, and whether cached flows keep to it when an apply
// changes their SA.
#include "tests/stage/gateway_fixture.hpp"

namespace espalier::test {
namespace {

constexpr size_t kSourceAt = 12;

// Two networks on each side; the hosts and routers that are named have static neighbour entries.
std::string config(std::string_view out_state, std::string_view nat) {
  return fmt::format(R"(interfaces = {{
  lan0 = {{ device = "net_testbed-lan0"; address = [ "192.168.10.1/24", "172.16.0.1/24" ]; }};
  wan0 = {{ device = "net_testbed-wan0"; address = [ "203.0.113.1/24", "198.51.100.1/24" ]; }};
}};
routes = ( {{ prefix = "0.0.0.0/0"; via = "203.0.113.254"; }},
  {{ prefix = "192.0.2.0/24"; via = "198.51.100.254"; }},
  {{ prefix = "10.77.0.0/16"; via = "172.16.0.254"; }} );
neighbors = ( {{ interface = "lan0"; address = "192.168.10.45"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "lan0"; address = "172.16.0.45"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "lan0"; address = "172.16.0.254"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "wan0"; address = "203.0.113.2"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "wan0"; address = "198.51.100.254"; mac = "02:00:00:00:ff:01"; }},
  {{ interface = "wan0"; address = "203.0.113.254"; mac = "02:00:00:00:ff:01"; }} );
nat = {{ {} }};
xfrm = {{ state = (
  {{ src = "203.0.113.1"; dst = "203.0.113.2"; reqid = 1; mode = "tunnel"; direction = "out";
     encryption = "aes128gcm128"; {} }} );
  policy = ( {{ direction = "out"; src = "192.168.10.0/24"; dst = "10.10.10.0/24"; action = "protect";
    template = {{ src = "203.0.113.1"; dst = "203.0.113.2"; mode = "tunnel"; reqid = 1; }}; }} ); }};
)",
                     nat, out_state);
}

constexpr std::string_view kAnySa = R"(spi = 0x2001; key = "0x2121212121212121212121212121212121212121";)";
constexpr std::string_view kTcpSa = R"(spi = 0x2002; key = "0x2222222222222222222222222222222222222222";
     selector = { src = "0.0.0.0/0"; dst = "0.0.0.0/0"; protocol = "tcp"; };)";

class DecisionTest : public GatewayBed {
 protected:
  void SetUp() override {
    GatewayBed::SetUp();
    apply(kAnySa);
  }
  void apply(std::string_view out_state, std::string_view nat = {}) { apply_text(config(out_state, nat)); }
  // The IP packets that leave by `out` when lan0 gets `packet`.
  std::vector<Bytes> sent(std::string_view out, const Bytes& packet) {
    inject("lan0", packet);
    return taken(out);
  }
  // The source address of the one packet that leaves by `out`.
  Ipv4Address source_of_sent(std::string_view out, const Bytes& packet) {
    const auto packets = sent(out, packet);
    if (packets.size() != 1) return {};
    return Ipv4Address::from_host(static_cast<uint32_t>(get16(packets[0], kSourceAt)) << 16 |
                                  get16(packets[0], kSourceAt + 2));
  }
};

TEST_F(DecisionTest, ACachedFlowIsNotGivenToAnSaThatDoesNotCoverIt) {
  const Bytes datagram = udp("192.168.10.45:4000", "10.10.10.55:5000").bytes();
  EXPECT_EQ(sent("wan0", datagram).size(), 1u);
  EXPECT_EQ(sent("wan0", datagram).size(), 1u);
  EXPECT_EQ(bed_->flow_counts().hits, 1u) << "or nothing is tried here";
  apply(kTcpSa);
  EXPECT_EQ(sent("wan0", datagram).size(), 0u);
  EXPECT_EQ(drops(DropReason::kOutNoState), 1u);
  apply(kAnySa);
  EXPECT_EQ(sent("wan0", datagram).size(), 1u);
}

// Linux takes inet_select_addr(): the address in the next hop's network.
TEST_F(DecisionTest, MasqueradeTakesTheAddressTowardsTheNextHop) {
  apply(kAnySa, kMasquerade);
  const auto address = [&](std::string_view to) {
    return source_of_sent("wan0", udp("192.168.10.45:4000", fmt::format("{}:5000", to)).bytes());
  };
  EXPECT_EQ(address("192.0.2.9"), parse_address("198.51.100.1")) << "by a router";
  EXPECT_EQ(address("198.51.100.254"), parse_address("198.51.100.1")) << "a neighbour";
  EXPECT_EQ(address("8.8.8.8"), parse_address("203.0.113.1"));
}

TEST_F(DecisionTest, AnIcmpErrorComesFromTheAddressTowardsItsReceiver) {
  const auto address = [&](std::string_view from) {
    return source_of_sent("lan0", udp(fmt::format("{}:4000", from), "192.0.2.9:5000").ttl(1).bytes());
  };
  EXPECT_EQ(address("172.16.0.45"), parse_address("172.16.0.1"));
  EXPECT_EQ(address("10.77.1.1"), parse_address("172.16.0.1")) << "by a router";
  EXPECT_EQ(address("192.168.10.45"), parse_address("192.168.10.1"));
}

}  // namespace
}  // namespace espalier::test
