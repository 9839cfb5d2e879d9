#include "nat/session_table.hpp"

#include <map>

#include "tests/unit/nat/session_testing.hpp"

namespace espalier::nat {
namespace {

TEST(SessionTableCreate, RefusesWhatItCannotBe) {
  EXPECT_FALSE(SessionTable::create({.capacity = 0, .workers = 1, .key = {}}));
  EXPECT_FALSE(SessionTable::create({.capacity = SessionTable::kMaxCapacity + 1, .workers = 1, .key = {}}));
  EXPECT_FALSE(SessionTable::create({.capacity = 10, .workers = 0, .key = {}}));
  EXPECT_FALSE(SessionTable::create({.capacity = 10, .workers = 1000, .key = {}}));
}

TEST(SessionTable, FindsASessionByBothTuples) {
  const auto table = make_table(100);
  const PendingSession session = translated_session();
  const SessionRef ref = confirmed(*table, session);
  const auto original = table->lookup(session.original), reply = table->lookup(session.reply);
  ASSERT_TRUE(original && reply);
  EXPECT_EQ(original->index, ref.index);
  EXPECT_EQ(original->direction, FlowDirection::kOriginal);
  EXPECT_EQ(reply->index, ref.index);
  EXPECT_EQ(reply->direction, FlowDirection::kReply);
  EXPECT_EQ(reply->owner, kWorker);
  EXPECT_FALSE(table->lookup(*inverse(session.original)));
  const auto tuples = table->tuples(*reply);
  ASSERT_TRUE(tuples);
  EXPECT_EQ(tuples->original, session.original);
  EXPECT_EQ(tuples->reply, session.reply);
  EXPECT_EQ(table->size(), 1u);
}

TEST(SessionTable, AnErasedSessionIsGoneForEveryOldRef) {
  const auto table = make_table(100);
  const SessionRef ref = confirmed(*table, translated_session());
  table->erase(reply_ref(ref));
  EXPECT_FALSE(table->lookup(translated_session().original));
  EXPECT_FALSE(table->lookup(translated_session().reply));
  EXPECT_FALSE(table->is_current(ref));
  EXPECT_FALSE(table->tuples(ref));
  EXPECT_EQ(table->update(ref, {}, kNow), Verdict::kOver);
  EXPECT_EQ(table->size(), 0u);
  const SessionRef again = confirmed(*table, translated_session());
  EXPECT_EQ(again.index, ref.index) << "the test wants the index to be used again";
  EXPECT_EQ(table->update(ref, {}, kNow), Verdict::kOver);
  table->erase(ref);
  EXPECT_TRUE(table->is_current(again));
}

TEST(SessionTable, AnEmptyRefIsNeverCurrent) {
  const auto table = make_table(100);
  EXPECT_FALSE(table->is_current({}));
  EXPECT_EQ(table->update({}, {}, kNow), Verdict::kOver);
  table->erase({});
  EXPECT_EQ(table->size(), 0u);
}

TEST(SessionTable, EitherTupleThatIsTakenIsAClashAndNothingIsInserted) {
  const auto table = make_table(100);
  confirmed(*table, translated_session());
  EXPECT_EQ(table->confirm(translated_session(), kWorker, kNow).error(), DropReason::kNatClash);
  PendingSession other = pending(udp(ip(10, 0, 0, 2), 1000, ip(198, 51, 100, 9), 53));
  other.reply = translated_session().reply;
  EXPECT_EQ(table->confirm(other, kWorker, kNow).error(), DropReason::kNatClash);
  EXPECT_FALSE(table->lookup(other.original));
  PendingSession crossed = pending(translated_session().reply);
  EXPECT_EQ(table->confirm(crossed, kWorker, kNow).error(), DropReason::kNatClash);
  EXPECT_FALSE(table->lookup(crossed.reply));
  EXPECT_EQ(table->size(), 1u);
}

// Every session against a std::map, with inserts and erasures in random order.
TEST(SessionTable, AgreesWithAMap) {
  const auto table = make_table(3000);
  std::mt19937 random(11);
  std::map<uint32_t, SessionRef> living;
  for (int round = 0; round < 60000; ++round) {
    const uint32_t n = random() % 2800;
    const auto found = table->lookup(numbered_flow(n));
    ASSERT_EQ(found.has_value(), living.contains(n));
    if (found) {
      ASSERT_EQ(found->index, living[n].index);
      table->erase(*found);
      living.erase(n);
    } else {
      living[n] = confirmed(*table, pending(numbered_flow(n)));
    }
    ASSERT_EQ(table->size(), living.size());
  }
  for (const auto& [n, ref] : living) EXPECT_EQ(table->lookup(*inverse(numbered_flow(n)))->index, ref.index);
}

// A bucket has 16 slots. Sessions that only wait to be aged make room in a full one, if they are the worker's
// own.
TEST(SessionTable, AFullBucketGivesThePlaceOfAnExpiredSession) {
  const auto table = make_table(1000, 2);
  constexpr uint64_t kBuckets = 512, kLater = kNow + 31'000;
  std::vector<Tuple> crowd;  // whose original tuples share a bucket
  for (uint32_t n = 0; crowd.size() < 18; ++n)
    if (table->hash(numbered_flow(n)) % kBuckets == 0 &&
        table->hash(*inverse(numbered_flow(n))) % kBuckets != 0)
      crowd.push_back(numbered_flow(n));
  for (size_t i = 0; i < 16; ++i) confirmed(*table, pending(crowd[i]));
  EXPECT_EQ(table->confirm(pending(crowd[16]), kWorker, kNow + 1).error(), DropReason::kSessionTableFull);
  EXPECT_EQ(table->size(), 16u);
  EXPECT_EQ(table->confirm(pending(crowd[16]), WorkerId(1), kLater).error(), DropReason::kSessionTableFull)
      << "they are not another worker's to end";
  EXPECT_TRUE(table->lookup(crowd[0]));
  ASSERT_TRUE(table->confirm(pending(crowd[16]), kWorker, kLater));
  EXPECT_TRUE(table->lookup(crowd[16]));
  EXPECT_EQ(table->size(), 1u);
  EXPECT_TRUE(table->confirm(pending(crowd[17]), kWorker, kLater));
}

TEST(SessionTable, HoldsBothFamilies) {
  const auto table = make_table(3000, 1);
  for (uint32_t n = 0; n < 1000; ++n) {
    confirmed(*table, pending(numbered_flow(n)));
    confirmed(*table, pending(numbered_flow_v6(n)));
  }
  for (uint32_t n = 0; n < 1000; ++n) {
    for (const Tuple& flow : {numbered_flow(n), numbered_flow_v6(n)}) {
      const auto there = table->lookup(flow), back = table->lookup(*inverse(flow));
      ASSERT_TRUE(there && back);
      EXPECT_EQ(there->index, back->index);
      EXPECT_EQ(table->tuples(*there)->original, flow);
    }
    EXPECT_FALSE(table->lookup(numbered_flow_v6(100000 + n)));
  }
}

// Time to live.

uint64_t seconds(uint64_t s) {
  return kNow + s * 1000;
}

// Whether the session is over at `now` and was not one millisecond before.
testing::AssertionResult ends_at(SessionTable& table, const SessionRef&, uint64_t now) {
  if (table.age(kWorker, now - 1, 100) != 0) return testing::AssertionFailure() << "ended too early";
  if (table.age(kWorker, now, 100) != 1) return testing::AssertionFailure() << "did not end";
  return testing::AssertionSuccess();
}

TEST(Timeouts, UdpThirtySecondsAndStreamsTwoMinutes) {
  const auto table = make_table(100);
  SessionRef ref = confirmed(*table, translated_session());
  EXPECT_TRUE(ends_at(*table, ref, seconds(30)));
  ref = confirmed(*table, translated_session());
  EXPECT_EQ(table->update(reply_ref(ref), {}, seconds(1)), Verdict::kAccept);
  EXPECT_EQ(table->update(ref, {}, seconds(2)),
            Verdict::kAccept);  // answered, but not older than two seconds
  EXPECT_TRUE(ends_at(*table, ref, seconds(32)));
  ref = confirmed(*table, translated_session());
  EXPECT_EQ(table->update(reply_ref(ref), {}, seconds(1)), Verdict::kAccept);
  EXPECT_EQ(table->update(ref, {}, seconds(3)), Verdict::kAccept);
  EXPECT_TRUE(all_rows(*table).at(0).assured);
  EXPECT_TRUE(ends_at(*table, ref, seconds(123)));
}

TEST(Timeouts, OneSidedUdpNeverBecomesAStream) {
  const auto table = make_table(100);
  const SessionRef ref = confirmed(*table, translated_session());
  for (uint64_t s = 1; s < 100; ++s) EXPECT_EQ(table->update(ref, {}, seconds(s)), Verdict::kAccept);
  EXPECT_FALSE(all_rows(*table).at(0).assured);
  EXPECT_TRUE(ends_at(*table, ref, seconds(129)));
}

TEST(Timeouts, IcmpThirtySecondsOthersTenMinutes) {
  const auto table = make_table(100);
  SessionRef ref = confirmed(*table, pending(echo(ip(10, 0, 0, 1), ip(192, 0, 2, 1), 7)));
  EXPECT_EQ(table->update(reply_ref(ref), {}, seconds(5)), Verdict::kAccept);
  EXPECT_TRUE(ends_at(*table, ref, seconds(35)));
  ref = confirmed(*table, pending(tuple(kProtoGre, ip(10, 0, 0, 1), 0, ip(192, 0, 2, 1), 0)));
  EXPECT_EQ(table->update(reply_ref(ref), {}, seconds(5)), Verdict::kAccept);
  EXPECT_TRUE(all_rows(*table).at(0).assured);
  EXPECT_TRUE(ends_at(*table, ref, seconds(605)));
}

struct TcpTimeouts : testing::Test {
  std::unique_ptr<SessionTable> table = make_table(100);
  Tuple flow = numbered_flow(1, kProtoTcp);
  SessionRef ref;

  void begin(uint8_t flags) { ref = confirmed(*table, pending(flow, flags)); }
  void there(int flags, uint64_t at_s) { feed(ref, flags, at_s); }
  void back(int flags, uint64_t at_s) { feed(reply_ref(ref), flags, at_s); }
  void feed(const SessionRef& which, int flags, uint64_t at_s) {
    EXPECT_EQ(table->update(which, {.tcp_flags = static_cast<uint8_t>(flags)}, seconds(at_s)),
              Verdict::kAccept);
  }
};

TEST_F(TcpTimeouts, AreThoseOfNfConntrack) {
  begin(kTcpSyn);
  EXPECT_TRUE(ends_at(*table, ref, seconds(120)));
  begin(kTcpSyn);
  back(kTcpSyn | kTcpAck, 1);
  EXPECT_TRUE(ends_at(*table, ref, seconds(61)));
  begin(kTcpSyn);
  back(kTcpSyn | kTcpAck, 1);
  there(kTcpAck, 2);
  EXPECT_TRUE(ends_at(*table, ref, seconds(432002)));
  begin(kTcpSyn);
  back(kTcpSyn | kTcpAck, 1);
  there(kTcpAck, 2);
  there(kTcpFin | kTcpAck, 3);
  back(kTcpAck, 4);
  EXPECT_TRUE(ends_at(*table, ref, seconds(64)));
}

TEST_F(TcpTimeouts, ARepeatedSynDoesNotKeepAnUnansweredSession) {
  begin(kTcpSyn);
  for (uint64_t s = 1; s < 120; s += 10) there(kTcpSyn, s);
  EXPECT_TRUE(ends_at(*table, ref, seconds(120)));
}

TEST_F(TcpTimeouts, ARefusedConnectionIsOverAtOnce) {
  begin(kTcpSyn);
  back(kTcpRst | kTcpAck, 1);
  EXPECT_EQ(table->update(ref, {.tcp_flags = kTcpSyn}, seconds(1)), Verdict::kOver);
  EXPECT_EQ(table->size(), 0u);
}

TEST_F(TcpTimeouts, PickedUpOneSidedConnectionsLiveFiveMinutes) {
  begin(kTcpAck);
  there(kTcpAck, 1);
  EXPECT_TRUE(ends_at(*table, ref, seconds(301)));
  begin(kTcpAck);
  back(kTcpAck, 1);
  there(kTcpAck, 2);
  EXPECT_TRUE(all_rows(*table).at(0).assured);
  EXPECT_TRUE(ends_at(*table, ref, seconds(432002)));
}

TEST_F(TcpTimeouts, InvalidPacketsAreRefusedAndNotCounted) {
  begin(kTcpSyn);
  EXPECT_EQ(table->update(ref, {.bytes = 40, .tcp_flags = kTcpAck}, seconds(50)), Verdict::kInvalid);
  EXPECT_EQ(all_rows(*table).at(0).packets[0], 1u);
  EXPECT_TRUE(ends_at(*table, ref, seconds(120)));
}

TEST(Timeouts, ComeFromTheSettings) {
  const auto table = make_table(100);
  EXPECT_TRUE(table->apply(settings(100, 5)));
  const SessionRef ref = confirmed(*table, translated_session());
  EXPECT_TRUE(ends_at(*table, ref, seconds(5)));
}

TEST(Timeouts, AnExpiredSessionThatWasNotAgedYetIsOver) {
  const auto table = make_table(100);
  const SessionRef ref = confirmed(*table, translated_session());
  EXPECT_EQ(table->update(ref, {}, seconds(30)), Verdict::kOver);
  EXPECT_FALSE(table->lookup(translated_session().original));
}

TEST(Aging, LooksAtNoMoreThanItsBudgetAndReachesAll) {
  const auto table = make_table(1000);
  for (uint32_t n = 0; n < 900; ++n) confirmed(*table, pending(numbered_flow(n)));
  EXPECT_LE(table->age(kWorker, seconds(31), 100), 101u);
  EXPECT_GE(table->size(), 799u);
  size_t calls = 0;
  while (table->size() != 0 && ++calls < 20) table->age(kWorker, seconds(31), 100);
  EXPECT_LT(calls, 12u);
}

TEST(Aging, IsForTheWorkersOwnSessions) {
  const auto table = make_table(100, 2);
  confirmed(*table, pending(numbered_flow(1)), kNow, WorkerId(0));
  confirmed(*table, pending(numbered_flow(2)), kNow, WorkerId(1));
  EXPECT_EQ(table->age(WorkerId(1), seconds(31), 100), 1u);
  EXPECT_TRUE(table->lookup(numbered_flow(1)));
  EXPECT_FALSE(table->lookup(numbered_flow(2)));
}

// Limits.

// A flow of which both directions were seen for over two seconds.
void establish(SessionTable& table, uint32_t n, WorkerId worker = kWorker) {
  const SessionRef ref = confirmed(table, pending(numbered_flow(n)), kNow, worker);
  table.update(reply_ref(ref), {}, kNow + 1);
  table.update(ref, {}, kNow + 2500);
}

TEST(Limits, AFloodDoesNotPushOutAssuredFlows) {
  const auto table = make_table(1000);
  for (uint32_t n = 0; n < 900; ++n) establish(*table, n);
  uint32_t accepted = 0;
  for (uint32_t n = 0; n < 20000; ++n)
    accepted += table->confirm(pending(numbered_flow(100000 + n)), kWorker, kNow).has_value();
  EXPECT_EQ(accepted, 20000u) << "each new flow takes the place of an older one of the flood";
  EXPECT_LE(table->size(), 1000u);
  EXPECT_EQ(table->evictions(), 20000u - 50u);
  for (uint32_t n = 0; n < 900; ++n) EXPECT_TRUE(table->lookup(numbered_flow(n))) << n;
}

// A new flow must live long enough for its answer to come, although the flood goes on.
TEST(Limits, EvictionTakesOldFlowsBeforeNewOnes) {
  const auto table = make_table(1000);
  for (uint32_t n = 0; n < 5000; ++n) confirmed(*table, pending(numbered_flow(n)));
  confirmed(*table, pending(numbered_flow(900000)));
  for (uint32_t n = 5000; n < 5400; ++n) confirmed(*table, pending(numbered_flow(n)));
  EXPECT_TRUE(table->lookup(numbered_flow(900000)));
}

TEST(Limits, EvictionPrefersFlowsThatNobodyAnswered) {
  const auto table = make_table(1000);
  for (uint32_t n = 0; n < 100; ++n) {
    const SessionRef ref = confirmed(*table, pending(numbered_flow(n)));
    table->update(reply_ref(ref), {}, kNow + 1);
  }
  for (uint32_t n = 1000; n < 9000; ++n) confirmed(*table, pending(numbered_flow(n)));
  uint32_t left = 0;
  for (uint32_t n = 0; n < 100; ++n) left += table->lookup(numbered_flow(n)).has_value();
  EXPECT_EQ(left, 100u);
}

TEST(Limits, ATableFullOfAssuredFlowsRefusesNewOnes) {
  const auto table = make_table(100);
  for (uint32_t n = 0; n < 100; ++n) establish(*table, n);
  const auto refused = table->confirm(pending(numbered_flow(1000)), kWorker, kNow);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), DropReason::kSessionTableFull);
  EXPECT_EQ(table->size(), 100u);
  for (uint32_t n = 0; n < 100; ++n) EXPECT_TRUE(table->lookup(numbered_flow(n)));
}

TEST(Limits, AnotherWorkersFloodLeavesRoom) {
  const auto table = make_table(1000, 2);
  for (uint32_t n = 0; n < 5000; ++n) confirmed(*table, pending(numbered_flow(n)), kNow, WorkerId(0));
  for (uint32_t n = 0; n < 50; ++n) establish(*table, 100000 + n, WorkerId(1));
  EXPECT_EQ(table->size(), 1000u);
}

TEST(Limits, CanBeLoweredAndRaised) {
  const auto table = make_table(1000);
  EXPECT_FALSE(table->apply(settings(1001)));
  EXPECT_FALSE(table->apply(settings(0)));
  EXPECT_EQ(table->limit(), 1000u);
  for (uint32_t n = 0; n < 100; ++n) establish(*table, n);
  EXPECT_TRUE(table->apply(settings(50)));
  EXPECT_FALSE(table->confirm(pending(numbered_flow(1000)), kWorker, kNow));
  EXPECT_TRUE(table->apply(settings(200)));
  EXPECT_TRUE(table->confirm(pending(numbered_flow(1000)), kWorker, kNow));
}

// One worker can use the whole table, free it, and then another can.
TEST(Limits, AnyWorkerCanUseAllSessions) {
  const auto table = make_table(5000, 4);
  for (uint16_t worker = 0; worker < 4; ++worker) {
    for (uint32_t n = 0; n < 5000; ++n) establish(*table, n, WorkerId(worker));
    EXPECT_EQ(table->size(), 5000u);
    for (uint32_t n = 0; n < 5000; ++n) table->erase(*table->lookup(numbered_flow(n)));
  }
  EXPECT_EQ(table->size(), 0u);
}

}  // namespace
}  // namespace espalier::nat
