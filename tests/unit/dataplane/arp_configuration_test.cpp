// The resolver when links and configuration change, and its rows for `show neighbors`.
#include <gtest/gtest.h>

#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/neighbor_fixture.hpp"

namespace espalier::dataplane {
namespace {

// --- Links and configuration ---

TEST_F(NeighborTest, AddressesAreAnnouncedWhenTheLinkComesUp) {
  resolve_host();
  send_to(kHost2);
  take_frames();
  link_.up = false;
  tick_for(100);
  EXPECT_EQ(rows().size(), 0u) << "neighbours behind a dead link are forgotten";
  EXPECT_EQ(take_dropped(DropReason::kEgressDown), Numbers{2});
  EXPECT_EQ(take_frames(), Frames{});
  link_.up = true;
  tick_for(100);
  EXPECT_EQ(take_frames(), Frames{frame(kLan, kBroadcast, test::arp(kRequest, kLanMac, kLanIp, {}, kLanIp))});
  tick_for(1000);
  EXPECT_EQ(take_frames(), Frames{});
}

TEST_F(NeighborTest, ANewAddressIsAnnouncedOnce) {
  auto changed = interfaces();
  const Ipv4Address added = parse_address("192.168.10.2");
  changed[0].addresses.push_back(IpPrefix::of(added, 24));
  reconfigure(changed);
  tick_for(1000);
  EXPECT_EQ(take_frames(), Frames{frame(kLan, kBroadcast, test::arp(kRequest, kLanMac, added, {}, added))});
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, added));
  EXPECT_EQ(take_frames().size(), 1u);
}

TEST_F(NeighborTest, ANewAddressWaitsForTheLink) {
  link_.up = false;
  tick_for(100);
  auto changed = interfaces();
  changed[0].addresses.push_back(IpPrefix::of(parse_address("192.168.10.2"), 24));
  reconfigure(changed);
  tick_for(100);
  EXPECT_EQ(take_frames(), Frames{});
  link_.up = true;
  tick_for(100);
  EXPECT_EQ(take_frames().size(), 2u);
}

TEST_F(NeighborTest, TheQuestionComesFromTheNeighboursNetwork) {
  auto changed = interfaces();
  changed[0].addresses.push_back(IpPrefix::of(parse_address("172.16.0.1"), 16));
  reconfigure(changed);
  take_frames();
  const auto asks_as = [&](const char* target) {
    send_to(parse_address(target));
    ArpPacket packet;
    std::memcpy(&packet, out_.frames.back().payload.data(), sizeof packet);
    return packet.sender_ip;
  };
  EXPECT_EQ(asks_as("172.16.9.9"), parse_address("172.16.0.1"));
  EXPECT_EQ(asks_as("192.168.10.9"), kLanIp);
  EXPECT_EQ(asks_as("198.51.100.1"), kLanIp) << "an interface route's neighbour";
}

TEST_F(NeighborTest, EntriesOfChangedInterfacesGoOthersStay) {
  resolve_host();
  const Ipv4Address peer = parse_address("203.0.113.2");
  send_to(peer, kWan);
  receive(kWan, test::arp(kReply, kOtherMac, peer, kWanMac, kWanIp));
  take_ready();
  auto renamed = interfaces();
  renamed[1].name.assign("eth7");
  reconfigure(renamed);
  EXPECT_EQ(seen_by_worker(kHost), NeighborTable::State::kUsable);
  EXPECT_EQ(seen_by_worker(peer, nullptr, kWan), NeighborTable::State::kGone);
  take_frames();
  tick_for(100);
  EXPECT_EQ(take_frames(), Frames{frame(kWan, kBroadcast, test::arp(kRequest, kWanMac, kWanIp, {}, kWanIp))})
      << "a new interface that is up";
  auto fewer = interfaces();
  fewer.erase(fewer.begin(), fewer.begin() + 3);
  reconfigure(fewer);
  EXPECT_EQ(rows().size(), 0u);
  tick_for(1000);
  receive(kLan, test::arp(kRequest, kHostMac, kHost, {}, kLanIp));
  EXPECT_EQ(rows().size(), 0u);
}

TEST_F(NeighborTest, StaticNeighboursFollowTheConfigurationOnly) {
  send_to(kHost);
  const NeighborRecord record{kLan, kHost, kHostMac};
  EXPECT_EQ(reconfigure(interfaces(), {record}), 0u);
  EXPECT_EQ(take_ready(), Numbers{1}) << "what waited goes";
  take_frames();
  receive_reply(kHost, kOtherMac);
  tick_to(1'000'000);
  MacAddress mac;
  EXPECT_EQ(seen_by_worker(kHost, &mac), NeighborTable::State::kUsable);
  EXPECT_EQ(mac, kHostMac);
  EXPECT_EQ(state(), NeighborState::kPermanent);
  EXPECT_EQ(take_frames(), Frames{});

  EXPECT_EQ(reconfigure(interfaces(), {{kLan, kHost, kOtherMac}}), 0u);
  seen_by_worker(kHost, &mac);
  EXPECT_EQ(mac, kOtherMac);
  link_.up = false;
  tick_for(100);
  link_.up = true;
  tick_for(100);
  EXPECT_EQ(state(), NeighborState::kPermanent) << "a link that flaps does not change the configuration";
  reconfigure(interfaces());
  EXPECT_EQ(rows().size(), 0u);
}

TEST_F(NeighborTest, StaticNeighboursWithoutAWireAreRefused) {
  EXPECT_EQ(
      reconfigure(interfaces(),
                  {{kDummy, kHost, kHostMac}, {InterfaceIndex(9), kHost, kHostMac}, {kLan, kHost, kHostMac}}),
      2u);
  EXPECT_EQ(state(), NeighborState::kPermanent);
}

TEST_F(NeighborTest, AStaticNeighbourGoesWithItsInterface) {
  const std::vector<NeighborRecord> statics{{kWan, kHost, kHostMac}};
  EXPECT_EQ(reconfigure(interfaces(), statics), 0u);
  auto fewer = interfaces();
  fewer.resize(1);
  EXPECT_EQ(reconfigure(fewer, statics), 1u);
  EXPECT_EQ(rows().size(), 0u);
}

// --- Rows ---

TEST_F(NeighborTest, RowsComeInPagesSortedByInterfaceAndAddress) {
  for (uint32_t i = 9; i > 0; --i) send_to(Ipv4Address::from_host(kHost.host() + i));
  const Ipv4Address peer = parse_address("1.0.0.1");
  send_to(peer, kWan);
  now_ms_ = 2500;
  std::vector<IpAddress> told;
  uint64_t cursor = 0;
  do {
    message::NeighborRow page[3];
    const size_t count = resolver_.rows(cursor, now_ms_, page, cursor);
    ASSERT_GT(count, 0u);
    for (size_t i = 0; i < count; ++i) {
      told.push_back(page[i].record.address);
      EXPECT_EQ(page[i].state, NeighborState::kIncomplete);
      EXPECT_EQ(page[i].queued_packets, 1);
      EXPECT_EQ(page[i].age_s, 2u);
    }
  } while (cursor != 0);
  ASSERT_EQ(told.size(), 10u);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end() - 1));
  EXPECT_EQ(told.back(), peer);
}

TEST_F(NeighborTest, WhatWaitsAtTheEndIsFreed) {
  send_to(kHost);
}

}  // namespace
}  // namespace espalier::dataplane
