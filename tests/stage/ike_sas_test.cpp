// SAs that an IKE process installs, rekeys, moves and removes while traffic goes on.
#include "tests/stage/ike_fixture.hpp"

namespace espalier::test {
namespace {

class IkeSasTest : public IkeTest {
 protected:
  // One packet each way by the SAs with these SPIs; which must arrive.
  void expect_traffic(const EspKey& out, uint64_t out_number, const EspKey& in, uint64_t in_number) {
    from_lan(outbound(Layer::kIpv4, 80));
    const Bytes sent = only(to_wan());
    if (sent.empty()) return;
    EXPECT_EQ(get32(sent, 20), out.spi);
    EXPECT_EQ(open(out, kPlain, sent).sequence, out_number);
    from_wan(sealed_tunnel(in, in_number, kPlain, inbound(Layer::kIpv4, 80)));
    EXPECT_EQ(to_lan().size(), 1u) << "SPI " << in.spi;
  }
  void install_pair(uint32_t generation) {
    const auto seed = static_cast<uint8_t>(2 * generation);
    expect_done(sa(0x3000 + generation, Direction::kIn, static_cast<uint8_t>(seed + 1)));
    expect_done(sa(0x2000 + generation, Direction::kOut, seed));
  }
  static EspKey out_key(uint32_t generation) {
    return key(0x2000 + generation, static_cast<uint8_t>(2 * generation));
  }
  static EspKey in_key(uint32_t generation) {
    return key(0x3000 + generation, static_cast<uint8_t>(2 * generation + 1));
  }
};

TEST_F(IkeSasTest, TheyComeAndGoWithoutAConfiguration) {
  apply(policies());
  expect_drop(DropReason::kOutNoState, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
  install_pair(1);
  expect_traffic(out_key(1), 1, in_key(1), 1);
  install_pair(1);  // once more
  expect_traffic(out_key(1), 2, in_key(1), 2);
  expect_done(removal(sa(0x2001, Direction::kOut, 2)));
  expect_drop(DropReason::kOutNoState, [&] { from_lan(outbound(Layer::kIpv4, 80)); });
  expect_done(removal(sa(0x3001, Direction::kIn, 3)));
  expect_drop(DropReason::kEspNoState,
              [&] { from_wan(sealed_tunnel(in_key(1), 3, kPlain, inbound(Layer::kIpv4, 80))); });
  expect_done(removal(sa(0x3001, Direction::kIn, 3)));  // is gone: done
}

// RFC 7296 section 2.8: inbound, outbound, then the old ones go. Seven generations, no packet is lost.
TEST_F(IkeSasTest, RekeysLoseNothing) {
  apply(policies());
  install_pair(1);
  std::map<uint32_t, uint64_t> sent, received;  // by generation
  const auto traffic = [&](uint32_t out, uint32_t in) {
    for (int i = 0; i < 3; ++i) expect_traffic(out_key(out), ++sent[out], in_key(in), ++received[in]);
  };
  for (uint32_t g = 2; g < 8; ++g) {
    traffic(g - 1, g - 1);
    expect_done(sa(0x3000 + g, Direction::kIn, static_cast<uint8_t>(2 * g + 1)));
    traffic(g - 1, g);
    expect_done(sa(0x2000 + g, Direction::kOut, static_cast<uint8_t>(2 * g)));
    traffic(g, g - 1);
    expect_done(removal(sa(0x2000 + g - 1, Direction::kOut, 0)));
    traffic(g, g - 1);
    expect_done(removal(sa(0x3000 + g - 1, Direction::kIn, 0)));
    traffic(g, g);
  }
  EXPECT_EQ(drops(DropReason::kOutNoState), 0u);
}

TEST_F(IkeSasTest, ARoundOfInstallationsIsOneChange) {
  apply(policies());
  std::vector<uint64_t> ids;
  for (uint32_t i = 0; i < 10; ++i)
    ids.push_back(post(sa(0x2000 + i, Direction::kOut, static_cast<uint8_t>(i))));
  ids.push_back(post(removal(sa(0x2009, Direction::kOut, 9))));  // of what the same round brought
  ids.push_back(post(sa(0x2003, Direction::kOut, 3)));
  run();
  std::vector<uint64_t> answered;
  for (const auto& [id, each] : take()) {
    answered.push_back(id);
    EXPECT_TRUE(std::get<message::IkeAck>(each).ok);
  }
  EXPECT_EQ(answered, ids) << "in the order of the requests";
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(get32(only(to_wan()), 20), 0x2008u) << "the latest that is there";
}

// A nonce is never used twice, also where a removal and an installation are carried out once more.
TEST_F(IkeSasTest, AKeyThatComesBackGoesOnBehindItsNumbers) {
  apply(policies());
  install_pair(1);
  expect_traffic(out_key(1), 1, in_key(1), 1);
  expect_traffic(out_key(1), 2, in_key(1), 7);
  expect_done(removal(sa(0x2001, Direction::kOut, 2)));
  expect_done(removal(sa(0x3001, Direction::kIn, 3)));
  install_pair(1);
  for (const uint64_t replayed : {1, 7})
    expect_drop(DropReason::kEspReplay,
                [&] { from_wan(sealed_tunnel(in_key(1), replayed, kPlain, inbound(Layer::kIpv4, 80))); });
  expect_traffic(out_key(1), 3, in_key(1), 8);
}

// The peer chooses the SPI of what we send, and may choose the one that has just become free.
TEST_F(IkeSasTest, AnSpiIsUsedAgainAtOnce) {
  apply(policies());
  install_pair(1);
  const uint64_t removed = post(removal(sa(0x2001, Direction::kOut, 2)));
  const uint64_t installed = post(sa(0x2001, Direction::kOut, 9));
  run();
  for (const auto& [id, each] : take()) {
    const auto& ack = std::get<message::IkeAck>(each);
    EXPECT_TRUE(ack.ok) << ack.text.view();
    EXPECT_TRUE(id == removed || id == installed);
  }
  expect_traffic(key(0x2001, 9), 1, in_key(1), 1);
}

TEST_F(IkeSasTest, AConfigurationLeavesThemAlone) {
  apply(policies());
  install_pair(1);
  expect_traffic(out_key(1), 1, in_key(1), 1);
  Configured more = policies();
  more.routes = R"({ prefix = "198.51.100.0/24"; via = "203.0.113.254"; })";
  more.policies =
      list({policy("out", "192.168.10.0/24", "172.16.0.0/24", tmpl("203.0.113.1", "203.0.113.9", 5)),
            more.policies});
  apply(more);  // the policies' places are others now
  expect_traffic(out_key(1), 2, in_key(1), 2);
  apply(policies());
  expect_traffic(out_key(1), 3, in_key(1), 3);
}

TEST_F(IkeSasTest, StatesOfTheConfigurationAreNotTheirs) {
  apply(tunnel(gcm(), kPlain));
  message::IkeSaRemove remove{
      .spi = Spi(0x2001), .direction = Direction::kOut, .destination = address("203.0.113.2")};
  expect_done(remove);
  post(message::IkeBegin{});
  expect_done(message::IkeCommit{.sas = 0});
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(to_wan().size(), 1u) << "still there";
  expect_refused(sa(0x3001, Direction::kIn, 9), "another SA has this SPI");
  message::IkeSa stolen = sa(0x2002, Direction::kOut, 1);  // the key of the state
  expect_refused(stolen, "static");
  stolen.record.flags = kSaStaticKey;
  expect_refused(stolen, "static key");
}

TEST_F(IkeSasTest, WhatACommitDoesNotNameGoes) {
  apply(policies());
  install_pair(1);
  install_pair(2);
  connect();
  post(message::IkeBegin{});
  post(sa(0x3001, Direction::kIn, 3));
  post(sa(0x2001, Direction::kOut, 2));
  run();
  expect_refused(message::IkeCommit{.sas = 3}, "3 SAs were named");
  expect_traffic(out_key(2), 1, in_key(2), 1);
  post(message::IkeBegin{});
  post(sa(0x3001, Direction::kIn, 3));
  post(sa(0x2001, Direction::kOut, 2));
  expect_done(message::IkeCommit{.sas = 2});
  expect_traffic(out_key(1), 1, in_key(1), 1);
  expect_drop(DropReason::kEspNoState,
              [&] { from_wan(sealed_tunnel(in_key(2), 2, kPlain, inbound(Layer::kIpv4, 80))); });
  expect_refused(message::IkeCommit{.sas = 0}, "without a begin");
}

// --- What the IKE process is told ---

TEST_F(IkeSasTest, APacketWithoutAnSaIsTold) {
  apply(policies());
  from_lan(outbound(Layer::kIpv4, 80));
  const auto wants = take_all<message::IkeAcquire>();
  ASSERT_EQ(wants.size(), 1u);
  EXPECT_EQ(wants[0].reqid, Reqid(kReqid));
  EXPECT_EQ(wants[0].vti, kNoInterface);
  EXPECT_EQ(wants[0].tuple.destination, address("10.10.10.55"));
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(take_all<message::IkeAcquire>().size(), 0u) << "once a second";
}

// A tunnel that is down and has much traffic must not keep another one from coming up.
TEST_F(IkeSasTest, WantsOfEveryTunnelAreTold) {
  Configured parts = policies();
  parts.policies = list({parts.policies, policy("out", "192.168.10.0/24", "10.20.20.0/24",
                                                tmpl("203.0.113.1", "203.0.113.2", kReqid + 1))});
  apply(parts);
  from_lan(outbound(Layer::kIpv4, 80));
  from_lan(udp("192.168.10.45:1000", "10.20.20.1:9").payload(Bytes(20, 0)).bytes());
  from_lan(outbound(Layer::kIpv4, 80));
  const auto wants = take_all<message::IkeAcquire>();
  ASSERT_EQ(wants.size(), 2u);
  EXPECT_EQ(wants[1].reqid, Reqid(kReqid + 1));
}

TEST_F(IkeSasTest, LimitsAreToldAndNotToEspalierd) {
  apply(policies());
  message::IkeSa limited = sa(0x2001, Direction::kOut, 2);
  limited.record.limits.soft_packets = 2;
  limited.record.limits.hard_packets = 3;
  expect_done(limited);
  std::vector<message::IkeExpire> expired;
  for (int i = 0; i < 5; ++i) {
    from_lan(outbound(Layer::kIpv4, 80));
    bed_->advance_time(std::chrono::milliseconds(200));
    for (const auto& each : take_all<message::IkeExpire>()) expired.push_back(each);
  }
  EXPECT_EQ(to_wan().size(), 3u);
  ASSERT_EQ(expired.size(), 2u);
  EXPECT_EQ(expired[0].hard, 0);
  EXPECT_EQ(expired[1].hard, 1);
  EXPECT_EQ(expired[1].spi, Spi(0x2001));
  EXPECT_EQ(expired[1].destination, address("203.0.113.2"));
  // A new process hears it again when it has said what it has.
  connect();
  post(message::IkeBegin{});
  post(limited);
  post(message::IkeCommit{.sas = 1});
  run();
  bed_->advance_time(std::chrono::milliseconds(200));
  EXPECT_EQ(take_all<message::IkeExpire>().size(), 2u);
}

TEST_F(IkeSasTest, TheLimitsOfAnSpisNextSaAreToldAsWell) {
  apply(policies());
  for (const uint8_t seed : {2, 9}) {
    message::IkeSa limited = sa(0x2001, Direction::kOut, seed);
    limited.record.limits.soft_packets = 1;
    expect_done(limited);
    from_lan(outbound(Layer::kIpv4, 80));
    bed_->advance_time(std::chrono::milliseconds(200));
    EXPECT_EQ(take_all<message::IkeExpire>().size(), 1u);
    expect_done(removal(limited));
  }
}

// RFC 4303 section 3.3.3.
TEST_F(IkeSasTest, NumbersThatRunShortAreALimit) {
  apply(policies());
  message::IkeSa used = sa(0x2001, Direction::kOut, 2);
  used.record.last_sequence = 0xe666'6000;
  expect_done(used);
  bed_->advance_time(std::chrono::milliseconds(200));
  EXPECT_EQ(take_all<message::IkeExpire>().size(), 0u);
  expect_done(removal(used));
  used.record.last_sequence = 0xe800'0000;
  expect_done(used);
  bed_->advance_time(std::chrono::milliseconds(200));
  const auto expired = take_all<message::IkeExpire>();
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].hard, 0);
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(to_wan().size(), 1u);
}

TEST_F(IkeSasTest, AnsweredWhenItWasUsedLast) {
  apply(policies());
  install_pair(1);
  const auto ask_use = [&] { return ask<message::IkeSaUse>(message::IkeSaAsk{.spi = Spi(0x3001)}); };
  EXPECT_EQ(ask_use().known, 1);
  EXPECT_EQ(ask_use().used, 0);
  expect_traffic(out_key(1), 1, in_key(1), 1);
  EXPECT_EQ(ask_use().used, 1);
  EXPECT_EQ(ask_use().packets, 1u);
  EXPECT_LE(ask_use().idle_ms, 1000u);
  EXPECT_EQ(ask<message::IkeSaUse>(message::IkeSaAsk{.spi = Spi(0x9999)}).known, 0);
}

// --- VTI, moves, encapsulation ---

class IkeVtiTest : public IkeSasTest {
 protected:
  static Configured vtis(std::initializer_list<int> numbers) {
    Configured parts;
    for (const int n : numbers)
      parts.interfaces += fmt::format(R"(vti{0} = {{ type = "vti"; address = "10.40.{0}.1/30"; }}; )", n);
    parts.routes =
        fmt::format(R"({{ prefix = "10.10.10.0/24"; interface = "vti{}"; }})", *(numbers.end() - 1));
    return parts;
  }
  // lan0 and wan0 are 0 and 1.
  static message::IkeSa by_vti(uint16_t index, Direction direction, uint8_t seed) {
    message::IkeSa made = sa(direction == Direction::kOut ? 0x2001 : 0x3001, direction, seed);
    made.record.vti = InterfaceIndex(index);
    return made;
  }
  void install_by_vti(uint16_t index) {
    expect_done(by_vti(index, Direction::kIn, 3));
    expect_done(by_vti(index, Direction::kOut, 2));
  }
};

TEST_F(IkeVtiTest, AVtiIsUpWhileItHasSas) {
  apply(vtis({1}));
  from_lan(outbound(Layer::kIpv4, 80));
  const auto wants = take_all<message::IkeAcquire>();
  ASSERT_EQ(wants.size(), 1u);
  EXPECT_EQ(wants[0].vti, InterfaceIndex(2));
  EXPECT_EQ(to_wan().size(), 0u);
  to_lan();
  install_by_vti(2);
  expect_traffic(out_key(1), 1, in_key(1), 1);
  expect_done(removal(sa(0x3001, Direction::kIn, 3)));
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(to_wan().size(), 0u);
}

TEST_F(IkeVtiTest, TheyFollowTheirVtiByItsName) {
  apply(vtis({3}));
  install_by_vti(2);
  expect_traffic(out_key(1), 1, in_key(1), 1);
  apply(vtis({1, 3}));  // vti3 is the fourth now
  expect_traffic(out_key(1), 2, in_key(1), 2);
  apply(vtis({3}));
  expect_traffic(out_key(1), 3, in_key(1), 3);
  take();
  apply(vtis({1}));
  const auto gone = take_all<message::IkeExpire>();
  ASSERT_EQ(gone.size(), 2u);
  EXPECT_EQ(gone[0].hard, 1);
  expect_drop(DropReason::kEspNoState,
              [&] { from_wan(sealed_tunnel(in_key(1), 4, kPlain, inbound(Layer::kIpv4, 80))); });
  expect_refused(by_vti(1, Direction::kIn, 3), "no vti");
}

TEST_F(IkeVtiTest, MovedSasGoOnWithTheirNumbers) {
  apply(vtis({1}));
  install_by_vti(2);
  expect_traffic(out_key(1), 1, in_key(1), 1);
  // The peer is behind a NAT now, at another address.
  expect_done(message::IkeSaMove{.spi = Spi(0x2001),
                                 .direction = Direction::kOut,
                                 .destination = address("203.0.113.2"),
                                 .new_source = address("203.0.113.1"),
                                 .new_destination = address("203.0.113.254"),
                                 .new_source_port = 4500,
                                 .new_destination_port = 1025});
  expect_done(message::IkeSaMove{.spi = Spi(0x3001),
                                 .direction = Direction::kIn,
                                 .destination = address("203.0.113.1"),
                                 .new_source = address("203.0.113.254"),
                                 .new_destination = address("203.0.113.1"),
                                 .new_source_port = 1025,
                                 .new_destination_port = 4500});
  from_lan(outbound(Layer::kIpv4, 80));
  const Bytes sent = only(to_wan());
  ASSERT_GT(sent.size(), 32u);
  EXPECT_EQ(get32(sent, 16), parse_address("203.0.113.254").host());
  EXPECT_EQ(get16(sent, 20), 4500);
  EXPECT_EQ(get16(sent, 22), 1025);
  EXPECT_EQ(get32(sent, 32), 2u) << "the number goes on";
  const auto moved = [&](uint64_t number) {
    const Bytes esp = seal_esp(in_key(1), number, inbound(Layer::kIpv4, 80));
    return ip(kProtoUdp, "203.0.113.254", "203.0.113.1", udp_of(1025, 4500, esp)).bytes();
  };
  expect_drop(DropReason::kEspReplay, [&] { from_wan(moved(1)); });
  from_wan(moved(2));
  EXPECT_EQ(to_lan().size(), 1u);
  expect_done(removal(by_vti(2, Direction::kIn, 3)));
  expect_refused(message::IkeSaMove{.spi = Spi(0x2001),
                                    .direction = Direction::kOut,
                                    .destination = address("203.0.113.2"),
                                    .new_source = address("203.0.113.1"),
                                    .new_destination = address("203.0.113.2")},
                 "there is none");
}

TEST_F(IkeVtiTest, AnOldSaThatMovesDoesNotBecomeTheNewest) {
  apply(vtis({1}));
  install_by_vti(2);
  message::IkeSa newer = by_vti(2, Direction::kOut, 4);
  newer.record.spi = Spi(0x2002);
  expect_done(newer);
  expect_done(message::IkeSaMove{.spi = Spi(0x2001),
                                 .direction = Direction::kOut,
                                 .destination = address("203.0.113.2"),
                                 .new_source = address("203.0.113.1"),
                                 .new_destination = address("203.0.113.254")});
  expect_traffic(out_key(2), 1, in_key(1), 1);
}

// Whom a datagram reaches may send by the SAs that came before it: here it needs one of them itself.
TEST_F(IkeVtiTest, ADatagramDoesNotOvertakeTheSasBeforeIt) {
  apply(vtis({1}));
  post(by_vti(2, Direction::kIn, 3));
  post(by_vti(2, Direction::kOut, 2));
  message::IkeSend send;
  send.part.local = address("203.0.113.1");
  send.part.remote = address("10.10.10.55");
  send.part.local_port = send.part.remote_port = 500;
  send.part.total_bytes = send.part.part_bytes = 100;
  post(send);
  for (uint32_t i = 0; i < 50; ++i) post(sa(0x4000 + i, Direction::kIn, 5));  // takes its time
  bed_->run_main_beside_workers();
  run();
  EXPECT_EQ(to_wan().size(), 1u);
}

class IkeMappingTest : public IkeVtiTest {
 protected:
  static message::IkeSa behind_nat() {
    message::IkeSa in = by_vti(2, Direction::kIn, 3);
    in.record.flags = kSaEncap | kSaMapping;
    in.record.encap_source_port = in.record.encap_destination_port = 4500;
    return in;
  }
  void from_another_place(uint64_t number) {
    const Bytes esp = seal_esp(in_key(1), number, inbound(Layer::kIpv4, 80));
    from_wan(ip(kProtoUdp, "203.0.113.77", "203.0.113.1", udp_of(1030, 4500, esp)).bytes());
    EXPECT_EQ(to_lan().size(), 1u);
    bed_->advance_time(std::chrono::milliseconds(200));
  }
  void expect_told() {
    const auto moved = take_all<message::IkeMapping>();
    ASSERT_EQ(moved.size(), 1u);
    EXPECT_EQ(moved[0].spi, Spi(0x3001));
    EXPECT_EQ(moved[0].port, 1030);
    EXPECT_EQ(moved[0].address, address("203.0.113.77"));
  }
};

// The process that was told may have died before it did something about it.
TEST_F(IkeMappingTest, ANewProcessIsToldAgain) {
  apply(vtis({1}));
  expect_done(behind_nat());
  from_another_place(1);
  connect();
  post(message::IkeBegin{});
  post(behind_nat());
  expect_done(message::IkeCommit{.sas = 1});
  bed_->advance_time(std::chrono::milliseconds(200));
  expect_told();
  bed_->advance_time(std::chrono::milliseconds(200));
  EXPECT_EQ(take().size(), 0u) << "once";
}

// RFC 7296 section 2.23: only with replay protection.
TEST_F(IkeMappingTest, WithoutAReplayWindowNobodyMoves) {
  apply(vtis({1}));
  message::IkeSa in = behind_nat();
  in.record.replay_window = 0;
  expect_done(in);
  from_another_place(1);
  from_another_place(1);
  EXPECT_EQ(take().size(), 0u);
}

TEST_F(IkeMappingTest, AnotherPortOfThePeerIsTold) {
  apply(vtis({1}));
  message::IkeSa in = behind_nat();
  expect_done(in);
  from_another_place(1);
  expect_told();
  in.record.spi = Spi(0x3002);
  in.record.encap_destination_port = 4501;
  expect_refused(in, "own port");
}

}  // namespace
}  // namespace espalier::test
