// Stages esp_input and esp_output against OpenSSL on the other side, and the flow cache's key.
#include "dataplane/stages/first_packet.hpp"
#include "tests/stage/stage_bench.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;

const Bytes kInner = test::udp("10.10.10.55:4000", "192.168.10.45:5000").payload(33).bytes();

class Esp : public StageBench {
 protected:
  uint16_t input() { return esp_input(ctx, burst); }
  // Prepares the burst as flow_lookup leaves it for esp_output.
  void protect() {
    for (rte_mbuf* mbuf : burst) packet(mbuf).sa = sa(Direction::kOut).index();
  }
};

TEST_F(Esp, InputGivesTheInnerPacketWithItsPath) {
  rte_mbuf* mbuf = from_peer(1, kInner);
  ASSERT_EQ(input(), 1);
  EXPECT_EQ(content(mbuf), kInner);
  EXPECT_EQ(packet(mbuf).path, sa(Direction::kIn).path());
  EXPECT_NE(packet(mbuf).path, kClear);
  EXPECT_EQ(packet(mbuf).tuple.source_port.host(), 4000);
}

TEST_F(Esp, AReplayInTheSameBurstIsAReplay) {
  from_peer(7, kInner), from_peer(7, kInner), from_peer(8, kInner);
  EXPECT_EQ(input(), 2);
  EXPECT_EQ(reason(burst[2]), DropReason::kEspReplay);
  EXPECT_EQ(sa(Direction::kIn).counters().replay.load(), 1u);
}

TEST_F(Esp, FaultsHaveTheirReasonsAndLeaveTheWindow) {
  rte_mbuf* damaged = from_peer(100, kInner);
  bytes(damaged)[60] ^= 1;
  rte_mbuf* stranger = from_peer(101, kInner, {}, "203.0.113.77");
  rte_mbuf* padding = from_peer(2, kInner, {.iv = {}, .padding = {}, .next_header = kProtoTcp});
  rte_mbuf* zero = from_peer(0, kInner);
  rte_mbuf* good = from_peer(1, kInner);
  ASSERT_EQ(input(), 1);
  EXPECT_EQ(burst[0], good);
  EXPECT_EQ(reason(damaged), DropReason::kEspIcv);
  EXPECT_EQ(reason(stranger), DropReason::kEspWrongPeer);
  EXPECT_EQ(reason(padding), DropReason::kEspMalformed);
  const CellCounters& counters = sa(Direction::kIn).counters();
  EXPECT_EQ(counters.packets.load(), 1u) << "the good one";
  EXPECT_EQ(counters.bytes.load(), kInner.size());
  EXPECT_EQ(counters.malformed.load(), 1u);
  EXPECT_EQ(reason(zero), DropReason::kEspReplay);
}

TEST_F(Esp, OuterCongestionMarksReachTheInnerPacketOrDropIt) {
  const auto marked = [&](uint8_t inner_tos, uint64_t sequence) {
    const Bytes inner = test::udp("10.10.10.55:4000", "192.168.10.45:5000").tos(inner_tos).bytes();
    return parsed(kWan,
                  test::esp_tunnel(kInKey, sequence, "203.0.113.2", "203.0.113.1", inner).tos(3).bytes());
  };
  rte_mbuf* capable = marked(2, 1);
  rte_mbuf* not_capable = marked(0, 2);
  ASSERT_EQ(input(), 1);
  EXPECT_EQ(ipv4_header(capable).tos, 3);
  EXPECT_EQ(test::internet_checksum(test::ByteView(content(capable)).first(20)), 0);
  EXPECT_EQ(reason(not_capable), DropReason::kEspCeNotEct);
}

TEST_F(Esp, OutputIsWhatOpenSslOpens) {
  std::vector<Bytes> inner;
  for (size_t payload = 0; payload < 8; ++payload) {
    inner.push_back(
        test::udp("192.168.10.45:4000", "10.10.10.55:5000").payload(payload).df(payload & 1).bytes());
    parsed(kLan, inner.back());
  }
  protect();
  sa(Direction::kOut).outbound().sequence_limit.store(1000);
  ASSERT_EQ(esp_output(ctx, burst), 8);
  for (size_t i = 0; i < inner.size(); ++i) {
    const Bytes outer = content(burst[i]);
    EXPECT_EQ(test::internet_checksum(test::ByteView(outer).first(20)), 0);
    EXPECT_EQ(test::get16(outer, 2), outer.size());
    EXPECT_EQ(test::get16(outer, 6), i & 1 ? 0x4000 : 0);  // DF is copied
    const auto opened = test::open_esp(kOutKey, test::ByteView(outer).subspan(20));
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->sequence, i + 1);
    EXPECT_EQ(opened->inner, inner[i]);
    EXPECT_EQ(opened->next_header, kProtoIpip);
    for (size_t pad = 0; pad < opened->padding.size(); ++pad) EXPECT_EQ(opened->padding[pad], pad + 1);
  }
}

TEST_F(Esp, OutputStopsWhereTheReservedNumbersEnd) {
  for (int i = 0; i < 5; ++i) parsed(kLan, test::udp("192.168.10.45:4000", "10.10.10.55:5000").bytes());
  protect();
  OutboundCell& cell = sa(Direction::kOut).outbound();
  cell.sequence_limit.store(cell.next_sequence.load() + 3);
  EXPECT_EQ(esp_output(ctx, burst), 3);
  EXPECT_EQ(reason(burst[4]), DropReason::kEspSequenceNotReserved);
  EXPECT_EQ(cell.next_sequence.load(), cell.sequence_limit.load());
  EXPECT_EQ(sa(Direction::kOut).counters().no_reserve.load(), 2u);
}

TEST_F(Esp, NumbersThatRanOutAreNotCountedAsNotReserved) {
  for (int i = 0; i < 3; ++i) parsed(kLan, test::udp("192.168.10.45:4000", "10.10.10.55:5000").bytes());
  protect();
  OutboundCell& cell = sa(Direction::kOut).outbound();
  cell.next_sequence.store(kSequenceEnd - 1);
  cell.sequence_limit.store(kSequenceEnd);
  EXPECT_EQ(esp_output(ctx, burst), 1);
  EXPECT_EQ(reason(burst[2]), DropReason::kEspSequenceExhausted);
  EXPECT_EQ(sa(Direction::kOut).counters().no_reserve.load(), 0u);
}

TEST_F(Esp, AnOuterPacketWithoutAWayIsDroppedForTheRoutesReason) {
  const std::pair<RouteVerdict, DropReason> expected[] = {
      {RouteVerdict::kNoRoute, DropReason::kNoRoute},
      {RouteVerdict::kBlackhole, DropReason::kRouteBlackhole},
      {RouteVerdict::kUnreachable, DropReason::kRouteUnreachable},
      {RouteVerdict::kProhibit, DropReason::kRouteProhibit},
      {RouteVerdict::kLocal, DropReason::kNoRoute}};
  OutboundCell& cell = sa(Direction::kOut).outbound();
  const uint64_t unused = cell.next_sequence.load();
  for (const auto& [verdict, why] : expected) {
    route_outer(verdict);
    rte_mbuf* mbuf = parsed(kLan, test::udp("192.168.10.45:4000", "10.10.10.55:5000").bytes());
    packet(mbuf).sa = sa(Direction::kOut).index();
    EXPECT_EQ(esp_output(ctx, MbufSpan(&mbuf, 1)), 0);
    EXPECT_EQ(reason(mbuf), why);
  }
  EXPECT_EQ(cell.next_sequence.load(), unused);
}

TEST_F(Esp, AForgedClearPacketHasAnotherFlowKey) {
  rte_mbuf* decrypted = from_peer(1, kInner);
  ASSERT_EQ(input(), 1);
  rte_mbuf* forged = parsed(kWan, kInner);
  EXPECT_EQ(packet(decrypted).tuple, packet(forged).tuple);
  EXPECT_NE(FlowKey::of(packet(decrypted)), FlowKey::of(packet(forged)));
}

TEST_F(Esp, EveryPacketOfABurstIsCountedOnce) {
  from_peer(1, kInner), from_peer(1, kInner);
  parsed(kWan, kInner);                                                        // in clear: template mismatch
  parsed(kLan, test::udp("192.168.10.45:4000", "198.51.100.9:5000").bytes());  // no neighbour: to main
  parsed(kLan, test::udp("192.168.10.45:4000", "10.10.10.55:5000").ttl(1).bytes());  // answered
  const uint64_t given = burst.size();
  run_pipeline(ctx, burst, Entry::kHandedOver);
  burst.clear();  // the pipeline took them over
  uint64_t counted = 0;
  for (size_t r = 1; r < kDropReasons; ++r) counted += drops(static_cast<DropReason>(r));
  std::array<rte_mbuf*, 8> waiting;
  const uint16_t at_main = ctx.main->pop(waiting);
  for (uint16_t i = 0; i < at_main; ++i) rte_pktmbuf_free(waiting[i]);
  EXPECT_EQ(given + ctx.stats->made.get(), counted + at_main);
  EXPECT_EQ(drops(DropReason::kEspReplay), 1u);
  EXPECT_EQ(drops(DropReason::kInTemplateMismatch), 1u);
  EXPECT_EQ(drops(DropReason::kTtlExceeded), 1u);
}

}  // namespace
}  // namespace espalier::dataplane
