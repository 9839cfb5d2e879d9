// The resolver on IPv6: asking, learning by RFC 4861 section 7.2.5, answering. What it has in common with ARP
// (ageing, queues, bounds) is tested there.
#include <gtest/gtest.h>

#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/nd_packets.hpp"
#include "tests/unit/dataplane/neighbor_fixture.hpp"

namespace espalier::dataplane {
namespace {

// eth0 and eth1 with IPv6 addresses that were checked.
class DiscoveryTest : public NeighborTest {
 protected:
  DiscoveryTest() {
    auto all = interfaces();
    all[0].addresses.push_back(prefix("2001:db8:1::1/64"));
    all[0].addresses.push_back(prefix("fe80::1/64"));
    all[1].addresses.push_back(prefix("2001:db8:2::1/64"));
    all[0].dad = all[1].dad = false;
    reconfigure(all);
    tick_for(100);
    out_ = {};
  }
  DropReason receive_nd(const NdPacket& packet, InterfaceIndex in = kLan) {
    return resolver_.handle_nd(in, packet.bytes(), 40, now_ms_, out_);
  }
  void resolve_v6() {
    send_to(host_);
    receive_nd(advertisement("2001:db8:1::45", "2001:db8:1::1", kSolicitedFlag | kOverrideFlag, kHostMac));
    take_frames();
    EXPECT_EQ(take_ready().size(), 1u);
  }
  MacAddress mac_seen() {
    MacAddress mac{};
    EXPECT_EQ(seen_by_worker(host_, &mac), NeighborTable::State::kUsable);
    return mac;
  }
  // Of an own question or answer, made by hand: the MAC option's bytes are ours.
  static Bytes question_v6(const char* source, const char* group, const char* target, const char* mac) {
    return frame(kLan, parse_mac(mac), solicitation(source, group, target, kLanMac).bytes());
  }
  static Bytes answer_v6(const char* target, const char* to, const MacAddress& mac, bool solicited) {
    NdPacket packet =
        advertisement(target, to, 0x80000000 | kOverrideFlag | (solicited ? kSolicitedFlag : 0), kLanMac);
    return frame(kLan, mac, packet.bytes());
  }
  const IpAddress host_ = ip("2001:db8:1::45");
};

TEST_F(DiscoveryTest, PacketsWaitForTheAnswer) {
  send_to(host_);
  send_to(host_);
  EXPECT_EQ(take_frames(),
            Frames{question_v6("2001:db8:1::1", "ff02::1:ff00:45", "2001:db8:1::45", "33:33:ff:00:00:45")});
  EXPECT_EQ(receive_nd(advertisement("2001:db8:1::45", "2001:db8:1::1", kSolicitedFlag, kHostMac)),
            DropReason::kUsedNd);
  EXPECT_EQ(take_ready(), (Numbers{1, 2}));
  EXPECT_EQ(state(), NeighborState::kReachable);
  EXPECT_EQ(mac_seen(), kHostMac);
}

TEST_F(DiscoveryTest, LinkLocalNeighboursAreAskedByTheLinkLocalAddress) {
  send_to(ip("fe80::45"));
  EXPECT_EQ(take_frames(),
            Frames{question_v6("fe80::1", "ff02::1:ff00:45", "fe80::45", "33:33:ff:00:00:45")});
}

TEST_F(DiscoveryTest, NobodyAnswers) {
  send_to(host_);
  tick_for(2900);
  EXPECT_EQ(take_frames().size(), 3u);
  tick_for(100);
  EXPECT_EQ(take_dropped(DropReason::kNeighborUnresolved), Numbers{1});
  EXPECT_EQ(seen_by_worker(host_), NeighborTable::State::kFailed);
}

TEST_F(DiscoveryTest, AUsedNeighbourIsProbedDirectly) {
  resolve_v6();
  tick_for(30'000);
  EXPECT_EQ(state(), NeighborState::kStale);
  mac_seen();
  tick_for(1000);
  EXPECT_EQ(state(), NeighborState::kProbe);
  EXPECT_EQ(take_frames(),
            Frames{question_v6("2001:db8:1::1", "2001:db8:1::45", "2001:db8:1::45", "02:00:00:00:aa:01")});
  // An answer to a unicast question need not repeat the MAC address (section 4.4).
  receive_nd(advertisement("2001:db8:1::45", "2001:db8:1::1", kSolicitedFlag));
  EXPECT_EQ(state(), NeighborState::kReachable);
  EXPECT_EQ(mac_seen(), kHostMac);
}

// Section 7.2.5 and appendix C, a row each.
TEST_F(DiscoveryTest, AdvertisementsThatChangeTheMacAddress) {
  struct Row {
    const char* what;
    uint32_t flags;
    std::optional<MacAddress> mac;
    NeighborState then;
    MacAddress mac_then;
  };
  const Row rows[] = {
      {"unasked, same", kOverrideFlag, kHostMac, NeighborState::kReachable, kHostMac},
      {"unasked, other", kOverrideFlag, kOtherMac, NeighborState::kStale, kOtherMac},
      {"unasked, other, no override", 0, kOtherMac, NeighborState::kStale, kHostMac},
      {"solicited, other, no override", kSolicitedFlag, kOtherMac, NeighborState::kStale, kHostMac},
      {"solicited, other", kSolicitedFlag | kOverrideFlag, kOtherMac, NeighborState::kReachable, kOtherMac},
      {"unasked, none", kOverrideFlag, std::nullopt, NeighborState::kReachable, kHostMac},
  };
  for (const Row& row : rows) {
    resolve_v6();
    const char* to = row.flags & kSolicitedFlag ? "2001:db8:1::1" : "ff02::1";
    receive_nd(advertisement("2001:db8:1::45", to, row.flags, row.mac));
    EXPECT_EQ(state(), row.then) << row.what;
    EXPECT_EQ(mac_seen(), row.mac_then) << row.what;
    link_.up = false;
    tick_for(100);
    link_.up = true;
    tick_for(100);
    take_frames();
  }
}

TEST_F(DiscoveryTest, AnIncompleteEntryNeedsAMacAddress) {
  send_to(host_);
  receive_nd(advertisement("2001:db8:1::45", "2001:db8:1::1", kSolicitedFlag));
  EXPECT_EQ(state(), NeighborState::kIncomplete);
  receive_nd(advertisement("2001:db8:1::45", "ff02::1", 0, kHostMac));
  EXPECT_EQ(state(), NeighborState::kStale) << "known, but not that it hears us";
  EXPECT_EQ(take_ready(), Numbers{1});
}

TEST_F(DiscoveryTest, UnaskedMessagesMakeNoEntries) {
  receive_nd(advertisement("2001:db8:1::45", "ff02::1", kOverrideFlag, kHostMac));
  receive_nd(solicitation("2001:db8:1::45", "ff02::1:ff00:46", "2001:db8:1::46", kHostMac));
  receive_nd(solicitation("2001:db8:9::45", "ff02::1:ff00:1", "2001:db8:1::1", kHostMac));
  EXPECT_EQ(rows().size(), 0u);
  EXPECT_EQ(take_frames(), Frames{answer_v6("2001:db8:1::1", "2001:db8:9::45", kHostMac, true)})
      << "an answer is sent to any address";
}

TEST_F(DiscoveryTest, AQuestionForUsIsAnsweredAndTeachesItsSender) {
  receive_nd(solicitation("2001:db8:1::45", "ff02::1:ff00:1", "2001:db8:1::1", kHostMac));
  EXPECT_EQ(take_frames(), Frames{answer_v6("2001:db8:1::1", "2001:db8:1::45", kHostMac, true)});
  EXPECT_EQ(state(), NeighborState::kStale);
  EXPECT_EQ(mac_seen(), kHostMac);
  receive_nd(solicitation("fe80::45", "ff02::1:ff00:1", "fe80::1", kHostMac));
  EXPECT_EQ(take_frames(), Frames{answer_v6("fe80::1", "fe80::45", kHostMac, true)});
}

TEST_F(DiscoveryTest, OnlyAddressesOfTheLinkAreAnsweredFor) {
  receive_nd(solicitation("2001:db8:1::45", "ff02::1:ff00:1", "2001:db8:2::1", kHostMac));
  receive_nd(solicitation("2001:db8:2::45", "ff02::1:ff00:1", "fe80::1", kHostMac), kWan);
  EXPECT_EQ(take_frames(), Frames{});
}

// A unicast probe without the option: the neighbour is asked for its MAC address first.
TEST_F(DiscoveryTest, WhoDoesNotTellHisMacAddressIsAskedForIt) {
  const NdPacket probe = solicitation("2001:db8:1::45", "2001:db8:1::1", "2001:db8:1::1");
  receive_nd(probe);
  EXPECT_EQ(take_frames(),
            Frames{question_v6("2001:db8:1::1", "ff02::1:ff00:45", "2001:db8:1::45", "33:33:ff:00:00:45")});
  receive_nd(advertisement("2001:db8:1::45", "2001:db8:1::1", kSolicitedFlag, kHostMac));
  receive_nd(probe);
  EXPECT_EQ(take_frames(), Frames{answer_v6("2001:db8:1::1", "2001:db8:1::45", kHostMac, true)});
}

TEST_F(DiscoveryTest, AFloodOfSuchQuestionsLeavesRoom) {
  for (uint32_t i = 0; i < NeighborResolver::kMaxUnresolved; ++i) {
    NdPacket probe = solicitation("2001:db8:1::45", "2001:db8:1::1", "2001:db8:1::1");
    probe.source = IpAddress::from_host(ip("2001:db8:1::").host() + 0x10000 + i);
    receive_nd(probe);
  }
  EXPECT_EQ(take_frames().size(), NeighborResolver::kMaxAskedBack);
  send_to(host_);
  EXPECT_EQ(take_frames().size(), 1u);
}

TEST_F(DiscoveryTest, SomebodyWhoChecksOurAddressIsTold) {
  receive_nd(solicitation("::", "ff02::1:ff00:1", "2001:db8:1::1"));
  EXPECT_EQ(take_frames(),
            Frames{answer_v6("2001:db8:1::1", "ff02::1", parse_mac("33:33:00:00:00:01"), false)});
  EXPECT_EQ(rows().size(), 0u);
}

TEST_F(DiscoveryTest, SomebodyWithOurAddressIsReportedAndNotBelieved) {
  receive_nd(advertisement("2001:db8:1::1", "ff02::1", kOverrideFlag, kHostMac));
  receive_nd(solicitation("2001:db8:1::1", "ff02::1:ff00:1", "fe80::1", kHostMac));
  receive_nd(advertisement("fe80::1", "ff02::1", kOverrideFlag, kHostMac),
             kWan);  // means nothing on this link
  ASSERT_EQ(out_.conflicts.size(), 2u);
  EXPECT_EQ(out_.conflicts[0].address, ip("2001:db8:1::1"));
  EXPECT_EQ(out_.conflicts[0].mac, kHostMac);
  EXPECT_FALSE(out_.conflicts[0].refused) << "it was ours first";
  EXPECT_EQ(take_frames(), Frames{});
  receive_nd(advertisement("2001:db8:1::1", "ff02::1", kOverrideFlag, kLanMac));  // our own, come back
  EXPECT_EQ(out_.conflicts.size(), 2u);
}

TEST_F(DiscoveryTest, InvalidMessagesAreCountedAndChangeNothing) {
  send_to(host_);
  take_frames();
  NdPacket routed = advertisement("2001:db8:1::45", "2001:db8:1::1", kSolicitedFlag, kHostMac);
  routed.hop_limit = 64;
  EXPECT_EQ(receive_nd(routed), DropReason::kNdInvalid);
  EXPECT_EQ(state(), NeighborState::kIncomplete);
  EXPECT_EQ(resolver_.counters().malformed, 1u);
  link_.up = false;
  routed.hop_limit = 255;
  EXPECT_EQ(receive_nd(routed), DropReason::kUsedNd);
  EXPECT_EQ(receive_nd(routed, kDummy), DropReason::kUsedNd);
  EXPECT_EQ(receive_nd(routed, kNoInterface), DropReason::kUsedNd);
  EXPECT_EQ(state(), NeighborState::kIncomplete);
}

TEST_F(DiscoveryTest, RoutersAndRedirectsChangeNothing) {
  for (const uint8_t type : {133, 134, 137}) {
    NdPacket packet = solicitation("fe80::9", "ff02::1", "2001:db8:1::45", kHostMac);
    packet.type = type;
    EXPECT_EQ(receive_nd(packet), DropReason::kUsedNd);
  }
  EXPECT_EQ(take_frames(), Frames{});
  EXPECT_EQ(rows().size(), 0u);
}

TEST_F(DiscoveryTest, StaticNeighboursOfIpv6) {
  auto all = interfaces();
  all[0].addresses.push_back(prefix("2001:db8:1::1/64"));
  all[0].dad = false;
  EXPECT_EQ(reconfigure(all, {{kLan, host_, kHostMac}}), 0u);
  receive_nd(advertisement("2001:db8:1::45", "2001:db8:1::1", kSolicitedFlag | kOverrideFlag, kOtherMac));
  EXPECT_EQ(state(), NeighborState::kPermanent);
  EXPECT_EQ(mac_seen(), kHostMac);
  send_to(host_);
  EXPECT_EQ(take_ready(), Numbers{1});
}

TEST_F(DiscoveryTest, WithoutAUsableAddressNobodyIsAskedYet) {
  reconfigure(interfaces());  // IPv4 only
  take_frames();
  send_to(ip("fe80::45"));
  tick_for(1000);
  EXPECT_EQ(take_frames(), Frames{});
  tick_for(2000);
  EXPECT_EQ(take_dropped(DropReason::kNeighborUnresolved), Numbers{1});
}

}  // namespace
}  // namespace espalier::dataplane
