// Tunnels that are interfaces, in the whole gateway: GRE in clear and under ESP, VTIs beside policies, and
// that losing one never opens a clear way.
#include "tests/stage/tunnel_fixture.hpp"
#include "tests/support/packet_decoder.hpp"
#include "tests/unit/dataplane/ipv6_packets.hpp"

namespace espalier::test {
namespace {

constexpr Outer kIpv4{Layer::kIpv4, false};
constexpr uint16_t kChecksum = 0x8000, kKey = 0x2000, kSequence = 0x1000;

uint16_t ether_type(Layer inner) {
  return inner == Layer::kIpv4 ? 0x0800 : 0x86dd;
}

// RFC 2784, RFC 2890: header and payload; `flags` says what else is there.
Bytes gre(Layer inner, const Bytes& payload, uint16_t flags = 0, uint32_t key = 0) {
  Bytes packet;
  append16(packet, flags);
  append16(packet, ether_type(inner));
  if (flags & kChecksum) append32(packet, 0);
  if (flags & kKey) append32(packet, key);
  if (flags & kSequence) append32(packet, 9);
  append(packet, payload);
  if (flags & kChecksum) put16(packet, 4, internet_checksum(packet));
  return packet;
}

std::string gre_interface(Layer outer, std::string_view more = {}) {
  return fmt::format(
      R"(gre1 = {{ type = "gre"; local-ip = "{}"; remote-ip = "{}"; address = "172.30.0.1/30"; {} }};)",
      gateway_address(outer), peer_address(outer), more);
}

std::string routes_into(std::string_view interface) {
  return fmt::format(
      R"({{ prefix = "10.10.10.0/24"; interface = "{0}"; }}, {{ prefix = "2001:db8:b::/64"; interface = "{0}"; }})",
      interface);
}

class GreTest : public TunnelTest {
 protected:
  void apply_gre(Layer outer, std::string_view more = {}) {
    apply({.interfaces = gre_interface(outer, more), .routes = routes_into("gre1")});
  }
  // The GRE packet of an IP packet from the gateway, whose headers are judged.
  Bytes taken_out(Layer outer, const Bytes& packet, uint8_t hop_limit = 64) {
    const auto view = view_ip(packet);
    if (!view || view->declared_bytes != packet.size()) {
      ADD_FAILURE() << "no IP packet of its length";
      return {};
    }
    EXPECT_EQ(view->protocol, kProtoGre);
    EXPECT_EQ(packet[view->v6 ? 7 : 8], hop_limit);
    EXPECT_EQ(view->v6, outer == Layer::kIpv6);
    if (!view->v6) {
      EXPECT_EQ(internet_checksum(ByteView(packet).first(20)), 0);
      EXPECT_EQ(get16(packet, 6), 0x4000) << "DF, as Linux's pmtudisc";
    }
    const Bytes back = peer_packet(outer, kProtoGre, {});  // its addresses are these, the other way round
    const ByteView sent = view->addresses(packet), answered = view->addresses(back);
    EXPECT_EQ(copy(sent.first(view->address_bytes)), copy(answered.last(view->address_bytes)));
    EXPECT_EQ(copy(sent.last(view->address_bytes)), copy(answered.first(view->address_bytes)));
    return {packet.begin() + static_cast<ptrdiff_t>(view->header_bytes), packet.end()};
  }
  void receive(Layer outer, const Bytes& content) { from_wan(peer_packet(outer, kProtoGre, content)); }
};

TEST_F(GreTest, BothFamiliesInBothFamiliesOutAndIn) {
  for (const Layer outer : {Layer::kIpv4, Layer::kIpv6}) {
    SetUp();
    apply_gre(outer);
    for (const Layer inner : {Layer::kIpv4, Layer::kIpv6}) {
      for (int round = 0; round < 2; ++round) {  // the second one is a known flow
        from_lan(outbound(inner, 90));
        EXPECT_EQ(taken_out(outer, only(to_wan())), gre(inner, outbound(inner, 90, 63)));
        receive(outer, gre(inner, inbound(inner, 90)));
        EXPECT_EQ(only(to_lan()), inbound(inner, 90, 63));
      }
    }
  }
}

TEST_F(GreTest, AKeyIsSentAndWanted) {
  apply_gre(Layer::kIpv4, "key = 0xfedcba98L;");
  from_lan(outbound(Layer::kIpv4, 90));
  EXPECT_EQ(taken_out(Layer::kIpv4, only(to_wan())),
            gre(Layer::kIpv4, outbound(Layer::kIpv4, 90, 63), kKey, 0xfedcba98));
  const Bytes inner = inbound(Layer::kIpv4, 90);
  receive(Layer::kIpv4, gre(Layer::kIpv4, inner, kKey, 0xfedcba98));
  EXPECT_EQ(only(to_lan()), inbound(Layer::kIpv4, 90, 63));
  for (const Bytes& other : {gre(Layer::kIpv4, inner, kKey, 0xfedcba99), gre(Layer::kIpv4, inner)}) {
    const uint64_t before = drops(DropReason::kGreNoTunnel);
    receive(Layer::kIpv4, other);
    EXPECT_EQ(drops(DropReason::kGreNoTunnel), before + 1);
    const Fields answer = decode_ip(only(to_wan()), {});
    EXPECT_EQ(number_at(answer, "ip.icmp.type"), 3u);
    EXPECT_EQ(number_at(answer, "ip.icmp.code"), 3u) << "port unreachable, as in Linux";
    EXPECT_TRUE(to_lan().empty());
  }
}

TEST_F(GreTest, AChecksumIsVerifiedAndASequenceNumberSkipped) {
  apply_gre(Layer::kIpv4);
  const Bytes inner = inbound(Layer::kIpv4, 91);
  receive(Layer::kIpv4, gre(Layer::kIpv4, inner, kChecksum));
  EXPECT_EQ(only(to_lan()), inbound(Layer::kIpv4, 91, 63));
  receive(Layer::kIpv4, gre(Layer::kIpv4, inner, kChecksum | kSequence));
  EXPECT_EQ(only(to_lan()), inbound(Layer::kIpv4, 91, 63));
  Bytes damaged = gre(Layer::kIpv4, inner, kChecksum);
  damaged.back() ^= 1;
  expect_drop(DropReason::kGreMalformed, [&] { receive(Layer::kIpv4, damaged); });
  for (const uint16_t flags :
       {0x4000, 0x0800, 0x0001, 0x0007})  // routing, strict source route, versions 1 and 7
    expect_drop(DropReason::kGreMalformed, [&] { receive(Layer::kIpv4, gre(Layer::kIpv4, inner, flags)); });
  expect_drop(DropReason::kGreMalformed, [&] { receive(Layer::kIpv4, Bytes{0x20, 0, 8, 0}); });
  expect_drop(DropReason::kGreNoTunnel, [&] {
    from_wan(ip(kProtoGre, "203.0.113.9", "203.0.113.1", gre(Layer::kIpv4, inner)).bytes());
  });
}

TEST_F(GreTest, TheTtlIsItsOwnOrTheInnerPackets) {
  apply_gre(Layer::kIpv4, "ttl = 200;");
  from_lan(outbound(Layer::kIpv4, 90, 10));
  taken_out(Layer::kIpv4, only(to_wan()), 200);
}

TEST_F(GreTest, WhatFitsIsExact) {
  for (const Layer outer : {Layer::kIpv4, Layer::kIpv6}) {
    SetUp();
    apply_gre(outer);
    const size_t around = header_bytes(outer) + 4, limit = 1500 - around;
    for (const Layer inner : {Layer::kIpv4, Layer::kIpv6}) {
      from_lan(with_df(outbound(inner, limit)));
      EXPECT_EQ(only(to_wan()).size(), 1500u);
      from_lan(with_df(outbound(inner, limit + 1)));
      EXPECT_EQ(to_wan().size(), 0u);
      EXPECT_EQ(get32(only(to_lan()), header_bytes(inner) + 4), limit);
    }
  }
}

// A route to the tunnel's other end that leads into the tunnel.
TEST_F(GreTest, ATunnelWithinItselfEnds) {
  apply({.interfaces = gre_interface(Layer::kIpv4),
         .routes = list({routes_into("gre1"), R"({ prefix = "203.0.113.2/32"; interface = "gre1"; })"})});
  for (int round = 0; round < 2; ++round)
    expect_drop(DropReason::kTunnelLoop, [&] { from_lan(outbound(Layer::kIpv4, 90)); });
}

// --- GRE under ESP ---

std::string gre_policies(std::string_view mode) {
  const std::string out = tmpl("203.0.113.1", "203.0.113.2", 1, mode),
                    in = tmpl("203.0.113.2", "203.0.113.1", 1, mode);
  return list({policy("out", "203.0.113.1/32", "203.0.113.2/32", out, R"(protocol = "gre";)"),
               policy("in", "203.0.113.2/32", "203.0.113.1/32", in, R"(protocol = "gre";)")});
}

Configured protected_gre(std::string_view mode, std::string_view more) {
  Configured parts = mode == "tunnel" ? tunnel(gcm(), kIpv4) : transport(gcm(), kIpv4);
  parts.policies = gre_policies(mode);
  parts.interfaces = gre_interface(Layer::kIpv4, more);
  parts.routes = routes_into("gre1");
  return parts;
}

class ProtectedGreTest : public GreTest, public testing::WithParamInterface<std::string_view> {
 protected:
  bool in_tunnel() const { return GetParam() == "tunnel"; }
  // The GRE packet in what the gateway sent.
  Bytes opened(const Bytes& packet) {
    const OpenedEsp esp = open(out_key(gcm()), kIpv4, packet);
    if (in_tunnel()) return taken_out(Layer::kIpv4, esp.inner);
    EXPECT_EQ(esp.next_header, kProtoGre);
    return taken_out(Layer::kIpv4, unwrapped_transport(esp, packet));
  }
  Bytes sealed(uint64_t number, const Bytes& content) {
    const Bytes packet = peer_packet(Layer::kIpv4, kProtoGre, content);
    return in_tunnel() ? sealed_tunnel(in_key(gcm()), number, kIpv4, packet)
                       : sealed_transport(in_key(gcm()), number, kIpv4, packet);
  }
};

TEST_P(ProtectedGreTest, OutAndInAndNeverInClear) {
  for (const std::string_view more : {"protect = true;", "protect = true; key = 7;"}) {
    SetUp();
    const uint16_t flags = more.size() > 16 ? kKey : 0;
    apply(protected_gre(GetParam(), more));
    for (uint64_t number = 1; number <= 2; ++number)
      for (const Layer inner : {Layer::kIpv4, Layer::kIpv6}) {
        const uint64_t unique = 2 * number + (inner == Layer::kIpv6);
        from_lan(outbound(inner, 90));
        EXPECT_EQ(opened(only(to_wan())), gre(inner, outbound(inner, 90, 63), flags, 7));
        from_wan(sealed(unique, gre(inner, inbound(inner, 90), flags, 7)));
        EXPECT_EQ(only(to_lan()), inbound(inner, 90, 63));
      }
    // The in policy sees it before the interface does, as in Linux.
    expect_drop(DropReason::kInTemplateMismatch,
                [&] { receive(Layer::kIpv4, gre(Layer::kIpv4, inbound(Layer::kIpv4, 90), flags, 7)); });
  }
}

TEST_P(ProtectedGreTest, WhatFitsIsExact) {
  apply(protected_gre(GetParam(), "protect = true; mtu = 1500;"));
  const auto wire = [&](size_t inner) {
    return in_tunnel() ? 20 + gcm().esp_bytes(20 + 4 + inner) : 20 + gcm().esp_bytes(4 + inner);
  };
  size_t limit = 1500;
  while (wire(limit) > 1500) --limit;
  for (int round = 0; round < 2; ++round) {
    from_lan(with_df(outbound(Layer::kIpv4, limit)));
    EXPECT_EQ(only(to_wan()).size(), wire(limit));
    from_lan(with_df(outbound(Layer::kIpv4, limit + 1)));
    EXPECT_EQ(to_wan().size(), 0u);
    EXPECT_EQ(get32(only(to_lan()), 24), limit);
  }
}

TEST_P(ProtectedGreTest, WithoutItsPolicyOrStateNothingLeaves) {
  Configured without = protected_gre(GetParam(), "protect = true;");
  apply(without);
  from_lan(outbound(Layer::kIpv4, 90));
  EXPECT_EQ(to_wan().size(), 1u) << "or nothing is lost here";
  without.states.clear();
  apply(without);
  // Whatever the size: without an SA there is no MTU that its host could be told.
  for (const Bytes& packet :
       {outbound(Layer::kIpv4, 90), with_df(outbound(Layer::kIpv4, 1400)), outbound(Layer::kIpv6, 1400)})
    expect_drop(DropReason::kOutNoState, [&] { from_lan(packet); });
  without.policies.clear();
  apply(without);
  expect_drop(DropReason::kGreUnprotected, [&] { from_lan(outbound(Layer::kIpv4, 90)); });
  expect_drop(DropReason::kGreClear,
              [&] { receive(Layer::kIpv4, gre(Layer::kIpv4, inbound(Layer::kIpv4, 90))); });
  // From behind the tunnel, past the tunnel.
  expect_drop(DropReason::kClearFromTunnel, [&] { from_wan(inbound(Layer::kIpv4, 90)); });
}

// A policy that is content without ESP is not enough.
TEST_F(GreTest, AnOptionalTemplateDoesNotMakeProtectedGreClear) {
  const std::string optional = R"({ mode = "transport"; reqid = 1; level = "use"; })";
  Configured parts{
      .interfaces = gre_interface(Layer::kIpv4),
      .routes = routes_into("gre1"),
      .policies = policy("out", "203.0.113.1/32", "203.0.113.2/32", optional, R"(protocol = "gre";)")};
  apply(parts);
  from_lan(outbound(Layer::kIpv4, 90));
  EXPECT_EQ(taken_out(Layer::kIpv4, only(to_wan())), gre(Layer::kIpv4, outbound(Layer::kIpv4, 90, 63)));
  parts.interfaces = gre_interface(Layer::kIpv4, "protect = true;");
  apply(parts);
  for (int round = 0; round < 2; ++round)
    expect_drop(DropReason::kGreUnprotected, [&] { from_lan(outbound(Layer::kIpv4, 90)); });
}

INSTANTIATE_TEST_SUITE_P(Modes, ProtectedGreTest, testing::Values("transport", "tunnel"));

// --- VTI ---

std::string vti_interface(int n) {
  return fmt::format(R"(vti{0} = {{ type = "vti"; address = "10.40.{0}.1/30"; }};)", n);
}

// Tunnel n belongs to vti n.
std::string vti_states(int n) {
  const std::string more = fmt::format(R"(reqid = {0}; mode = "tunnel"; vti = "vti{0}"; )", n);
  const auto seed = static_cast<uint8_t>(2 * n);
  return list({state(static_cast<uint32_t>(0x2000 + n), "out", "203.0.113.1", "203.0.113.2",
                     gcm().keywords(seed), more),
               state(static_cast<uint32_t>(0x3000 + n), "in", "203.0.113.2", "203.0.113.1",
                     gcm().keywords(static_cast<uint8_t>(seed + 1)), more)});
}
EspKey vti_out(int n) {
  return gcm().key(static_cast<uint32_t>(0x2000 + n), static_cast<uint8_t>(2 * n));
}
EspKey vti_in(int n) {
  return gcm().key(static_cast<uint32_t>(0x3000 + n), static_cast<uint8_t>(2 * n + 1));
}

class VtiTest : public TunnelTest {
 protected:
  Configured one_vti() {
    return {.interfaces = vti_interface(1), .routes = routes_into("vti1"), .states = vti_states(1)};
  }
  static Bytes udp_between(const char* source, const char* destination, uint8_t ttl = 64) {
    return udp(std::string(source) + ":4000", std::string(destination) + ":5000").ttl(ttl).bytes();
  }
};

TEST_F(VtiTest, OutAndIn) {
  apply(one_vti());
  for (uint64_t number = 1; number <= 2; ++number)
    for (const Layer inner : {Layer::kIpv4, Layer::kIpv6}) {
      from_lan(outbound(inner, 90));
      EXPECT_EQ(open(vti_out(1), kIpv4, only(to_wan())).inner, outbound(inner, 90, 63));
      from_wan(sealed_tunnel(vti_in(1), 2 * number + (inner == Layer::kIpv6), kIpv4, inbound(inner, 90)));
      EXPECT_EQ(only(to_lan()), inbound(inner, 90, 63));
    }
}

TEST_F(VtiTest, TwoOfThemAndAPolicyTunnelDoNotMix) {
  const Configured by_policy = tunnel(gcm(), kIpv4);
  Configured parts;
  parts.interfaces = vti_interface(3) + vti_interface(4);
  parts.routes =
      R"({ prefix = "10.23.0.0/16"; interface = "vti3"; }, { prefix = "10.24.0.0/16"; interface = "vti4"; })";
  parts.states = list({by_policy.states, vti_states(3), vti_states(4)});
  parts.policies = by_policy.policies;
  apply(parts);
  for (int round = 0; round < 2; ++round) {
    from_lan(udp_between("192.168.10.45", "10.23.0.9"));
    EXPECT_EQ(open(vti_out(3), kIpv4, only(to_wan())).inner, udp_between("192.168.10.45", "10.23.0.9", 63));
    from_lan(udp_between("192.168.10.45", "10.24.0.9"));
    EXPECT_EQ(open(vti_out(4), kIpv4, only(to_wan())).inner, udp_between("192.168.10.45", "10.24.0.9", 63));
    from_lan(outbound(Layer::kIpv4, 90));
    EXPECT_EQ(open(out_key(gcm()), kIpv4, only(to_wan())).inner, outbound(Layer::kIpv4, 90, 63));
  }
  uint64_t number = 0;
  for (const int n : {3, 4}) {
    const std::string host = fmt::format("10.2{}.0.9", n);
    from_wan(sealed_tunnel(vti_in(n), ++number, kIpv4, udp_between(host.c_str(), "192.168.10.45")));
    EXPECT_EQ(only(to_lan()), udp_between(host.c_str(), "192.168.10.45", 63));
  }
  from_wan(sealed_tunnel(in_key(gcm()), ++number, kIpv4, inbound(Layer::kIpv4, 90)));
  EXPECT_EQ(only(to_lan()), inbound(Layer::kIpv4, 90, 63));
  // What the policy protects does not come by a vti.
  expect_drop(DropReason::kInTemplateMismatch,
              [&] { from_wan(sealed_tunnel(vti_in(3), ++number, kIpv4, inbound(Layer::kIpv4, 90))); });

  // One is cut: its traffic stops, the others go on.
  parts.states = list({by_policy.states, vti_states(4)});
  apply(parts);
  from_lan(udp_between("192.168.10.45", "10.23.0.9"));
  EXPECT_EQ(to_wan().size(), 0u);
  EXPECT_EQ(drops(DropReason::kRouteUnreachable), 1u);
  to_lan();
  from_lan(udp_between("192.168.10.45", "10.24.0.9"));
  EXPECT_EQ(open(vti_out(4), kIpv4, only(to_wan())).inner, udp_between("192.168.10.45", "10.24.0.9", 63));
  from_lan(outbound(Layer::kIpv4, 90));
  EXPECT_EQ(open(out_key(gcm()), kIpv4, only(to_wan())).inner, outbound(Layer::kIpv4, 90, 63));
}

TEST_F(VtiTest, WithoutStatesItsRoutesAreUnreachableAndNeverTheDefaultRoutes) {
  Configured parts = one_vti();
  apply(parts);
  for (const Layer inner : {Layer::kIpv4, Layer::kIpv6})
    from_lan(outbound(inner, 90));  // flows that are known
  EXPECT_EQ(to_wan().size(), 2u);
  parts.states.clear();
  apply(parts);
  for (int round = 0; round < 2; ++round)
    for (const Layer inner : {Layer::kIpv4, Layer::kIpv6}) {
      from_lan(outbound(inner, 90));
      EXPECT_EQ(to_wan().size(), 0u);
      const Bytes error = only(to_lan());
      EXPECT_EQ(error[header_bytes(inner)], inner == Layer::kIpv4 ? 3 : 1);
    }
  EXPECT_EQ(drops(DropReason::kRouteUnreachable), 4u);
  const auto acquires = bed_->take_acquires();
  ASSERT_EQ(acquires.size(), 1u);  // one a second
  EXPECT_NE(acquires[0].vti, kNoInterface);
  EXPECT_EQ(acquires[0].policy, kNoPolicy);
  expect_drop(DropReason::kClearFromTunnel, [&] { from_wan(inbound(Layer::kIpv4, 90)); });
}

TEST_F(VtiTest, WhoseStateExpiredIsDown) {
  Configured parts = one_vti();
  const std::string more = R"(reqid = 1; mode = "tunnel"; vti = "vti1"; limit = { hard-packets = 2; };)";
  parts.states = list({state(0x2001, "out", "203.0.113.1", "203.0.113.2", gcm().keywords(2), more),
                       state(0x3001, "in", "203.0.113.2", "203.0.113.1", gcm().keywords(3), more)});
  apply(parts);
  for (int i = 0; i < 2; ++i) from_lan(outbound(Layer::kIpv4, 90));
  EXPECT_EQ(to_wan().size(), 2u);
  for (int i = 0; i < 3; ++i) {
    from_lan(outbound(Layer::kIpv4, 90));
    EXPECT_EQ(to_wan().size(), 0u);
    bed_->advance_time(std::chrono::milliseconds(1500));
  }
  EXPECT_EQ(drops(DropReason::kEspOutExpired), 1u);
  EXPECT_GE(drops(DropReason::kRouteUnreachable), 1u);
}

TEST_F(VtiTest, WhatComesInClearFromBehindItIsDropped) {
  apply(one_vti());
  for (const Layer inner : {Layer::kIpv4, Layer::kIpv6})
    expect_drop(DropReason::kClearFromTunnel, [&] { from_wan(inbound(inner, 90)); });
  // Also for the gateway itself; but not what is from the tunnel's other end.
  expect_drop(DropReason::kClearFromTunnel, [&] { from_wan(udp_between("10.10.10.55", "203.0.113.1")); });
  from_wan(udp_between("203.0.113.2", "203.0.113.1"));
  EXPECT_EQ(to_host().size(), 1u);
}

// --- MSS (RFC 9293 section 3.7.1) ---

class MssTest : public TunnelTest {
 protected:
  // A SYN with the option behind `before` bytes of no-operation.
  static Bytes syn(uint16_t mss, size_t before, uint8_t ttl, std::string_view flags = "S") {
    Bytes options(before, 1);
    append(options, Bytes{2, 4, static_cast<uint8_t>(mss >> 8), static_cast<uint8_t>(mss)});
    options.resize((options.size() + 3) / 4 * 4, 0);
    return tcp("192.168.10.45:4000", "198.51.100.9:80").tcp_options(options).flags(flags).ttl(ttl).bytes();
  }
};

TEST_F(MssTest, ASynIsClampedWhereverTheOptionStands) {
  apply({.wan = "mss-clamp = 1300;"});
  for (const size_t before : {0, 1, 2, 3, 5}) {
    SCOPED_TRACE(before);
    for (const std::string_view flags : {"S", "SA"}) {
      from_lan(syn(1460, before, 64, flags));
      EXPECT_EQ(only(to_wan()), syn(1300, before, 63, flags));
      from_lan(syn(1301, before, 64, flags));
      EXPECT_EQ(only(to_wan()), syn(1300, before, 63, flags));
      from_lan(syn(1300, before, 64, flags));
      EXPECT_EQ(only(to_wan()), syn(1300, before, 63, flags));
      from_lan(syn(536, before, 64, flags));
      EXPECT_EQ(only(to_wan()), syn(536, before, 63, flags)) << "never raised";
    }
  }
  from_lan(syn(1460, 1, 64, "A"));
  EXPECT_EQ(only(to_wan()), syn(1460, 1, 63, "A")) << "only SYNs";
}

TEST_F(MssTest, ToWhatTheTunnelBears) {
  Configured parts = tunnel(suites()[11], kIpv4);  // AES-256-CBC with HMAC-SHA-256
  parts.wan = R"(mss-clamp = "pmtu";)";
  apply(parts);
  size_t limit = 1500;
  while (20 + suites()[11].esp_bytes(limit) > 1500) --limit;
  const auto syn_to_peer = [](uint16_t mss, uint8_t ttl) {
    return tcp("192.168.10.45:4000", "10.10.10.55:80")
        .tcp_options(Bytes{2, 4, static_cast<uint8_t>(mss >> 8), static_cast<uint8_t>(mss)})
        .ttl(ttl)
        .bytes();
  };
  from_lan(syn_to_peer(1460, 64));
  EXPECT_EQ(open(out_key(suites()[11]), kIpv4, only(to_wan())).inner,
            syn_to_peer(static_cast<uint16_t>(limit - 40), 63));
}

}  // namespace
}  // namespace espalier::test
