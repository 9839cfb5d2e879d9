// Every ESP suite in every shape through the whole gateway, both ways: what it sends is what OpenSSL opens,
// what OpenSSL seals arrives. And the exact size that still fits, by the arithmetic of the RFCs and not the
// gateway's.
#include "tests/stage/tunnel_fixture.hpp"

namespace espalier::test {
namespace {

constexpr Outer kOuters[] = {
    {Layer::kIpv4, false}, {Layer::kIpv4, true}, {Layer::kIpv6, false}, {Layer::kIpv6, true}};

std::string describe(const Suite& suite, const Outer& outer) {
  return fmt::format("{} {} {}, IPv{}{}", suite.encryption, suite.hash ? suite.hash : "", suite.truncation,
                     outer.layer == Layer::kIpv4 ? 4 : 6, outer.encapsulated ? " and UDP" : "");
}

class SuitesTest : public TunnelTest, public testing::WithParamInterface<size_t> {
 protected:
  const Suite& suite() const { return suites()[GetParam()]; }
  EspKey out_key() const { return test::out_key(suite()); }
  EspKey in_key() const { return test::in_key(suite()); }
  void send_through_tunnel(const Outer& outer, Layer inner, size_t bytes, uint64_t number);
  void receive_through_tunnel(const Outer& outer, Layer inner, size_t bytes, uint64_t number);
  void expect_limit(Layer inner, size_t limit, size_t largest_wire_bytes);
};

// The largest packet whose ESP packet has at most `mtu` bytes, by trying all; `kept` bytes of it stay
// outside.
size_t largest(const Suite& suite, size_t around, size_t kept, size_t mtu) {
  size_t bytes = mtu;
  while (around + kept + suite.esp_bytes(bytes - kept) > mtu) --bytes;
  return bytes;
}

void SuitesTest::send_through_tunnel(const Outer& outer, Layer inner, size_t bytes, uint64_t number) {
  from_lan(outbound(inner, bytes));
  const Bytes sent = only(to_wan());
  EXPECT_EQ(sent.size(), outer_bytes(outer) + suite().esp_bytes(bytes));
  const OpenedEsp opened = open(out_key(), outer, sent);
  EXPECT_EQ(opened.sequence, number);
  EXPECT_EQ(opened.next_header, inner == Layer::kIpv4 ? kProtoIpip : kProtoIpv6);
  EXPECT_EQ(opened.inner, outbound(inner, bytes, 63));
}

void SuitesTest::receive_through_tunnel(const Outer& outer, Layer inner, size_t bytes, uint64_t number) {
  from_wan(sealed_tunnel(in_key(), number, outer, inbound(inner, bytes)));
  EXPECT_EQ(only(to_lan()), inbound(inner, bytes, 63));
}

TEST_P(SuitesTest, TunnelModeBothWays) {
  for (const Outer& outer : kOuters) {
    SCOPED_TRACE(describe(suite(), outer));
    SetUp();
    apply(tunnel(suite(), outer));
    uint64_t number = 0;
    for (const Layer inner : kLayers)
      for (size_t bytes = 60; bytes < 60 + 17; ++bytes) {  // every length of padding
        send_through_tunnel(outer, inner, bytes, ++number);
        receive_through_tunnel(outer, inner, bytes, number);
      }
  }
}

TEST_P(SuitesTest, TransportModeBothWays) {
  for (const Outer& outer : kOuters) {
    SCOPED_TRACE(describe(suite(), outer));
    SetUp();
    apply(transport(suite(), outer));
    for (uint64_t number = 1; number <= 17; ++number) {
      const size_t bytes = 60 + number;
      from_host(from_gateway(outer.layer, bytes));
      const Bytes sent = only(to_wan());
      const size_t udp = outer.encapsulated ? 8 : 0, header = header_bytes(outer.layer);
      EXPECT_EQ(sent.size(), header + udp + suite().esp_bytes(bytes - header));
      const OpenedEsp opened = open(out_key(), outer, sent);
      EXPECT_EQ(opened.sequence, number);
      EXPECT_EQ(unwrapped_transport(opened, sent), from_gateway(outer.layer, bytes));

      from_wan(sealed_transport(in_key(), number, outer, from_peer(outer.layer, bytes)));
      EXPECT_EQ(only(to_host()), from_peer(outer.layer, bytes));
    }
  }
}

TEST_P(SuitesTest, ADamagedByteOrTheOtherDirectionsKeyIsRefused) {
  const Outer outer;
  apply(tunnel(suite(), outer));
  Bytes packet = sealed_tunnel(in_key(), 1, outer, inbound(Layer::kIpv4, 80));
  for (const size_t at : {packet.size() - 1, packet.size() - suite().icv_bytes, size_t{20 + 8 + 20}}) {
    packet[at] ^= 1;
    expect_drop(DropReason::kEspIcv, [&] { from_wan(packet); });
    packet[at] ^= 1;
  }
  EspKey wrong = out_key();
  wrong.spi = in_key().spi;
  expect_drop(DropReason::kEspIcv,
              [&] { from_wan(sealed_tunnel(wrong, 2, outer, inbound(Layer::kIpv4, 80))); });
  from_wan(packet);
  EXPECT_EQ(to_lan().size(), 1u) << "none of it moved the window";
}

// RFC 792, RFC 4443: who sends more than `limit` bytes is told that number; `limit` bytes pass.
void SuitesTest::expect_limit(Layer inner, size_t limit, size_t largest_wire_bytes) {
  for (int round = 0; round < 2; ++round) {  // cold, and as a flow that is known
    from_lan(with_df(outbound(inner, limit)));
    EXPECT_EQ(only(to_wan()).size(), largest_wire_bytes);
    from_lan(with_df(outbound(inner, limit + 1)));
    EXPECT_EQ(to_wan().size(), 0u);
    const Bytes error = only(to_lan());
    const size_t at = header_bytes(inner);
    EXPECT_EQ(error[at], inner == Layer::kIpv4 ? 3 : 2);
    EXPECT_EQ(error[at + 1], inner == Layer::kIpv4 ? 4 : 0);
    EXPECT_EQ(get32(error, at + 4), limit);
  }
}

TEST_P(SuitesTest, WhatFitsIsExactToTheByteInTunnelMode) {
  for (const Outer& outer : kOuters)
    for (const int mtu : {1500, 1499, 1493, 1488}) {
      SCOPED_TRACE(describe(suite(), outer));
      SetUp();
      Configured parts = tunnel(suite(), outer);
      parts.wan_mtu = mtu;
      apply(parts);
      const size_t around = outer_bytes(outer);
      const size_t limit = largest(suite(), around, 0, static_cast<size_t>(mtu));
      for (const Layer inner : kLayers) expect_limit(inner, limit, around + suite().esp_bytes(limit));
    }
}

// The host of a tunnel endpoint is told as well, and nothing it sends leaves in two pieces against its will.
TEST_P(SuitesTest, WhatFitsIsExactToTheByteInTransportMode) {
  for (const Outer& outer : kOuters) {
    SCOPED_TRACE(describe(suite(), outer));
    SetUp();
    apply(transport(suite(), outer));
    const size_t udp = outer.encapsulated ? 8 : 0, header = header_bytes(outer.layer);
    const size_t limit = largest(suite(), udp, header, 1500);
    from_host(with_df(from_gateway(outer.layer, limit)));
    EXPECT_EQ(only(to_wan()).size(), header + udp + suite().esp_bytes(limit - header));
    from_host(with_df(from_gateway(outer.layer, limit + 1)));
    EXPECT_EQ(to_wan().size(), 0u);
    EXPECT_EQ(get32(only(to_host()), header + 4), limit);
  }
}

INSTANTIATE_TEST_SUITE_P(All, SuitesTest, testing::Range(size_t{0}, suites().size()));

}  // namespace
}  // namespace espalier::test
