// What happens to ESP beside its ciphers, in the whole gateway: numbers beyond 32 bits, encapsulation in UDP,
// nested tunnels, limits, IPv6's extension headers.
#include "control/shared/text.hpp"
#include "tests/stage/tunnel_fixture.hpp"
#include "tests/unit/dataplane/ipv6_packets.hpp"

namespace espalier::test {
namespace {

// A tunnel of its own: `n` tells its SPIs, keys and reqid from others'.
std::string states_of(uint32_t n, const char* gateway, const char* peer) {
  const std::string more = fmt::format(R"(reqid = {}; mode = "tunnel";)", n);
  return list(
      {state(0x2000 + n, "out", gateway, peer, gcm().keywords(static_cast<uint8_t>(2 * n)), more),
       state(0x3000 + n, "in", peer, gateway, gcm().keywords(static_cast<uint8_t>(2 * n + 1)), more)});
}
EspKey out_key_of(uint32_t n) {
  return gcm().key(0x2000 + n, static_cast<uint8_t>(2 * n));
}
EspKey in_key_of(uint32_t n) {
  return gcm().key(0x3000 + n, static_cast<uint8_t>(2 * n + 1));
}

class TunnelsTest : public TunnelTest {};

// --- Extended sequence numbers (RFC 4303 section 2.2.1) ---

std::string last_sequence(uint64_t number) {
  return fmt::format("esn = true; replay-window = 64; last-sequence = {}L; ", number);
}

TEST_F(TunnelsTest, NumbersGoOnBeyond32BitsWithEsn) {
  for (const size_t suite : {kGcm128, size_t{7}, size_t{9}, size_t{16}}) {  // AEADs, CBC and NULL with HMAC
    SCOPED_TRACE(suites()[suite].encryption);
    SetUp();
    apply(tunnel(suites()[suite], kPlain, last_sequence(0xfffffffd)));
    EspKey out = out_key(suites()[suite]), in = in_key(suites()[suite]);
    out.esn = in.esn = true;
    for (uint64_t number = 0xfffffffe; number <= 0x100000002; ++number) {
      from_lan(outbound(Layer::kIpv4, 80));
      const OpenedEsp opened = open(out, kPlain, only(to_wan()), static_cast<uint32_t>(number >> 32));
      EXPECT_EQ(opened.sequence, number);
      from_wan(sealed_tunnel(in, number, kPlain, inbound(Layer::kIpv4, 80)));
      EXPECT_EQ(only(to_lan()), inbound(Layer::kIpv4, 80, 63));
    }
    expect_drop(DropReason::kEspReplay,
                [&] { from_wan(sealed_tunnel(in, 0xffffffff, kPlain, inbound(Layer::kIpv4, 80))); });
    // The low half of a number that would be right with the other high half.
    expect_drop(DropReason::kEspIcv,
                [&] { from_wan(sealed_tunnel(in, 0x00000005, kPlain, inbound(Layer::kIpv4, 80))); });
  }
}

TEST_F(TunnelsTest, WithoutEsnTheLastNumberIsTheLast) {
  apply(tunnel(gcm(), kPlain, "last-sequence = 4294967294L; "));
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(open(out_key(gcm()), kPlain, only(to_wan())).sequence, 0xffffffffu);
  expect_drop(DropReason::kEspSequenceExhausted, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
}

// --- ESP in UDP (RFC 3948) ---

TEST_F(TunnelsTest, WhatIsInUdpButNotEspIsTheHosts) {
  apply(tunnel(gcm(), kInUdp));
  const Bytes ike = peer_packet(Layer::kIpv4, kProtoUdp, udp_of(4500, 4500, Bytes(40, 0)));
  from_wan(ike);
  EXPECT_EQ(only(to_host()), ike);
  const Bytes short_one = peer_packet(Layer::kIpv4, kProtoUdp, udp_of(4500, 4500, Bytes(8, 1)));
  from_wan(short_one);
  EXPECT_EQ(only(to_host()), short_one);
  from_wan(peer_packet(Layer::kIpv4, kProtoUdp, udp_of(4500, 4500, Bytes{0xff})));
  EXPECT_EQ(to_host().size(), 0u);
  EXPECT_EQ(drops(DropReason::kUsedKeepalive), 1u);
}

TEST_F(TunnelsTest, EncapsulationMustBeAsTheStateSays) {
  Configured parts = tunnel(gcm(), kInUdp);
  parts.states = list({parts.states, states_of(7, "203.0.113.1", "203.0.113.2")});
  apply(parts);
  expect_drop(DropReason::kEspEncapMismatch,
              [&] { from_wan(sealed_tunnel(in_key(gcm()), 1, kPlain, inbound(Layer::kIpv4, 80))); });
  expect_drop(DropReason::kEspEncapMismatch,
              [&] { from_wan(sealed_tunnel(in_key_of(7), 1, kInUdp, inbound(Layer::kIpv4, 80))); });
  from_wan(sealed_tunnel(in_key(gcm()), 1, kInUdp, inbound(Layer::kIpv4, 80)));
  EXPECT_EQ(to_lan().size(), 1u);
}

TEST_F(TunnelsTest, ANewPortOfThePeerIsAcceptedAndAnotherAddressOnlyWithMapping) {
  const auto moved = [&](const char* source, uint16_t port, uint64_t number) {
    const Bytes esp = seal_esp(in_key(gcm()), number, inbound(Layer::kIpv4, 80));
    return ip(kProtoUdp, source, "203.0.113.1", udp_of(port, 4500, esp)).bytes();
  };
  apply(tunnel(gcm(), kInUdp));
  from_wan(moved("203.0.113.2", 1025, 1));
  EXPECT_EQ(to_lan().size(), 1u);
  expect_drop(DropReason::kEspWrongPeer, [&] { from_wan(moved("203.0.113.77", 1025, 2)); });
  SetUp();
  apply(tunnel(gcm(), kInUdp, {}, "mapping = true; "));
  from_wan(moved("203.0.113.77", 1025, 3));
  EXPECT_EQ(to_lan().size(), 1u);
}

// RFC 3948 section 2.3; Linux leaves it to the IKE daemon.
TEST_F(TunnelsTest, ASilentTunnelKeepsItsMappingAlive) {
  for (const Outer outer : {kInUdp, Outer{Layer::kIpv6, true}}) {
    SetUp();
    apply(tunnel(gcm(), outer));
    for (int i = 0; i < 19; ++i) bed_->advance_time(std::chrono::seconds(1));
    EXPECT_EQ(to_wan().size(), 0u);
    for (int i = 0; i < 3; ++i) bed_->advance_time(std::chrono::seconds(1));
    const Bytes sent = only(to_wan());
    const size_t at = header_bytes(outer.layer);
    ASSERT_EQ(sent.size(), at + 9);
    EXPECT_EQ(get16(sent, at), 4500);
    EXPECT_EQ(get16(sent, at + 2), 4500);
    EXPECT_EQ(get16(sent, at + 4), 9);
    EXPECT_EQ(sent.back(), 0xff);
    from_lan(outbound(Layer::kIpv4, 80));
    EXPECT_EQ(to_wan().size(), 1u);
    for (int i = 0; i < 15; ++i) bed_->advance_time(std::chrono::seconds(1));
    EXPECT_EQ(to_wan().size(), 0u) << "what it carries keeps it alive as well";
  }
}

// --- Several templates ---

// 1: inside, to the peer's far end; 2: around it; 3: around both.
struct Nest {
  const char* gateway;
  const char* peer;
};
constexpr Nest kNests[] = {
    {"203.0.113.1", "198.51.100.1"}, {"203.0.113.1", "198.51.100.2"}, {"203.0.113.1", "203.0.113.2"}};

Configured nested(size_t depth) {
  Configured parts;
  std::string out, in;
  for (size_t i = 0; i < depth; ++i) {
    // The last template is the outermost: it goes to who is on the link.
    const Nest& nest = kNests[i + 3 - depth];
    const auto n = static_cast<int>(i + 1);
    parts.states = list({parts.states, states_of(static_cast<uint32_t>(n), nest.gateway, nest.peer)});
    out = list({out, tmpl(nest.gateway, nest.peer, n)});
    in = list({in, tmpl(nest.peer, nest.gateway, n)});
  }
  parts.policies = list({policy("out", "192.168.10.0/24", "10.10.10.0/24", out),
                         policy("fwd", "10.10.10.0/24", "192.168.10.0/24", in)});
  return parts;
}

// What the peer sends through the layers `order`, the innermost first, with numbers from `number` + 1 on.
Bytes sealed_nested(size_t depth, const std::vector<uint32_t>& order, uint64_t number) {
  Bytes packet = inbound(Layer::kIpv4, 80);
  for (const uint32_t n : order) {
    const Nest& nest = kNests[n - 1 + 3 - depth];
    packet = esp_tunnel(in_key_of(n), ++number, nest.peer, nest.gateway, packet).bytes();
  }
  return packet;
}

TEST_F(TunnelsTest, NestedTunnelsOutAndIn) {
  for (const size_t depth : {2, 3}) {
    SCOPED_TRACE(depth);
    SetUp();
    apply(nested(depth));
    for (uint64_t number = 1; number <= 3; ++number) {
      from_lan(outbound(Layer::kIpv4, 80));
      Bytes packet = only(to_wan());
      for (size_t n = depth; n > 0; --n) {
        EXPECT_EQ(get32(packet, 16), parse_address(kNests[n - 1 + 3 - depth].peer).host());
        const OpenedEsp opened = open(out_key_of(static_cast<uint32_t>(n)), kPlain, packet);
        EXPECT_EQ(opened.sequence, number);
        packet = opened.inner;
        if (packet.empty()) return;
      }
      EXPECT_EQ(packet, outbound(Layer::kIpv4, 80, 63));
      const auto order = depth == 2 ? std::vector<uint32_t>{1, 2} : std::vector<uint32_t>{1, 2, 3};
      from_wan(sealed_nested(depth, order, 4 * number));
      EXPECT_EQ(only(to_lan()), inbound(Layer::kIpv4, 80, 63));
    }
  }
}

TEST_F(TunnelsTest, AnotherNestingThanThePolicysIsRefused) {
  apply(nested(3));
  uint64_t number = 10;
  const std::vector<std::vector<uint32_t>> wrong = {{1},    {2},       {3},       {1, 2},    {1, 3},
                                                    {2, 3}, {2, 1, 3}, {1, 3, 2}, {3, 2, 1}, {1, 1, 2, 3}};
  for (const auto& order : wrong) {
    SCOPED_TRACE(to_hex(Bytes(order.begin(), order.end())));
    number += order.size();
    expect_drop(DropReason::kInTemplateMismatch, [&] { from_wan(sealed_nested(3, order, number)); });
  }
  from_wan(sealed_nested(3, {1, 2, 3}, number + 4));
  EXPECT_EQ(to_lan().size(), 1u);
}

TEST_F(TunnelsTest, ANestedTunnelWithoutItsOuterSaLetsNothingOut) {
  Configured parts = nested(2);
  parts.states = states_of(1, kNests[1].gateway, kNests[1].peer);
  apply(parts);
  expect_drop(DropReason::kOutNoState, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
}

// The policies of what is inside know one tunnel each; another one around it or within is more than they ask
// for.
TEST_F(TunnelsTest, MoreTunnelsThanThePolicyHasAreRefused) {
  Configured parts = nested(2);
  const auto only_by = [](const char* network, const Nest& nest, int n) {
    return policy("fwd", network, "192.168.10.0/24", tmpl(nest.peer, nest.gateway, n));
  };
  parts.policies =
      list({parts.policies, only_by("10.10.11.0/24", kNests[1], 1), only_by("10.10.12.0/24", kNests[2], 2)});
  apply(parts);
  uint64_t number = 0;
  const auto sealed = [&](uint32_t n, const Bytes& inner) {
    const Nest& nest = kNests[n];
    return esp_tunnel(in_key_of(n), ++number, nest.peer, nest.gateway, inner).bytes();
  };
  const Bytes of_1 = udp("10.10.11.9:1", "192.168.10.45:2").bytes(),
              of_2 = udp("10.10.12.9:1", "192.168.10.45:2").bytes();
  for (const Bytes& packet : {sealed(1, of_1), sealed(2, of_2)}) {
    from_wan(packet);
    EXPECT_EQ(to_lan().size(), 1u);
  }
  for (const Bytes& inner : {of_1, of_2})
    expect_drop(DropReason::kInTemplateMismatch, [&] { from_wan(sealed(2, sealed(1, inner))); });
}

// A flow that is known does not lose the outer layer when the outer SA expires.
TEST_F(TunnelsTest, ANestedFlowStopsWhenItsOuterSaExpires) {
  Configured parts = nested(2);
  const std::string limited = R"(reqid = 2; mode = "tunnel"; limit = { hard-packets = 2; };)";
  parts.states = list({states_of(1, kNests[1].gateway, kNests[1].peer),
                       state(0x2002, "out", kNests[2].gateway, kNests[2].peer, gcm().keywords(4), limited)});
  apply(parts);
  for (int i = 0; i < 2; ++i) from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(to_wan().size(), 2u);
  expect_drop(DropReason::kEspOutExpired, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
  bed_->advance_time(std::chrono::seconds(1));
  for (int i = 0; i < 2; ++i)
    expect_drop(DropReason::kOutNoState, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
}

TEST_F(TunnelsTest, WhatFitsThroughNestedTunnelsIsExact) {
  apply(nested(3));
  const auto wire = [](size_t bytes) {
    for (int layer = 0; layer < 3; ++layer) bytes = 20 + gcm().esp_bytes(bytes);
    return bytes;
  };
  size_t limit = 1500;
  while (wire(limit) > 1500) --limit;
  from_lan(with_df(outbound(Layer::kIpv4, limit)));
  EXPECT_EQ(only(to_wan()).size(), wire(limit));
  from_lan(with_df(outbound(Layer::kIpv4, limit + 1)));
  EXPECT_EQ(to_wan().size(), 0u);
  EXPECT_EQ(get32(only(to_lan()), 24), limit);
}

// --- Limits ---

TEST_F(TunnelsTest, WhoMakesStatesIsToldThatOneIsWanted) {
  Configured parts = tunnel(gcm(), kPlain);
  parts.states.clear();
  apply(parts);
  const auto wants = [&] {
    from_lan(outbound(Layer::kIpv4, 90));
    EXPECT_EQ(to_wan().size(), 0u);
    return bed_->take_acquires();
  };
  const auto acquires = wants();
  ASSERT_EQ(acquires.size(), 1u);
  EXPECT_NE(acquires[0].policy, kNoPolicy);
  EXPECT_EQ(to_text(acquires[0].tuple.destination), "10.10.10.55");
  EXPECT_TRUE(wants().empty());  // one a second
  bed_->advance_time(std::chrono::seconds(2));
  EXPECT_EQ(wants().size(), 1u);
}

TEST_F(TunnelsTest, AHardLimitOfPacketsLetsSoManyPass) {
  apply(tunnel(gcm(), kPlain, "limit = { hard-packets = 3; }; "));
  for (uint64_t number = 1; number <= 3; ++number) {
    from_lan(outbound(Layer::kIpv4, 80));
    EXPECT_EQ(to_wan().size(), 1u);
    from_wan(sealed_tunnel(in_key(gcm()), number, kPlain, inbound(Layer::kIpv4, 80)));
    EXPECT_EQ(to_lan().size(), 1u);
  }
  expect_drop(DropReason::kEspOutExpired, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
  expect_drop(DropReason::kOutNoState, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
  const auto receive = [&](uint64_t number) {
    from_wan(sealed_tunnel(in_key(gcm()), number, kPlain, inbound(Layer::kIpv4, 80)));
  };
  expect_drop(DropReason::kEspInExpired, [&] { receive(4); });
  expect_drop(DropReason::kEspNoState, [&] { receive(5); });
}

TEST_F(TunnelsTest, AHardLimitOfBytesEndsTheStateBehindThePacketThatPassesIt) {
  apply(tunnel(gcm(), kPlain, "limit = { hard-bytes = 200; }; "));
  for (int i = 0; i < 3; ++i) from_lan(outbound(Layer::kIpv4, 80));  // 80 and 160 are below when they begin
  EXPECT_EQ(to_wan().size(), 3u);
  expect_drop(DropReason::kEspOutExpired, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
}

// --- IPv6 ---

Bytes with_extensions(const char* source, const char* destination, uint8_t hop_limit, size_t payload = 40) {
  return ipv6(kProtoHopByHop,
              joined({options_header(kProtoDestinationOptions, 16), options_header(kProtoUdp, 24),
                      udp6(payload, source, destination)}),
              {.source = source, .destination = destination, .hop_limit = hop_limit});
}

TEST_F(TunnelsTest, ExtensionHeadersPassATunnelAsTheyAre) {
  for (const Outer outer : {kPlain, Outer{Layer::kIpv6, false}}) {
    SetUp();
    apply(tunnel(gcm(), outer));
    from_lan(with_extensions("2001:db8:a::45", "2001:db8:b::55", 64));
    EXPECT_EQ(open(out_key(gcm()), outer, only(to_wan())).inner,
              with_extensions("2001:db8:a::45", "2001:db8:b::55", 63));
    from_wan(sealed_tunnel(in_key(gcm()), 1, outer, with_extensions("2001:db8:b::55", "2001:db8:a::45", 64)));
    EXPECT_EQ(only(to_lan()), with_extensions("2001:db8:b::55", "2001:db8:a::45", 63));
  }
}

// A datagram that was put together is cut again before the tunnel, into pieces as large as those that came;
// of those none may be cut once more, however little the tunnel has room for.
TEST_F(TunnelsTest, PiecesOfIpv6LargerThanTheTunnelsRoomAreCutAroundIt) {
  const char *source = "2001:db8:a::45", *destination = "2001:db8:b::55";
  Configured parts = tunnel(gcm(), kPlain);
  parts.wan_mtu = 1280;
  parts.sessions = "always";
  apply(parts);
  const Bytes datagram = udp6(2440, source, destination);
  constexpr size_t kCut = 1224;
  for (const bool first : {true, false}) {
    const Bytes part = first ? Bytes(datagram.begin(), datagram.begin() + kCut)
                             : Bytes(datagram.begin() + kCut, datagram.end());
    from_lan(ipv6(kProtoFragment, joined({fragment_header(kProtoUdp, first ? 0 : kCut, first), part}),
                  {.source = source, .destination = destination}));
  }
  EXPECT_EQ(to_wan().size(), 4u) << "two of ESP, each in two fragments of IPv4";
}

// xfrm_selector_match(): a state without a selector is for the family of its own addresses, unless it has
// af-unspec.
TEST_F(TunnelsTest, AStateCarriesTheFamilyOfItsAddressesUnlessItSaysMore) {
  Configured parts = tunnel(gcm(), kPlain);
  for (size_t at; (at = parts.states.find(R"(flag = [ "af-unspec" ];)")) != std::string::npos;)
    parts.states.erase(at, 23);
  apply(parts);
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(to_wan().size(), 1u);
  expect_drop(DropReason::kOutNoState, [&] { from_lan(outbound(Layer::kIpv6, 80)); });
  expect_drop(DropReason::kInStateMismatch,
              [&] { from_wan(sealed_tunnel(in_key(gcm()), 1, kPlain, inbound(Layer::kIpv6, 80))); });
}

// RFC 4303 section 3.1.1: hop-by-hop options stay in front of ESP; destination options may be on either side.
TEST_F(TunnelsTest, InTransportModeHopByHopOptionsStayReadable) {
  const Outer outer{Layer::kIpv6, false};
  apply(transport(gcm(), outer));
  from_host(with_extensions("2001:db8:ff::1", "2001:db8:ff::2", 64));
  const Bytes sent = only(to_wan());
  ASSERT_GT(sent.size(), 56u);
  EXPECT_EQ(sent[6], kProtoHopByHop);
  const auto view = view_ip(sent);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->protocol, kProtoEsp);
  const auto opened = open_esp(out_key(gcm()), ByteView(sent).subspan(view->header_bytes));
  ASSERT_TRUE(opened);
  Bytes restored(sent.begin(), sent.begin() + static_cast<ptrdiff_t>(view->header_bytes));
  append(restored, opened->inner);
  const Bytes wanted = with_extensions("2001:db8:ff::1", "2001:db8:ff::2", 64);
  put16(restored, 4, static_cast<uint16_t>(restored.size() - 40));
  restored[view->header_bytes == 56 ? 40 : 56] = opened->next_header;
  EXPECT_EQ(restored, wanted);
}

TEST_F(TunnelsTest, MappedAddressesAndOldRoutingHeadersAreRefusedInsideToo) {
  apply(tunnel(gcm(), kPlain));
  uint64_t number = 0;
  const auto receive = [&](const Bytes& inner) {
    from_wan(sealed_tunnel(in_key(gcm()), ++number, kPlain, inner));
  };
  const auto mapped = [](const char* source, const char* destination) {
    return ipv6(kProtoUdp, udp6(20, source, destination), {.source = source, .destination = destination});
  };
  const Bytes from_mapped = mapped("::ffff:10.10.10.55", "2001:db8:a::45"),
              to_mapped = mapped("2001:db8:b::55", "::ffff:192.168.10.45");
  expect_drop(DropReason::kIpBadSource, [&] { receive(from_mapped); });
  expect_drop(DropReason::kIpBadDestination, [&] { receive(to_mapped); });
  expect_drop(DropReason::kIpBadSource, [&] { from_lan(from_mapped); });
  expect_drop(DropReason::kIpBadDestination, [&] { from_lan(to_mapped); });
  const Bytes routed = ipv6(kProtoRouting, joined({routing_header(kProtoUdp, 0, 1), udp6(20)}),
                            {.source = "2001:db8:b::55", .destination = "2001:db8:a::45"});
  expect_drop(DropReason::kIpBadExtension, [&] { receive(routed); });
}

TEST_F(TunnelsTest, TheHopLimitIsLoweredOnceAndEndsHere) {
  apply(tunnel(gcm(), kPlain));
  from_lan(outbound(Layer::kIpv6, 100, 2));
  EXPECT_EQ(open(out_key(gcm()), kPlain, only(to_wan())).inner, outbound(Layer::kIpv6, 100, 1));
  from_lan(outbound(Layer::kIpv6, 100, 1));
  EXPECT_EQ(to_wan().size(), 0u);
  const Bytes error = only(to_lan());
  EXPECT_EQ(error[40], 3) << "RFC 4443 section 3.3";
  EXPECT_EQ(error[41], 0);
  EXPECT_EQ(Bytes(error.begin() + 48, error.end()), outbound(Layer::kIpv6, 100, 1));
}

// RFC 4303 section 2.7: what follows the inner packet is no part of it. Section 2.6: nothing is in a dummy.
TEST_F(TunnelsTest, PaddingAgainstTrafficAnalysisIsCutOff) {
  apply(tunnel(gcm(), kPlain));
  for (const Layer inner : {Layer::kIpv4, Layer::kIpv6}) {
    Bytes padded = inbound(inner, 80);
    padded.resize(200, 0xaa);
    from_wan(sealed_tunnel(in_key(gcm()), inner == Layer::kIpv4 ? 1 : 2, kPlain, padded));
    EXPECT_EQ(only(to_lan()), inbound(inner, 80, 63));
  }
  const Bytes dummy =
      seal_esp(in_key(gcm()), 3, Bytes(64, 0), {.iv = {}, .padding = {}, .next_header = kProtoNoNext});
  expect_drop(DropReason::kUsedLocal, [&] { from_wan(peer_packet(Layer::kIpv4, kProtoEsp, dummy)); });
}

}  // namespace
}  // namespace espalier::test
