// IKE datagrams through the whole gateway, and what no policy may keep from them and nobody else may use.
#include "dataplane/ike_link.hpp"
#include "tests/stage/ike_fixture.hpp"

namespace espalier::test {
namespace {

constexpr uint16_t kPort = 500, kNatPort = 4500;

Bytes message_of(size_t bytes) {
  Bytes made = counting_bytes(bytes);
  made[0] = 1;  // an SPI is not 0: no marker
  return made;
}
Bytes marked(const Bytes& message) {
  Bytes made(4, 0);
  append(made, message);
  return made;
}

// A datagram of the peer's, with a checksum where the family wants one.
Bytes from_peer_udp(Layer layer, uint16_t source, uint16_t destination, const Bytes& payload) {
  Bytes udp = udp_of(source, destination, payload);
  if (layer == Layer::kIpv6) {
    Bytes summed;
    for (const char* end : {peer_address(layer), gateway_address(layer)}) {
      const IpAddress a = address6(end);
      append(summed, {reinterpret_cast<const uint8_t*>(&a), sizeof a});
    }
    append32(summed, static_cast<uint32_t>(udp.size()));
    append32(summed, kProtoUdp);
    append(summed, udp);
    put16(udp, 6, internet_checksum(summed));
  }
  return peer_packet(layer, kProtoUdp, udp);
}

// RFC 826.
Bytes who_has(std::string_view wanted, std::string_view asker) {
  const MacAddress mac = parse_mac("02:00:00:00:ff:01");
  Bytes arp = {0, 1, 8, 0, 6, 4, 0, 1};
  append(arp, mac);
  append32(arp, parse_address(asker).host());
  append(arp, Bytes(6, 0));
  append32(arp, parse_address(wanted).host());
  return ethernet(parse_mac("ff:ff:ff:ff:ff:ff"), mac, arp, 0x0806);
}

// Everything between the gateway and its peer is protected, and there is no SA.
Configured all_protected() {
  const auto both = [](std::string_view direction, const char* source, const char* destination, int bits) {
    return policy(direction, fmt::format("{}/{}", source, bits), fmt::format("{}/{}", destination, bits),
                  R"({ mode = "transport"; reqid = 77; })");
  };
  return {.policies = list({both("out", "203.0.113.1", "203.0.113.2", 32),
                            both("in", "203.0.113.2", "203.0.113.1", 32),
                            both("out", "2001:db8:ff::1", "2001:db8:ff::2", 128),
                            both("in", "2001:db8:ff::2", "2001:db8:ff::1", 128)})};
}

class IkeDatagramTest : public IkeTest {
 protected:
  // The parts of datagrams that came, put together.
  std::vector<std::pair<message::IkeDatagram, Bytes>> received() {
    std::vector<std::pair<message::IkeDatagram, Bytes>> whole;
    for (const auto& [part] : take_all<message::IkeReceived>()) {
      if (part.offset == 0) whole.emplace_back(part, Bytes{});
      EXPECT_EQ(part.offset, whole.back().second.size());
      EXPECT_EQ(part.total_bytes, whole.back().first.total_bytes);
      append(whole.back().second, {part.bytes, part.part_bytes});
    }
    for (const auto& [head, bytes] : whole) EXPECT_EQ(head.total_bytes, bytes.size());
    return whole;
  }
  void expect_received(Layer layer, uint16_t local_port, uint16_t remote_port, const Bytes& message) {
    const auto all = received();
    ASSERT_EQ(all.size(), 1u);
    const message::IkeDatagram& head = all[0].first;
    EXPECT_EQ(head.local, address(gateway_address(layer)));
    EXPECT_EQ(head.remote, address(peer_address(layer)));
    EXPECT_EQ(head.local_port, local_port);
    EXPECT_EQ(head.remote_port, remote_port);
    EXPECT_EQ(all[0].second, message);
  }
  void send(Layer layer, uint16_t port, const Bytes& message, const char* local = nullptr) {
    message::IkeSend send;
    send.part.local = address(local ? local : gateway_address(layer));
    send.part.remote = address(peer_address(layer));
    send.part.local_port = send.part.remote_port = port;
    send.part.total_bytes = static_cast<uint32_t>(message.size());
    for (size_t at = 0; at < message.size(); at += send.part.part_bytes) {
      const size_t left = message.size() - at;
      send.part.offset = static_cast<uint32_t>(at);
      send.part.part_bytes = static_cast<uint16_t>(std::min(left, message::IkeDatagram::kPartBytes));
      std::copy_n(message.begin() + static_cast<ptrdiff_t>(at), send.part.part_bytes, send.part.bytes);
      post(send);
      if (left > message::IkeDatagram::kPartBytes) run();  // the ring is short
    }
    run();
  }
  // The UDP payload of a packet that the gateway sent to the peer.
  static void expect_sent(const Bytes& packet, Layer layer, uint16_t port, const Bytes& payload) {
    const auto view = view_ip(packet);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->protocol, kProtoUdp);
    EXPECT_EQ(view->v6, layer == Layer::kIpv6);
    const size_t at = view->header_bytes;
    EXPECT_EQ(get16(packet, at), port);
    EXPECT_EQ(get16(packet, at + 2), port);
    EXPECT_EQ(get16(packet, at + 4), packet.size() - at);
    EXPECT_NE(get16(packet, at + 6), 0) << "has a checksum";
    EXPECT_EQ(Bytes(packet.begin() + static_cast<ptrdiff_t>(at) + 8, packet.end()), payload);
  }
};

TEST_F(IkeDatagramTest, WhatComesToItsPortsIsForTheIkeProcess) {
  apply({});
  for (const Layer layer : kLayers) {
    for (int i = 0; i < 3; ++i) {  // the first packet of the flow, and replays of its decision
      from_wan(from_peer_udp(layer, 1500, kPort, message_of(100)));
      expect_received(layer, kPort, 1500, message_of(100));
      from_wan(from_peer_udp(layer, kNatPort, kNatPort, marked(message_of(28))));
      expect_received(layer, kNatPort, kNatPort, message_of(28));
    }
  }
  EXPECT_EQ(drops(DropReason::kUsedIke), 12u);
  EXPECT_EQ(to_host().size(), 0u);
  EXPECT_EQ(to_wan().size(), 0u);
  EXPECT_GT(bed_->flow_counts().hits, 0u);
}

TEST_F(IkeDatagramTest, WithoutIkeItIsTheHosts) {
  options_.ike = false;
  TunnelTest::SetUp();
  connect();
  apply({});
  from_wan(from_peer_udp(Layer::kIpv4, kPort, kPort, message_of(100)));
  EXPECT_EQ(to_host().size(), 1u);
  EXPECT_EQ(take().size(), 0u);
}

TEST_F(IkeDatagramTest, KeepalivesAndWhatIsNoIkeEndHere) {
  apply({});
  const auto give = [&](uint16_t port, const Bytes& payload) {
    return [&, port, payload] { from_wan(from_peer_udp(Layer::kIpv4, port, port, payload)); };
  };
  for (int i = 0; i < 2; ++i) {
    expect_drop(DropReason::kUsedKeepalive, give(kNatPort, {0xff}));
    expect_drop(DropReason::kIkeMalformed, give(kNatPort, {0xfe}));
    expect_drop(DropReason::kIkeMalformed, give(kPort, message_of(27)));
    expect_drop(DropReason::kIkeMalformed, give(kNatPort, marked(message_of(27))));
    expect_drop(DropReason::kIkeMalformed, give(kPort, {}));
    expect_drop(DropReason::kIkeMalformed,
                [&] { from_wan(from_peer_udp(Layer::kIpv4, 0, kPort, message_of(60))); });
    expect_drop(DropReason::kEspNoState, give(kNatPort, message_of(60)));
  }
  expect_drop(DropReason::kIkeMalformed, [&] {
    from_wan(udp("203.0.113.2:500", "203.0.113.1:500").payload(message_of(60)).bad_checksum().bytes());
  });
  from_wan(udp("203.0.113.2:500", "203.0.113.1:500").payload(message_of(60)).bytes());
  EXPECT_EQ(received().size(), 1u);
}

TEST_F(IkeDatagramTest, FragmentsArePutTogether) {
  apply({});
  const Bytes message = message_of(3000);
  const Bytes datagram = udp_of(kPort, kPort, message);
  for (size_t at = 0; at < datagram.size(); at += 1480) {
    const size_t bytes = std::min<size_t>(1480, datagram.size() - at);
    Bytes piece = peer_packet(Layer::kIpv4, kProtoUdp,
                              {datagram.begin() + static_cast<ptrdiff_t>(at),
                               datagram.begin() + static_cast<ptrdiff_t>(at + bytes)});
    put16(piece, 6, static_cast<uint16_t>(at / 8 | (at + bytes < datagram.size() ? 0x2000 : 0)));
    put16(piece, 10, 0);
    put16(piece, 10, internet_checksum(ByteView(piece).first(20)));
    from_wan(piece);
  }
  expect_received(Layer::kIpv4, kPort, kPort, message);
}

TEST_F(IkeDatagramTest, WhatTheIkeProcessSendsLeaves) {
  apply({});
  for (const Layer layer : kLayers) {
    send(layer, kPort, message_of(300));
    expect_sent(only(to_wan()), layer, kPort, message_of(300));
    send(layer, kNatPort, message_of(1000));
    expect_sent(only(to_wan()), layer, kNatPort, marked(message_of(1000)));
    send(layer, kNatPort, {0xff});  // a NAT keepalive
    expect_sent(only(to_wan()), layer, kNatPort, {0xff});
  }
}

TEST_F(IkeDatagramTest, LargeOnesLeaveInFragments) {
  apply({});
  send(Layer::kIpv4, kPort, message_of(5000));
  Bytes whole;
  for (const Bytes& piece : to_wan()) {
    EXPECT_LE(piece.size(), 1500u);
    EXPECT_EQ((get16(piece, 6) & 0x1fff) * 8u, whole.size());
    append(whole, ByteView(piece).subspan(20));
  }
  ASSERT_EQ(whole.size(), 5008u);
  EXPECT_EQ(Bytes(whole.begin() + 8, whole.end()), message_of(5000));
  send(Layer::kIpv6, kNatPort, message_of(5000));
  size_t bytes = 0;
  for (const Bytes& piece : to_wan()) bytes += piece.size() - kIpv6HeaderBytes - 8;
  EXPECT_EQ(bytes, 5012u);
}

TEST_F(IkeDatagramTest, PartsThatDoNotFitTogetherAreRefused) {
  apply({});
  message::IkeSend send;
  send.part.local = address("203.0.113.1");
  send.part.remote = address("203.0.113.2");
  send.part.local_port = send.part.remote_port = kPort;
  send.part.total_bytes = 600;
  send.part.part_bytes = 400;
  post(send);
  send.part.offset = 400;
  send.part.part_bytes = 200;
  send.part.remote = address("203.0.113.254");
  post(send);
  send.part.remote = address("203.0.113.2");
  post(send);
  run();
  EXPECT_EQ(to_wan().size(), 0u);
  this->send(Layer::kIpv4, kPort, message_of(600));
  EXPECT_EQ(to_wan().size(), 1u);
}

// --- No process, a slow one, a flood ---

TEST_F(IkeDatagramTest, WithoutAProcessItIsDropped) {
  options_.ike = true;
  TunnelTest::SetUp();  // and no connect()
  apply({});
  expect_drop(DropReason::kIkeAbsent,
              [&] { from_wan(from_peer_udp(Layer::kIpv4, kPort, kPort, message_of(60))); });
}

TEST_F(IkeDatagramTest, AProcessThatReadsNothingStopsNobodyAndLosesItsChannel) {
  apply({});
  const Bytes packet = from_peer_udp(Layer::kIpv4, kPort, kPort, message_of(60));
  for (int i = 0; i < 1200; ++i) from_wan(packet);
  EXPECT_EQ(drops(DropReason::kUsedIke), kRingSlots + 1024);
  EXPECT_EQ(drops(DropReason::kIkeFull), 1200 - kRingSlots - 1024);
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(to_wan().size(), 1u);
  for (int i = 0; i < 12; ++i) bed_->advance_time(std::chrono::seconds(1));
  expect_drop(DropReason::kIkeAbsent, [&] { from_wan(packet); });
  connect();
  from_wan(packet);
  EXPECT_EQ(received().size(), 1u) << "and nothing of what was for the one before";
}

TEST_F(IkeDatagramTest, AFloodDoesNotStarveArp) {
  apply({});
  const Bytes ike = ethernet(parse_mac("02:00:00:00:02:01"), parse_mac("02:00:00:00:ff:01"),
                             from_peer_udp(Layer::kIpv4, kPort, kPort, message_of(60)));
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 20; ++i) bed_->inject("wan0", 0, ike);
    bed_->run_workers();
  }
  EXPECT_GT(drops(DropReason::kIkeFull), 0u);
  bed_->inject("wan0", 0, who_has("203.0.113.1", "203.0.113.2"));
  run();
  EXPECT_EQ(drops(DropReason::kUsedArp), 1u);
  EXPECT_EQ(drops(DropReason::kPuntFull), 0u);
  const auto sent = bed_->take_sent("wan0");
  EXPECT_TRUE(std::ranges::any_of(sent, [](const Bytes& frame) {
    return get16(frame, 12) == 0x0806 && get16(frame, kEthernetBytes + 6) == 2;  // an answer
  }));
}

TEST_F(IkeDatagramTest, AFloodDoesNotKeepTheProcessFromItsSas) {
  apply(policies());
  for (int i = 0; i < 1200; ++i) from_wan(from_peer_udp(Layer::kIpv4, kPort, kPort, message_of(60)));
  post(sa(0x2001, Direction::kOut, 2));
  run();
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(to_wan().size(), 1u) << "though the process has not read all that came";
}

TEST_F(IkeDatagramTest, AProcessThatReadsNothingIsNotReadForEver) {
  apply({});
  const message::IkeWay question{.remote = address("198.51.100.9")};
  uint64_t taken = 0;
  while (taken < 10'000 && channel_->send(message::make(question, taken + 1, 1))) {
    ++taken;
    run();
  }
  EXPECT_GT(taken, kRingSlots + dataplane::IkeLink::kMostUnread);
  EXPECT_LT(taken, 3 * kRingSlots + dataplane::IkeLink::kMostUnread);
}

// --- The hole in the policies ---

TEST_F(IkeDatagramTest, PoliciesAreNotAskedAboutIt) {
  apply(all_protected());
  for (const Layer layer : kLayers) {
    send(layer, kPort, message_of(60));
    EXPECT_EQ(to_wan().size(), 1u);
    from_wan(from_peer_udp(layer, kPort, kPort, message_of(60)));
    EXPECT_EQ(received().size(), 1u);
  }
}

TEST_F(IkeDatagramTest, OtherUdpIsStillAsked) {
  apply(all_protected());
  send(Layer::kIpv4, kPort, message_of(60));
  to_wan();
  expect_drop(DropReason::kInTemplateMismatch,
              [&] { from_wan(from_peer_udp(Layer::kIpv4, kPort, 501, message_of(60))); });
  expect_drop(DropReason::kInTemplateMismatch,
              [&] { from_wan(from_peer_udp(Layer::kIpv4, kPort, 4501, message_of(60))); });
  // The host's, with the very addresses and ports of IKE.
  for (const char* port : {"500", "4500"})
    expect_drop(DropReason::kOutNoState, [&] {
      from_host(udp(fmt::format("203.0.113.1:{}", port), fmt::format("203.0.113.2:{}", port))
                    .payload(message_of(60))
                    .bytes());
    });
}

TEST_F(IkeDatagramTest, NothingLeavesFromAnAddressThatIsNotOurs) {
  apply(all_protected());
  for (const char* other : {"203.0.113.77", "192.168.10.45"})
    expect_drop(DropReason::kIpBadSource, [&] { send(Layer::kIpv4, kPort, message_of(60), other); });
}

TEST_F(IkeDatagramTest, OthersIkeIsForwardedByPolicy) {
  apply(policies());
  expect_drop(DropReason::kOutNoState,
              [&] { from_lan(udp("192.168.10.45:500", "10.10.10.55:500").payload(message_of(60)).bytes()); });
  expect_drop(DropReason::kInTemplateMismatch,
              [&] { from_wan(udp("10.10.10.55:500", "192.168.10.45:500").payload(message_of(60)).bytes()); });
  EXPECT_EQ(received().size(), 0u);
}

// As xfrm_policy_check() with a bypass policy: secpath_has_nontransport().
TEST_F(IkeDatagramTest, WhatCameByATunnelIsNotLetInByIt) {
  apply(policies());
  expect_done(sa(0x3001, Direction::kIn, 2));
  const Bytes inner = udp("10.10.10.55:500", "192.168.10.1:500").payload(message_of(60)).bytes();
  expect_drop(DropReason::kInTemplateMismatch, [&] {
    from_wan(sealed_tunnel(key(0x3001, 2), 1, {Layer::kIpv4, false}, inner));
  });
}

TEST_F(IkeDatagramTest, ExplainTellsIt) {
  apply(all_protected());
  const auto told = rehearse("wan0", {from_peer_udp(Layer::kIpv4, kPort, kPort, message_of(60))}).lines;
  EXPECT_EQ(std::ranges::count(told, "in_policy: came in clear, IKE for the gateway: no policy is asked"), 1);
  EXPECT_EQ(told.back(), "result: delivered to the gateway itself: IKE, for the IKE process");
}

// --- NAT ---

TEST_F(IkeDatagramTest, SessionsKnowBothDirections) {
  Configured parts;
  parts.sessions = "always";
  apply(parts);
  from_wan(from_peer_udp(Layer::kIpv4, kPort, kPort, message_of(60)));
  send(Layer::kIpv4, kPort, message_of(70));
  expect_sent(only(to_wan()), Layer::kIpv4, kPort, message_of(70));
  from_wan(from_peer_udp(Layer::kIpv4, kPort, kPort, message_of(80)));
  EXPECT_EQ(received().size(), 2u);
}

// --- Ways ---

TEST_F(IkeDatagramTest, AWayIsTheAddressOfTheRoutesInterface) {
  apply({});
  const auto way = [&](const char* remote) {
    return ask<message::IkeWayIs>(message::IkeWay{.remote = address(remote)}).local;
  };
  EXPECT_EQ(way("198.51.100.9"), address("203.0.113.1"));
  EXPECT_EQ(way("192.168.10.45"), address("192.168.10.1"));
  EXPECT_EQ(way("2001:db8:77::1"), address("2001:db8:ff::1"));
  apply({.routes = R"({ prefix = "198.51.100.0/24"; blackhole = true; })"});
  EXPECT_TRUE(way("198.51.100.9").is_unspecified());
}

}  // namespace
}  // namespace espalier::test
