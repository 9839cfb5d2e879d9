// What policies, first-packet stages and SAs count.
#include "dataplane/stages/first_packet.hpp"
#include "tests/stage/stage_bench.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;

constexpr PolicyIndex kOutProtect{0}, kOutBypass{1}, kOutDiscard{2}, kFwdDiscard{3}, kFwdBypass{4};

PolicyRecord clear_policy(PolicyIndex index, Direction direction, PolicyAction action,
                          std::string_view destination) {
  PolicyRecord r;
  r.index = index;
  r.direction = direction;
  r.action = action;
  r.selector.source = IpPrefix::any(Family::kIpv4);
  r.selector.destination = IpPrefix::host(test::parse_address(destination));
  return r;
}

class Policies : public StageBench {
 protected:
  void SetUp() override {
    StageBench::SetUp();
    set_policies({tunnel_policy(kOutProtect.value, Direction::kOut),
                  clear_policy(kOutBypass, Direction::kOut, PolicyAction::kBypass, "198.51.100.1"),
                  clear_policy(kOutDiscard, Direction::kOut, PolicyAction::kDiscard, "198.51.100.2"),
                  clear_policy(kFwdDiscard, Direction::kFwd, PolicyAction::kDiscard, "198.51.100.3"),
                  clear_policy(kFwdBypass, Direction::kFwd, PolicyAction::kBypass, "198.51.100.4")});
    sa(Direction::kOut).outbound().sequence_limit.store(1000);
  }
  // One packet of always the same flow to `destination`.
  void pass(std::string_view destination, size_t payload = 16, bool df = false) {
    parsed(
        kLan,
        test::udp("192.168.10.45:4000", fmt::format("{}:5000", destination)).payload(payload).df(df).bytes());
    run_pipeline(ctx, burst, Entry::kHandedOver);
    burst.clear();  // the pipeline took it over
  }
  std::pair<uint64_t, uint64_t> counted(PolicyIndex policy) const {
    const auto& counter = ctx.stats->policies[policy.value];
    return {counter.packets.get(), counter.bytes.get()};
  }
};

using Counted = std::pair<uint64_t, uint64_t>;
constexpr uint64_t kBytes = 44;  // of pass()'s packets

TEST_F(Policies, CountWhatTheyDecided) {
  for (const char* destination :
       {"10.10.10.55", "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4", "198.51.100.5"})
    for (int i = 0; i < 3; ++i) pass(destination);
  EXPECT_EQ(counted(kOutProtect), Counted(3, 3 * kBytes));
  EXPECT_EQ(counted(kOutBypass), Counted(3, 3 * kBytes));
  EXPECT_EQ(counted(kOutDiscard), Counted(3, 3 * kBytes));
  EXPECT_EQ(counted(kFwdDiscard), Counted(3, 3 * kBytes));
  EXPECT_EQ(counted(kFwdBypass), Counted(3, 3 * kBytes));
  EXPECT_EQ(drops(DropReason::kOutPolicyBlock), 3u);
  EXPECT_EQ(drops(DropReason::kInPolicyBlock), 3u);
  EXPECT_EQ(ctx.stats->flow_hits.get(), 4u * 2) << "those that pass are decided once";
}

TEST_F(Policies, ABypassedFlowKeepsTheInterfacesMtu) {
  pass("198.51.100.1", 1472, true);
  pass("198.51.100.1", 1472, true);
  EXPECT_EQ(counted(kOutBypass).first, 2u);
  EXPECT_EQ(ctx.stats->flow_misses.get(), 1u) << "the second one is served by the cache";
  pass("198.51.100.1", 1473, true);
  EXPECT_EQ(drops(DropReason::kTooBig), 1u);
}

TEST_F(Policies, ACachedFlowKeepsTheMtuOfItsTunnelsWay) {
  send_outer_by_lan(300);
  // In IPv4 with AES-GCM: 20 bytes of IP, 8 of ESP, 8 of IV, 16 of ICV around multiples of 4, 2 of them
  // trailer.
  const size_t fits = ((300 - 20 - 8 - 8 - 16) & ~3) - 2 - 28;
  pass("10.10.10.55", fits, true);
  pass("10.10.10.55", fits, true);
  EXPECT_EQ(ctx.stats->flow_hits.get(), 1u);
  EXPECT_EQ(drops(DropReason::kTooBig), 0u);
  pass("10.10.10.55", fits + 1, true);
  EXPECT_EQ(drops(DropReason::kTooBig), 1u);
}

TEST_F(Policies, EveryPacketIsAHitOrAMiss) {
  const auto expect_counts = [&](uint64_t hits, uint64_t misses) {
    EXPECT_EQ(Counted(ctx.stats->flow_hits.get(), ctx.stats->flow_misses.get()), Counted(hits, misses));
    for (size_t i = 0; i < kEveryPacket.size(); ++i) {
      if (kEveryPacket[i].run != flow_lookup) continue;
      EXPECT_EQ(ctx.stats->stages[i].packets.get(), hits + misses);
    }
  };
  pass("198.51.100.5");
  expect_counts(0, 1);
  pass("198.51.100.5");
  expect_counts(1, 1);
  pass("198.51.100.5", 1473, true);  // of a known flow, but too big; with the error about it
  expect_counts(1, 3);
  Bytes fragment = test::udp("192.168.10.45:4000", "198.51.100.5:5000").payload(16).bytes();
  test::put16(fragment, 6, 0x2000);
  test::put16(fragment, 10, 0);
  test::put16(fragment, 10, test::internet_checksum(test::ByteView(fragment).first(20)));
  const Bytes quoted = test::udp("198.51.100.5:1", "192.168.10.45:2").bytes();
  parsed(kLan, fragment);
  parsed(kLan, test::icmp(3, 3, 0, "192.168.10.45", "198.51.100.5", quoted).bytes());
  run_pipeline(ctx, burst, Entry::kHandedOver);
  burst.clear();  // the pipeline took them over
  expect_counts(1, 5);
}

TEST_F(Policies, AProtectedFlowThatLostItsSaIsNotLetPass) {
  pass("10.10.10.55");
  forget_policy_sas();
  ctx.acquire_due_ms.fill(UINT64_MAX);  // what the main lcore is shown it counts itself, and here is none
  pass("10.10.10.55");
  EXPECT_EQ(ctx.stats->flow_hits.get(), 1u);
  EXPECT_EQ(drops(DropReason::kOutNoState), 1u);
  EXPECT_EQ(counted(kOutProtect).first, 1u);
}

TEST_F(Policies, FirstPacketStagesCountFirstPackets) {
  const auto counts = [&] {
    std::vector<uint64_t> all;
    for (size_t i = 0; i < kFirstPacket.size(); ++i)
      all.push_back(ctx.stats->stages[first_packet_counter(i)].packets.get());
    return all;
  };
  pass("198.51.100.5");
  EXPECT_EQ(counts(), std::vector<uint64_t>(kFirstPacket.size(), 1));
  pass("198.51.100.5");
  EXPECT_EQ(counts(), std::vector<uint64_t>(kFirstPacket.size(), 1)) << "the flow is known";
  pass("198.51.100.3");  // in_policy stops it
  for (size_t i = 0; i < kFirstPacket.size(); ++i)
    EXPECT_EQ(counts()[i], kFirstPacket[i].decide == ttl || i > 4 ? 1u : 2u) << kFirstPacket[i].name;
}

TEST_F(Policies, TheCellTellsTheLearnedPathMtuWhileItHolds) {
  const Sa& out = sa(Direction::kOut);
  const auto told = [&] { return out.counters().path_mtu_bytes.load(); };
  EXPECT_EQ(told(), 0u);
  out.learn_path_mtu(1400, 1000);
  EXPECT_EQ(told(), 1400u);
  out.learn_path_mtu(1300, 2000);
  EXPECT_EQ(told(), 1300u);
  EXPECT_EQ(out.outer_mtu(1500, 2000 + kPathMtuLifetimeMs - 1), 1300u);
  EXPECT_EQ(told(), 1300u);
  EXPECT_EQ(out.outer_mtu(1500, 2000 + kPathMtuLifetimeMs), 1500u);
  EXPECT_EQ(told(), 0u);
}

}  // namespace
}  // namespace espalier::dataplane
