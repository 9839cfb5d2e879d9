// What taps see of the whole gateway: packets at each point, byte for byte; every drop that is counted; one
// tunnel of several; and how they end.
#include <sstream>
#include <thread>

#include "control/shared/drop_reason.hpp"
#include "tests/stage/tunnel_fixture.hpp"

namespace espalier::test {
namespace {

using message::TapInstruction;
using message::TapLink;
using message::TapPoint;
using message::TapStart;

constexpr uint8_t kAll = 15;

// `tcpdump -ddd -y RAW icmp` and `-y EN10MB icmp`, version 4.99.3 with libpcap 1.10.3; numbers in decimal.
const Testbed::TapFilters kIcmp{
    .ethernet =
        {{40, 0, 0, 12}, {21, 0, 3, 2048}, {48, 0, 0, 23}, {21, 0, 1, 1}, {6, 0, 0, 262144}, {6, 0, 0, 0}},
    .ip = {{48, 0, 0, 0},
           {84, 0, 0, 240},
           {21, 0, 3, 64},
           {48, 0, 0, 9},
           {21, 0, 1, 1},
           {6, 0, 0, 262144},
           {6, 0, 0, 0}}};

class TapsTest : public TunnelTest {
 protected:
  // The gateway has made itself known to its links, and knows its neighbours.
  void apply_and_settle(const Configured& parts) {
    apply(parts);
    bed_->advance_time(std::chrono::seconds(2));
    from_lan(outbound(Layer::kIpv4, 80));
    to_wan();
    to_lan();
  }
  uint64_t start(uint8_t points, TapStart more = {}, const Testbed::TapFilters& filters = {}) {
    more.points = points;
    const auto id = bed_->start_tap(more, filters);
    EXPECT_TRUE(id) << (id ? "" : id.error().text);
    return id.value_or(0);
  }
  TapStart named(std::string_view name) {
    TapStart start;
    start.has_tunnel = 1;
    start.tunnel.assign(name);
    return start;
  }
  std::vector<TappedPacket> read(uint64_t id) {
    auto packets = bed_->read_tap(id);
    EXPECT_TRUE(packets);
    return packets.value_or(std::vector<TappedPacket>{});
  }
  // Those at one point.
  static std::vector<TappedPacket> at(TapPoint point, const std::vector<TappedPacket>& packets) {
    std::vector<TappedPacket> found;
    for (const TappedPacket& p : packets)
      if (p.seen.point == point) found.push_back(p);
    return found;
  }
  static Bytes without_ethernet(const Bytes& frame) { return {frame.begin() + 14, frame.end()}; }
};

TEST_F(TapsTest, APacketIsSeenAtEveryPointAsItIsThere) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = start(kAll);
  from_lan(outbound(Layer::kIpv4, 80));
  const Bytes esp = only(to_wan());
  auto packets = read(id);
  ASSERT_EQ(packets.size(), 3u);
  EXPECT_EQ(packets[0].seen.point, TapPoint::kRx);
  EXPECT_EQ(without_ethernet(packets[0].bytes), outbound(Layer::kIpv4, 80));
  EXPECT_EQ(packets[1].seen.point, TapPoint::kPlain);
  EXPECT_EQ(packets[1].seen.direction, Direction::kOut);
  EXPECT_EQ(packets[1].seen.spi, Spi(0x2001));
  EXPECT_EQ(packets[1].seen.link, TapLink::kIp);
  EXPECT_EQ(packets[1].bytes, outbound(Layer::kIpv4, 80, 63));
  EXPECT_EQ(packets[2].seen.point, TapPoint::kTx);
  EXPECT_EQ(packets[2].seen.link, TapLink::kEthernet);
  EXPECT_EQ(without_ethernet(packets[2].bytes), esp);
  EXPECT_LE(packets[0].seen.time_ns, packets[1].seen.time_ns);
  EXPECT_LE(packets[1].seen.time_ns, packets[2].seen.time_ns);

  from_wan(sealed_tunnel(in_key(gcm()), 1, kPlain, inbound(Layer::kIpv6, 100)));
  packets = read(id);
  ASSERT_EQ(packets.size(), 3u);
  EXPECT_EQ(packets[1].seen.direction, Direction::kIn);
  EXPECT_EQ(packets[1].seen.spi, Spi(0x3001));
  EXPECT_EQ(packets[1].bytes, inbound(Layer::kIpv6, 100));
  EXPECT_EQ(without_ethernet(packets[2].bytes), only(to_lan()));
}

TEST_F(TapsTest, OfOneTunnelItsEspAndWhatIsInside) {
  for (const Outer outer : {kPlain, kInUdp, Outer{Layer::kIpv6, false}, Outer{Layer::kIpv6, true}}) {
    SetUp();
    apply_and_settle(tunnel(gcm(), outer));
    TapStart by_spi;
    by_spi.has_tunnel = 1;
    by_spi.spi = Spi(0x3001);  // the other direction belongs to it
    const uint64_t id = start(kAll, by_spi);
    const uint64_t other = start(kAll, named("another"));
    from_wan(sealed_tunnel(in_key(gcm()), 1, outer, inbound(Layer::kIpv4, 80)));
    from_lan(outbound(Layer::kIpv4, 80));
    from_wan(sealed_tunnel(in_key(gcm()), 1, outer, inbound(Layer::kIpv4, 80)));              // replayed
    from_lan(ip(kProtoUdp, "192.168.10.45", "203.0.113.2", udp_of(1, 2, Bytes(8))).bytes());  // in clear
    const auto packets = read(id);
    EXPECT_EQ(at(TapPoint::kRx, packets).size(), 2u);
    EXPECT_EQ(at(TapPoint::kPlain, packets).size(), 2u);
    EXPECT_EQ(at(TapPoint::kTx, packets).size(), 1u);
    const auto drops = at(TapPoint::kDrop, packets);
    ASSERT_EQ(drops.size(), 1u);
    EXPECT_EQ(drops[0].seen.reason, DropReason::kEspReplay);
    EXPECT_EQ(drops[0].seen.spi, Spi(0x3001));
    EXPECT_EQ(read(other).size(), 0u);
  }
}

// What a tunnel's packet is dropped for behind it is the tunnel's, too.
TEST_F(TapsTest, DropsInsideOfATunnelAreIts) {
  apply_and_settle(tunnel(gcm(), kPlain));
  TapStart by_spi;
  by_spi.has_tunnel = 1;
  by_spi.spi = Spi(0x3001);
  const uint64_t id = start(message::bit_of(TapPoint::kDrop), by_spi);
  from_wan(sealed_tunnel(in_key(gcm()), 1, kPlain, inbound(Layer::kIpv4, 80, 1)));
  const auto packets = read(id);
  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(packets[0].seen.reason, DropReason::kTtlExceeded);
  EXPECT_EQ(packets[0].bytes, inbound(Layer::kIpv4, 80, 1));
}

TEST_F(TapsTest, FiltersChooseFramesAndPackets) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = start(kAll, {}, kIcmp);
  from_lan(outbound(Layer::kIpv4, 80));  // UDP
  EXPECT_EQ(read(id).size(), 0u);
  const Bytes echo{8, 0, 0xf7, 0xfd, 0, 1, 0, 1};
  const Bytes ping = ip(kProtoIcmp, "192.168.10.45", "10.10.10.55", echo).bytes();
  from_lan(ping);
  const auto packets = read(id);
  ASSERT_EQ(packets.size(), 2u);  // what left is ESP
  EXPECT_EQ(packets[0].seen.point, TapPoint::kRx);
  EXPECT_EQ(packets[1].seen.point, TapPoint::kPlain);
}

TEST_F(TapsTest, TheSnapLengthCutsTheCopyOnly) {
  apply_and_settle(tunnel(gcm(), kPlain));
  TapStart start_short;
  start_short.snap_bytes = 40;
  const uint64_t id = start(message::bit_of(TapPoint::kRx), start_short);
  from_lan(outbound(Layer::kIpv4, 1000));
  EXPECT_EQ(to_wan().size(), 1u);
  const auto packets = read(id);
  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(packets[0].bytes.size(), 40u);
  EXPECT_EQ(packets[0].seen.packet_bytes, 1014u);
}

// Drops of workers before and behind the decision, of the transmitter, and of the main lcore: what is seen is
// what is counted, reason by reason.
TEST_F(TapsTest, EveryDropThatIsCountedIsSeen) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = start(message::bit_of(TapPoint::kDrop));
  const DropCounts before = bed_->drops();
  bed_->inject("lan0", 0, Bytes(10));  // ethernet_truncated
  Bytes stranger(60, 2);               // ethernet_not_for_us
  bed_->inject("lan0", 0, stranger);
  Bytes broken = outbound(Layer::kIpv4, 80);
  broken[10] ^= 1;
  from_lan(broken);                         // ip_bad_checksum
  from_lan(outbound(Layer::kIpv4, 80, 1));  // ttl_exceeded
  Bytes esp = sealed_tunnel(in_key(gcm()), 9, kPlain, inbound(Layer::kIpv4, 80));
  esp.back() ^= 1;
  from_wan(esp);                        // esp_icv
  from_wan(inbound(Layer::kIpv4, 80));  // in_template_mismatch
  from_lan(ip(kProtoUdp, "192.168.10.45", "192.168.10.77", udp_of(1, 2, Bytes(8))).bytes());
  DropCounts seen{};
  for (int i = 0; i < 5; ++i) {
    bed_->advance_time(std::chrono::seconds(1));  // neighbor_unresolved, by the main lcore
    for (const TappedPacket& p : read(id)) ++seen[static_cast<size_t>(p.seen.reason)];
  }
  const DropCounts after = bed_->drops();
  uint64_t reasons = 0;
  for (size_t r = 0; r < kDropReasons; ++r) {
    if (!kDropReasonTable[r].drop) continue;
    EXPECT_EQ(seen[r], after[r] - before[r]) << kDropReasonTable[r].name;
    reasons += seen[r] != 0;
  }
  EXPECT_GE(reasons, 7u);
}

// What `parse` drops is the frame that came.
TEST_F(TapsTest, AFrameThatParseDropsIsSeenWhole) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = start(message::bit_of(TapPoint::kRx) | message::bit_of(TapPoint::kDrop));
  Bytes broken = outbound(Layer::kIpv4, 80);
  broken[10] ^= 1;
  from_lan(broken);
  from_lan(outbound(Layer::kIpv4, 80, 1));
  const auto packets = read(id);
  const auto drops = at(TapPoint::kDrop, packets), received = at(TapPoint::kRx, packets);
  ASSERT_EQ(drops.size(), 2u);
  EXPECT_EQ(drops[0].seen.link, TapLink::kEthernet);
  EXPECT_EQ(drops[0].bytes, received[0].bytes);
  EXPECT_EQ(drops[1].seen.link, TapLink::kIp);
  EXPECT_EQ(drops[1].bytes, outbound(Layer::kIpv4, 80, 1));
}

TEST_F(TapsTest, WhatIsNotReadIsLostToTheTapAlone) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = start(message::bit_of(TapPoint::kRx));
  constexpr uint64_t kPackets = 3000;  // of 1 KB: more than there is room for
  uint64_t left = 0;
  for (uint64_t i = 0; i < kPackets; ++i) {
    from_lan(outbound(Layer::kIpv4, 1000));
    left += to_wan().size();
  }
  EXPECT_EQ(left, kPackets);
  uint64_t lost = 0;
  const auto packets = bed_->read_tap(id, &lost);
  ASSERT_TRUE(packets);
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(packets->size() + lost, kPackets);
  for (const TappedPacket& p : *packets) ASSERT_EQ(without_ethernet(p.bytes), outbound(Layer::kIpv4, 1000));
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(read(id).size(), 1u);
}

TEST_F(TapsTest, FourAtOnceAndWhoIsNotReadEnds) {
  apply_and_settle(tunnel(gcm(), kPlain));
  std::vector<uint64_t> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(start(kAll));
  TapStart fifth;
  fifth.points = kAll;
  EXPECT_EQ(bed_->start_tap(fifth, {}).error().text,
            "4 captures and traces run already; end one of them first");
  from_lan(outbound(Layer::kIpv4, 80));
  for (const uint64_t id : ids) EXPECT_EQ(read(id).size(), 3u);
  bed_->advance_time(std::chrono::milliseconds(4900));
  EXPECT_EQ(read(ids[0]).size(), 0u);
  bed_->advance_time(std::chrono::milliseconds(200));
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(read(ids[0]).size(), 3u);
  EXPECT_FALSE(bed_->read_tap(ids[1]));
  EXPECT_FALSE(bed_->end_tap(ids[1]));
  EXPECT_TRUE(bed_->end_tap(ids[0]));
  EXPECT_FALSE(bed_->read_tap(ids[0]));
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(to_wan().size(), 3u);
}

// A rekey brings other SAs of the same name; a change of the configuration does not end a tap.
TEST_F(TapsTest, ATunnelByNameIsFollowedOverARekey) {
  const auto with_name = [](uint32_t spi) {
    Configured parts = tunnel(gcm(), kPlain);
    parts.states = list({state(spi, "out", "203.0.113.1", "203.0.113.2", gcm().keywords(1),
                               R"(reqid = 1; mode = "tunnel"; name = "site-b";)")});
    return parts;
  };
  apply_and_settle(with_name(0x2001));
  const uint64_t id = start(message::bit_of(TapPoint::kPlain), named("site-b"));
  from_lan(outbound(Layer::kIpv4, 80));
  apply(with_name(0x2101));
  from_lan(outbound(Layer::kIpv4, 80));
  const auto packets = read(id);
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(packets[0].seen.spi, Spi(0x2001));
  EXPECT_EQ(packets[1].seen.spi, Spi(0x2101));
  EXPECT_EQ(packets[1].seen.tunnel.view(), "site-b");
}

// --- Traces ---

using Lines = std::vector<std::pair<std::string, std::string>>;  // stage, text

class TracesTest : public TapsTest {
 protected:
  uint64_t trace(const Testbed::TapFilters& filters = {}) {
    TapStart start;
    start.trace = 1;
    const auto id = bed_->start_tap(start, filters);
    EXPECT_TRUE(id) << (id ? "" : id.error().text);
    return id.value_or(0);
  }
  // A story that had its end is told a tenth of a second later, by the clock on the wall.
  std::vector<Lines> stories(uint64_t id, uint64_t* lost = nullptr) {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    return stories_now(id, lost);
  }
  std::vector<Lines> stories_now(uint64_t id, uint64_t* lost = nullptr) {
    std::vector<Lines> all;
    const auto packets = bed_->read_tap(id, lost);
    EXPECT_TRUE(packets);
    for (const TappedPacket& p : packets.value_or(std::vector<TappedPacket>{})) {
      EXPECT_EQ(p.seen.point, TapPoint::kStory);
      std::istringstream text(std::string(p.bytes.begin(), p.bytes.end()));
      Lines& lines = all.emplace_back();
      for (std::string stage, rest; std::getline(text, stage, '\t') && std::getline(text, rest);)
        lines.emplace_back(stage, rest);
    }
    return all;
  }
  static std::string last(const Lines& lines, std::string_view stage) {
    std::string text;
    for (const auto& [s, t] : lines)
      if (s == stage) text = t;
    return text;
  }
};

TEST_F(TracesTest, ThePacketsOfAFlowAreWalkedAndToldToTheEnd) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = trace();
  from_lan(outbound(Layer::kIpv4, 80));  // its flow is known already
  from_wan(sealed_tunnel(in_key(gcm()), 1, kPlain, inbound(Layer::kIpv4, 80)));
  EXPECT_EQ(to_wan().size(), 1u);
  EXPECT_EQ(stories_now(id).size(), 0u);
  const auto told = stories(id);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].front().first, "received");
  EXPECT_NE(last(told[0], "out_policy").find("protect"), std::string::npos) << last(told[0], "out_policy");
  EXPECT_NE(last(told[0], "esp_output").find("SPI 0x2001"), std::string::npos) << last(told[0], "esp_output");
  EXPECT_NE(last(told[0], "transmit").find("by wan0"), std::string::npos) << last(told[0], "transmit");
  EXPECT_NE(last(told[1], "esp_input").find("SPI 0x3001"), std::string::npos) << last(told[1], "esp_input");
  EXPECT_EQ(stories(id).size(), 0u);
}

TEST_F(TracesTest, AFilterChoosesWhoIsFollowed) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = trace(kIcmp);
  from_lan(outbound(Layer::kIpv4, 80));
  from_lan(ip(kProtoIcmp, "192.168.10.45", "10.10.10.55", Bytes{8, 0, 0xf7, 0xfd, 0, 1, 0, 1}).bytes());
  const auto told = stories(id);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(last(told[0], "packet").find("ICMP"), std::string::npos);
}

// The main lcore says how it ended, seconds after a worker said that it waits.
TEST_F(TracesTest, AStoryGoesOnWhereThePacketWaitsForItsNextHop) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = trace(kIcmp);
  from_lan(ip(kProtoIcmp, "192.168.10.45", "203.0.113.77", Bytes{8, 0, 0xf7, 0xfd, 0, 1, 0, 1}).bytes());
  EXPECT_EQ(stories(id).size(), 0u);
  for (int i = 0; i < 4; ++i) bed_->advance_time(std::chrono::seconds(1));
  const auto told = stories(id);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(last(told[0], "transmit").find("no MAC address yet"), std::string::npos)
      << last(told[0], "transmit");
  EXPECT_TRUE(last(told[0], "result").starts_with("dropped (neighbor_unresolved)"))
      << last(told[0], "result");
}

TEST_F(TracesTest, MoreThanAreFollowedAreCounted) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = trace();
  constexpr uint64_t kPackets = 300;
  uint64_t left = 0, lost = 0;
  for (uint64_t i = 0; i < kPackets; ++i) {
    from_lan(outbound(Layer::kIpv4, 80));
    left += to_wan().size();
  }
  EXPECT_EQ(left, kPackets);
  const size_t told = stories(id, &lost).size();
  EXPECT_GE(told, 100u);
  EXPECT_LE(told, 200u);
  EXPECT_EQ(told + lost, kPackets);
}

TEST_F(TracesTest, OneAtOnceBesideCaptures) {
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t captured = start(message::bit_of(TapPoint::kTx));
  const uint64_t id = trace();
  TapStart second;
  second.trace = 1;
  EXPECT_EQ(bed_->start_tap(second, {}).error().text, "a trace runs already; end it first");
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(read(captured).size(), 1u);
  EXPECT_EQ(stories(id).size(), 1u);
  EXPECT_TRUE(bed_->end_tap(id));
  from_lan(outbound(Layer::kIpv4, 80));
  EXPECT_EQ(read(captured).size(), 1u);
}

// Both fragments come to one worker, and belong to the other.
TEST_F(TracesTest, AStoryGoesOnAtAnotherWorker) {
  options_.workers = options_.queues = 2;
  SetUp();
  apply_and_settle(tunnel(gcm(), kPlain));
  const uint64_t id = trace();
  bool handed_over = false;
  for (uint16_t n = 0; n < 16 && !handed_over; ++n) {
    Bytes whole = peer_packet(Layer::kIpv4, kProtoUdp, udp_of(1, 2, Bytes(1600)));
    whole[5] = static_cast<uint8_t>(n);  // its identification, by which a worker is chosen
    for (const Bytes& piece : fragments(whole, 1500)) from_wan(piece);
    for (const Lines& lines : stories(id)) {
      const auto text = [&](std::string_view part) {
        return std::ranges::any_of(lines,
                                   [&](const auto& l) { return l.second.find(part) != l.second.npos; });
      };
      if (text("handed to worker") && text("the datagram is whole now")) handed_over = true;
    }
  }
  EXPECT_TRUE(handed_over);
}

}  // namespace
}  // namespace espalier::test
