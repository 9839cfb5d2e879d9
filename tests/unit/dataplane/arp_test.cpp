// The life of a neighbour: resolving, ageing, learning, answering.
#include <gtest/gtest.h>

#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/neighbor_fixture.hpp"

namespace espalier::dataplane {
namespace {

// --- Resolving ---

TEST_F(NeighborTest, PacketsWaitForTheAnswerInOrder) {
  for (int i = 0; i < 3; ++i) send_to(kHost);
  EXPECT_EQ(take_frames(), Frames{question(kHost)});
  EXPECT_EQ(take_ready(), Numbers{});
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kUnresolved);
  EXPECT_EQ(rows().at(0).queued_packets, 3);
  receive_reply(kHost, kHostMac);
  ASSERT_EQ(out_.ready.size(), 3u);
  EXPECT_EQ(packet(out_.ready[0]).neighbor, table_.find(kLan, kHost).value);
  EXPECT_EQ(take_ready(), (Numbers{1, 2, 3}));
  MacAddress mac;
  EXPECT_EQ(seen_by_worker(kHost, &mac), NeighborTable::State::kUsable);
  EXPECT_EQ(mac, kHostMac);
  EXPECT_EQ(state(), NeighborState::kReachable);
  send_to(kHost);
  EXPECT_EQ(take_ready(), Numbers{4});
  EXPECT_EQ(take_frames(), Frames{});
  EXPECT_EQ(resolver_.queued_packets(), 0u);
}

TEST_F(NeighborTest, AfterThreeQuestionsTheNeighbourFailedForASecond) {
  send_to(kHost);
  tick_to(2900);
  EXPECT_EQ(take_frames(), Frames(3, question(kHost)));
  EXPECT_EQ(take_dropped(DropReason::kNone), Numbers{});
  tick_to(3000);
  EXPECT_EQ(take_dropped(DropReason::kNeighborUnresolved), Numbers{1});
  EXPECT_EQ(state(), NeighborState::kFailed);
  send_to(kHost);
  EXPECT_EQ(take_dropped(DropReason::kNeighborUnresolved), Numbers{2});
  EXPECT_EQ(take_frames(), Frames{}) << "no new question for what just failed";
  tick_to(4000);
  EXPECT_EQ(state(), std::nullopt);
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kGone);
  send_to(kHost);
  EXPECT_EQ(take_frames(), Frames{question(kHost)});
}

TEST_F(NeighborTest, AFailedNeighbourThatSpeaksIsBack) {
  send_to(kHost);
  tick_to(3000);
  EXPECT_EQ(take_dropped(DropReason::kNeighborUnresolved), Numbers{1});
  receive_reply(kHost, kHostMac);
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kUsable);
  tick_to(10'000);
  EXPECT_EQ(state(), NeighborState::kReachable);
}

TEST_F(NeighborTest, AQueueKeepsTheNewestAndThereIsATotalBound) {
  for (size_t i = 0; i < NeighborResolver::kQueuedPackets + 2; ++i) send_to(kHost);
  EXPECT_EQ(take_dropped(DropReason::kNeighborQueueFull), (Numbers{1, 2}));
  receive_reply(kHost, kHostMac);
  EXPECT_EQ(take_ready().front(), 3);

  for (uint32_t i = 0; i < 200; ++i)
    for (size_t k = 0; k < NeighborResolver::kQueuedPackets && sent_ < 1500; ++k)
      send_to(Ipv4Address::from_host(kLanIp.host() + 1 + i));
  EXPECT_EQ(resolver_.queued_packets(), NeighborResolver::kQueuedPacketsTotal);
  EXPECT_EQ(take_dropped(DropReason::kNeighborQueueFull).size(),
            1500u - 10 - NeighborResolver::kQueuedPacketsTotal - take_ready().size());
  tick_for(3000);
  EXPECT_EQ(resolver_.queued_packets(), 0u);
  EXPECT_EQ(take_dropped(DropReason::kNeighborUnresolved).size(), NeighborResolver::kQueuedPacketsTotal);
}

TEST_F(NeighborTest, AScanMakesABoundedNumberOfEntries) {
  resolve_host();
  for (uint32_t i = 0; i < NeighborResolver::kMaxUnresolved + 100; ++i) {
    send_to(Ipv4Address::from_host(0x0a000000 + i));
    for (rte_mbuf* mbuf : std::exchange(out_.dropped, {})) rte_pktmbuf_free(mbuf);
  }
  EXPECT_EQ(take_frames().size(), NeighborResolver::kMaxUnresolved);
  send_to(kHost2);
  EXPECT_EQ(take_dropped(DropReason::kNeighborQueueFull).size(), 1u);
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kUsable) << "who was there stays";
  tick_for(4000);
  EXPECT_EQ(rows().size(), 1u);
  take_dropped(DropReason::kNeighborUnresolved);
  take_frames();
  send_to(kHost2);
  EXPECT_EQ(take_frames(), Frames{question(kHost2)}) << "what failed makes room";
}

TEST_F(NeighborTest, NothingIsAskedWhereThereIsNoWire) {
  wan_link_.up = false;
  send_to(parse_address("203.0.113.9"), kWan);
  send_to(kHost, kDummy);
  send_to(kHost, InterfaceIndex(77));
  send_to(kHost, kNoInterface);
  EXPECT_EQ(take_dropped(DropReason::kEgressDown), (Numbers{1, 2, 3, 4}));
  EXPECT_EQ(take_frames(), Frames{});
}

// --- Ageing ---

TEST_F(NeighborTest, AUsedNeighbourIsProbedBeforeItIsForgotten) {
  resolve_host();
  tick_to(30'000);
  EXPECT_EQ(state(), NeighborState::kStale);
  tick_to(60'000);
  EXPECT_EQ(take_frames(), Frames{}) << "nobody uses it";
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kUsable);  // this is a use
  tick_for(1000);
  EXPECT_EQ(state(), NeighborState::kProbe);
  EXPECT_EQ(take_frames(), Frames{probe(kHost, kHostMac)});
  receive_reply(kHost, kHostMac);
  EXPECT_EQ(state(), NeighborState::kReachable);
  EXPECT_EQ(rows().at(0).age_s, 0u);
}

TEST_F(NeighborTest, AnUnansweredProbeIsFollowedByQuestionsToAll) {
  resolve_host();
  tick_to(30'000);
  seen_by_worker(kHost);
  tick_for(1000);
  ASSERT_EQ(state(), NeighborState::kProbe);
  tick_for(2900);
  EXPECT_EQ(take_frames(), Frames(3, probe(kHost, kHostMac)));
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kUsable) << "used while it is probed";
  tick_for(100);
  EXPECT_EQ(state(), NeighborState::kIncomplete);
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kUnresolved);
  EXPECT_EQ(take_frames(), Frames{question(kHost)});
  send_to(kHost);
  tick_for(3000);
  EXPECT_EQ(take_frames(), Frames(2, question(kHost)));
  EXPECT_EQ(take_dropped(DropReason::kNeighborUnresolved).size(), 1u);
  tick_for(1000);
  EXPECT_EQ(state(), std::nullopt);
}

TEST_F(NeighborTest, AnUnusedNeighbourIsForgottenAfterFiveMinutes) {
  resolve_host();
  tick_to(299'000);
  EXPECT_EQ(state(), NeighborState::kStale);
  tick_to(302'000);
  EXPECT_EQ(state(), std::nullopt);
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kGone);
}

TEST_F(NeighborTest, UseWhileReachableCountsAndNeedsNoProbe) {
  resolve_host();
  tick_to(20'000);
  seen_by_worker(kHost);
  tick_to(325'000);
  EXPECT_EQ(take_frames(), Frames{});
  EXPECT_EQ(state(), NeighborState::kStale);
  tick_to(332'000);
  EXPECT_EQ(state(), std::nullopt);
}

// --- Learning ---

TEST_F(NeighborTest, ARequestForUsTeachesItsSender) {
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, kLanIp));
  EXPECT_EQ(take_frames(),
            Frames{frame(kLan, kHostMac, test::arp(kReply, kLanMac, kLanIp, kHostMac, kHost))});
  EXPECT_EQ(state(), NeighborState::kStale);
  send_to(kHost);
  EXPECT_EQ(take_ready(), Numbers{1});
}

TEST_F(NeighborTest, ARequestAnswersOurQuestionAsWell) {
  send_to(kHost);
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, kLanIp));
  EXPECT_EQ(take_ready(), Numbers{1});
}

TEST_F(NeighborTest, UnaskedArpMakesNoEntries) {
  receive_reply(kHost, kHostMac);
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, kHost));                      // announces itself
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, kHost2));                     // asks for another
  receive(kLan, test::arp(kRequest, kHostMac, parse_address("8.8.8.8"), {}, kLanIp));  // not of this network
  EXPECT_EQ(rows().size(), 0u);
  EXPECT_EQ(take_frames().size(), 1u) << "an answer is sent to any address, as Linux does";
}

TEST_F(NeighborTest, AFloodOfRequestsLeavesRoomForOurOwnQuestions) {
  auto wide = interfaces();
  wide[0].addresses[0].prefix = IpPrefix::of(kLanIp, 8);
  reconfigure(wide);
  for (uint32_t i = 0; i < NeighborResolver::kMaxToLearn + 1000; ++i) {
    receive(kLan, test::arp(kRequest, kHostMac, Ipv4Address::from_host(0xc0000001 + i), {}, kLanIp));
    out_.frames.clear();
  }
  std::vector<message::NeighborRow> all(40'000);
  uint64_t next;
  EXPECT_EQ(resolver_.rows(0, 0, all, next), NeighborResolver::kMaxToLearn);
  send_to(kHost);
  EXPECT_EQ(take_frames(), Frames{question(kHost)});
}

TEST_F(NeighborTest, AnEntryFollowsAnAnnouncedMac) {
  resolve_host();
  receive(kLan, test::arp(kRequest, kOtherMac, kHost, {}, kHost));
  MacAddress mac;
  seen_by_worker(kHost, &mac);
  EXPECT_EQ(mac, kOtherMac);
  EXPECT_EQ(state(), NeighborState::kStale) << "not confirmed by an answer";
}

TEST_F(NeighborTest, OnlyAnAnswerToUsConfirms) {
  send_to(kHost);
  receive(kLan, test::arp(kReply, kHostMac, kHost, kBroadcast, kLanIp));
  EXPECT_EQ(take_ready(), Numbers{1});
  EXPECT_EQ(state(), NeighborState::kStale);
}

TEST_F(NeighborTest, WhatIsKnownAlreadyDoesNotMakeANeighbourStale) {
  resolve_host();
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, kHost));
  EXPECT_EQ(state(), NeighborState::kReachable);
}

TEST_F(NeighborTest, NeighboursOfTwoInterfacesAreApart) {
  resolve_host();
  receive(kWan, test::arp(kReply, kOtherMac, kHost, kWanMac, kWanIp));
  MacAddress mac;
  EXPECT_EQ(seen_by_worker(kHost, &mac), NeighborTable::State::kUsable);
  EXPECT_EQ(mac, kHostMac);
}

// --- Answering ---

TEST_F(NeighborTest, AnyOwnAddressIsAnsweredOnAnyInterfaceAsWithLinux) {
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, kWanIp));
  EXPECT_EQ(take_frames(),
            Frames{frame(kLan, kHostMac, test::arp(kReply, kLanMac, kWanIp, kHostMac, kHost))});
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, kHost2));
  EXPECT_EQ(take_frames(), Frames{});
}

TEST_F(NeighborTest, AProbeForAnOwnAddressIsAnsweredAndTeachesNothing) {
  receive(kLan, test::arp(kRequest, kHostMac, kZero, {}, kLanIp));
  EXPECT_EQ(take_frames(),
            Frames{frame(kLan, kHostMac, test::arp(kReply, kLanMac, kLanIp, kHostMac, kZero))});
  EXPECT_EQ(rows().size(), 0u);
}

TEST_F(NeighborTest, SomebodyWithOurAddressIsReportedAndNotBelieved) {
  receive(kLan, test::arp(kRequest, kHostMac, kLanIp, {}, kLanIp));
  receive(kLan, test::arp(kReply, kHostMac, kLanIp, kLanMac, kLanIp));
  ASSERT_EQ(out_.conflicts.size(), 2u);
  EXPECT_EQ(out_.conflicts[0].address, kLanIp);
  EXPECT_EQ(out_.conflicts[0].mac, kHostMac);
  EXPECT_EQ(out_.conflicts[0].interface, kLan);
  EXPECT_EQ(rows().size(), 0u);
  EXPECT_EQ(take_frames(), Frames{});
  receive(kLan, test::arp(kRequest, kWanMac, kWanIp, {}, kHost));  // our own frame from the other port
  EXPECT_EQ(out_.conflicts.size(), 2u);
  EXPECT_EQ(resolver_.counters().conflicts, 2u);
}

TEST_F(NeighborTest, MalformedArpChangesNothing) {
  send_to(kHost);
  take_frames();
  const Bytes good = test::arp(kReply, kHostMac, kHost, kLanMac, kLanIp);
  std::vector<Bytes> bad;
  for (size_t length = 0; length < good.size(); ++length)
    bad.emplace_back(good.begin(), good.begin() + static_cast<long>(length));
  const auto with = [&](size_t offset, uint16_t value) {
    Bytes packet = good;
    test::put16(packet, offset, value);
    bad.push_back(packet);
  };
  with(0, 6);       // hardware: IEEE 802
  with(2, 0x86dd);  // protocol: IPv6
  with(4, 0x0804);  // lengths
  with(4, 0x0610);
  with(6, 0);  // operations
  with(6, 3);
  with(6, 8);
  with(8, 0x0300);   // the sender's MAC address is a group's
  with(14, 0xe000);  // sender addresses that no host has
  with(14, 0x7f00);
  bad.push_back(test::arp(kReply, kBroadcast, kHost, kLanMac, kLanIp));
  bad.push_back(test::arp(kReply, {}, kHost, kLanMac, kLanIp));
  bad.push_back(test::arp(kReply, kHostMac, parse_address("255.255.255.255"), kLanMac, kLanIp));
  for (const Bytes& packet : bad) receive(kLan, packet);
  EXPECT_EQ(resolver_.counters().malformed, bad.size());
  EXPECT_EQ(state(), NeighborState::kIncomplete);
  EXPECT_EQ(take_frames(), Frames{});
  Bytes padded = good;
  padded.resize(46);
  receive(kLan, padded);
  EXPECT_EQ(state(), NeighborState::kReachable);
}

TEST_F(NeighborTest, ArpFromNowhereIsIgnored) {
  link_.up = false;
  const Bytes request = test::arp(kRequest, kHostMac, kHost, {}, kLanIp);
  for (const InterfaceIndex in : {kLan, kDummy, InterfaceIndex(50), kNoInterface}) receive(in, request);
  EXPECT_EQ(take_frames(), Frames{});
  EXPECT_EQ(rows().size(), 0u);
}

}  // namespace
}  // namespace espalier::dataplane
