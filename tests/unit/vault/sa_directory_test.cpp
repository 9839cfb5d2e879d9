// control/shared/sa_directory.hpp: numbers that are given once, cells and windows that go on.
#include "control/shared/sa_directory.hpp"

#include "tests/unit/vault/directory_fixture.hpp"

namespace espalier::test {
namespace {

// --- numbers

TEST_F(Directory, AStaticKeyHasNoNumbersBeforeTheyAreReserved) {
  auto process = start();
  const auto claim = must(process->directory.claim(wants(kOutKey)));
  EXPECT_FALSE(claim.continued);
  OutboundCell& cell = process->directory.outbound(claim.index);
  EXPECT_EQ(cell.take(1).stop, SequenceStop::kNotReserved);
  EXPECT_TRUE(must(process->reserver.extend(100, 1000)));
  const auto run = cell.take(5);
  EXPECT_EQ(run.first, 1u);
  EXPECT_EQ(run.granted, 5u);
  EXPECT_EQ(run.stop, SequenceStop::kNone);
}

TEST_F(Directory, ReservingIsIdempotentAndLazy) {
  auto process = start();
  OutboundCell& cell = process->directory.outbound(must(process->directory.claim(wants(kOutKey))).index);
  EXPECT_TRUE(must(process->reserver.extend(100, 1000)));
  EXPECT_EQ(cell.sequence_limit, 1001u);
  EXPECT_FALSE(must(process->reserver.extend(100, 1000)));
  cell.take(900);
  EXPECT_FALSE(must(process->reserver.extend(100, 1000)));
  cell.take(1);
  EXPECT_TRUE(must(process->reserver.extend(100, 1000)));
  EXPECT_EQ(cell.sequence_limit, 1902u);
}

TEST_F(Directory, RunsStopAtTheLimitAndTakeNothingBeyond) {
  auto process = start();
  OutboundCell& cell = process->directory.outbound(must(process->directory.claim(wants(kOutKey))).index);
  must(process->reserver.extend(1, 10));
  EXPECT_EQ(cell.take(7).granted, 7u);
  const auto part = cell.take(7);
  EXPECT_EQ(part.first, 8u);
  EXPECT_EQ(part.granted, 3u);
  EXPECT_EQ(part.stop, SequenceStop::kNotReserved);
  must(process->reserver.extend(1, 10));
  EXPECT_EQ(cell.take(7).first, 11u);
}

TEST_F(Directory, NumbersEndAt32Bits) {
  auto process = start();
  OutboundCell& cell = process->directory.outbound(must(process->directory.claim(wants(kOutKey))).index);
  cell.next_sequence = kSequenceEnd - 3;
  must(process->reserver.extend(100, 1000));
  EXPECT_EQ(cell.sequence_limit, kSequenceEnd);
  const auto run = cell.take(32);
  EXPECT_EQ(run.granted, 3u);
  EXPECT_EQ(run.stop, SequenceStop::kExhausted);
  EXPECT_EQ(cell.take(1).stop, SequenceStop::kExhausted);
  EXPECT_FALSE(must(process->reserver.extend(100, 1000)));
}

TEST_F(Directory, NumbersWithEsnGoOnBeyond32Bits) {
  auto process = start();
  const auto request = with_esn(behind(kSequenceEnd - 4, wants(kOutKey)));
  OutboundCell& cell = process->directory.outbound(must(process->directory.claim(request)).index);
  EXPECT_EQ(cell.take(1).stop, SequenceStop::kNotReserved);
  EXPECT_TRUE(must(process->reserver.extend(2, 6)));
  EXPECT_EQ(cell.sequence_limit, kSequenceEnd + 3);
  const auto run = cell.take(32);
  EXPECT_EQ(run.first, kSequenceEnd - 3);
  EXPECT_EQ(run.granted, 6u);
  EXPECT_EQ(run.stop, SequenceStop::kNotReserved) << "not exhausted: the next block is to come";
  EXPECT_TRUE(must(process->reserver.extend(2, 6)));
  EXPECT_EQ(cell.take(1).first, kSequenceEnd + 3);
}

TEST_F(Directory, NumbersWithEsnEndAt64Bits) {
  auto process = start();
  const auto request = with_esn(behind(kLastExtendedNumber - 3, wants(kOutKey)));
  OutboundCell& cell = process->directory.outbound(must(process->directory.claim(request)).index);
  EXPECT_TRUE(must(process->reserver.extend(~uint64_t{0}, ~uint64_t{0})));
  const auto run = cell.take(32);
  EXPECT_EQ(run.first + run.granted - 1, kLastExtendedNumber);
  EXPECT_EQ(run.granted, 3u);
  EXPECT_EQ(run.stop, SequenceStop::kExhausted);
  EXPECT_FALSE(must(process->reserver.extend(~uint64_t{0}, ~uint64_t{0})));
}

TEST_F(Directory, ReservationsAcross32BitsSurviveAReboot) {
  const auto request = with_esn(behind(kSequenceEnd - 4, wants(kOutKey)));
  {
    auto process = start();
    must(process->directory.claim(request));
    must(process->reserver.extend(100, 1000));
  }
  reboot();
  auto process = start();
  OutboundCell& cell = process->directory.outbound(must(process->directory.claim(request)).index);
  EXPECT_EQ(cell.take(1).stop, SequenceStop::kNotReserved);
  must(process->reserver.extend(100, 1000));
  EXPECT_EQ(cell.take(1).first, kSequenceEnd - 3 + 1000);
}

// Taken away from a key that is beyond 2^32-1: it has no number left, whatever was reserved. Given back: it
// goes on, with a number that was never used.
TEST_F(Directory, EsnCanComeAndGo) {
  auto process = start();
  const auto esn = with_esn(behind(kSequenceEnd, wants(kOutKey)));
  const SaIndex index = must(process->directory.claim(esn)).index;
  OutboundCell& cell = process->directory.outbound(index);
  must(process->reserver.extend(100, 1000));
  EXPECT_EQ(cell.take(950).first, kSequenceEnd + 1);  // so few are left that more would be reserved
  EXPECT_FALSE(process->directory.claim(wants(kOutKey))) << "in use";
  process->directory.release(index);
  must(process->directory.claim(wants(kOutKey)));
  EXPECT_EQ(cell.take(1).stop, SequenceStop::kExhausted);
  EXPECT_FALSE(must(process->reserver.extend(100, 1000)));
  EXPECT_FALSE(process->directory.claim(esn)) << "in use";
  process->directory.release(index);
  must(process->directory.claim(esn));
  EXPECT_EQ(cell.take(1).first, kSequenceEnd + 951);
}

TEST_F(Directory, AnIkeKeyThatAnEarlierProcessLeftMayGetEsn) {
  const SaIdentity ike = identity_of(3, Direction::kOut, false);
  {
    auto process = start();
    OutboundCell& cell = process->directory.outbound(must(process->directory.claim(wants(ike))).index);
    cell.next_sequence = kSequenceEnd - 1;
    EXPECT_EQ(cell.take(2).stop, SequenceStop::kExhausted);
  }
  auto process = start();
  OutboundCell& cell =
      process->directory.outbound(must(process->directory.claim(with_esn(wants(ike)))).index);
  EXPECT_EQ(cell.take(1).first, kSequenceEnd);
}

TEST_F(Directory, ANewKeyStartsBehindItsLastSequence) {
  auto process = start();
  const SaIdentity ike = identity_of(3, Direction::kOut, false);
  EXPECT_EQ(
      process->directory.outbound(must(process->directory.claim(behind(7, wants(ike)))).index).take(1).first,
      8u);
  const SaIndex in = must(process->directory.claim(behind(1000, wants(kInKey, 64)))).index;
  const auto window = process->directory.window(in, nullptr);
  for (const uint64_t seen : {937u, 999u, 1000u}) EXPECT_FALSE(offer(window, seen));
  EXPECT_TRUE(offer(window, 1001));
}

TEST_F(Directory, AKnownKeyNeverGoesBack) {
  auto process = start();
  const SaIndex out = must(process->directory.claim(wants(kOutKey))).index;
  const SaIndex in = must(process->directory.claim(wants(kInKey, 64))).index;
  must(process->reserver.extend(100, 1000));
  process->directory.outbound(out).take(500);
  EXPECT_TRUE(offer(process->directory.window(in, nullptr), 500));
  must(process->directory.claim(behind(400, wants(kOutKey))));
  EXPECT_EQ(process->directory.outbound(out).take(1).first, 501u);
  must(process->directory.claim(behind(400, wants(kInKey, 64))));
  EXPECT_FALSE(offer(process->directory.window(in, nullptr), 500));
  EXPECT_TRUE(offer(process->directory.window(in, nullptr), 499)) << "nor does its window lose anything";

  // Forward it may go; an inbound window only while no worker uses it.
  must(process->directory.claim(behind(600, wants(kOutKey))));
  EXPECT_EQ(process->directory.outbound(out).take(1).first, 601u);
  EXPECT_FALSE(process->directory.claim(behind(600, wants(kInKey, 64))));
  process->directory.release(in);
  must(process->directory.claim(behind(600, wants(kInKey, 64))));
  EXPECT_FALSE(offer(process->directory.window(in, nullptr), 600));
  EXPECT_TRUE(offer(process->directory.window(in, nullptr), 601));
}

// Static and IKE keys alike: nobody uses what a process left that is gone.
TEST_F(Directory, WhatAnEarlierProcessLeftMayGetAnotherWindow) {
  const SaIdentity keys[] = {kInKey, identity_of(3, Direction::kIn, false),
                             identity_of(4, Direction::kIn, false)};
  {
    auto process = start();
    for (const SaIdentity& key : keys) {
      const SaIndex index = must(process->directory.claim(wants(key, 64))).index;
      EXPECT_TRUE(offer(process->directory.window(index, nullptr), 500));
    }
  }
  auto process = start();
  const CellRequest requests[] = {wants(keys[0], 1024), behind(600, wants(keys[1], 64)),
                                  with_esn(wants(keys[2], 64))};
  for (const CellRequest& request : requests) {
    const auto claim = must(process->directory.claim(request));
    EXPECT_TRUE(claim.continued);
    const auto window = process->directory.window(claim.index, nullptr);
    EXPECT_EQ(window.size(), request.replay_window);
    EXPECT_EQ(window.esn(), request.esn);
    const uint64_t seen = std::max<uint64_t>(request.last_sequence, 500);
    EXPECT_FALSE(offer(window, seen));
    EXPECT_TRUE(offer(window, seen + 1));
    EXPECT_FALSE(process->directory.claim(wants(request.identity, 32))) << "now it is in use";
  }
}

TEST_F(Directory, RequestsThatCannotBeAreRefused) {
  auto process = start();
  EXPECT_FALSE(process->directory.claim(with_esn(wants(kInKey))));  // without a window
  EXPECT_FALSE(process->directory.claim(behind(kSequenceEnd, wants(kOutKey))));
  EXPECT_FALSE(process->directory.claim(with_esn(behind(kExtendedSequenceEnd, wants(kOutKey)))));
  must(process->directory.claim(with_esn(wants(kOutKey))));
  must(process->directory.claim(with_esn(wants(kInKey, 1))));
}

TEST_F(Directory, AnIkeKeyNeedsNoReservation) {
  auto process = start();
  const auto claim = must(process->directory.claim(wants(identity_of(3, Direction::kOut, false))));
  EXPECT_EQ(process->directory.outbound(claim.index).take(1).first, 1u);
  EXPECT_FALSE(must(process->reserver.extend(100, 1000)));
}

TEST_F(Directory, NothingIsGrantedWhenTheDiskRefuses) {
  auto first = start();
  const auto claim = must(first->directory.claim(wants(kOutKey)));
  Process broken(must(SaCells::attach(first->cells.fd().duplicate(),
                                      Fd(::open(numbers_path().c_str(), O_RDONLY | O_CLOEXEC)))));
  const auto extended = broken.reserver.extend(100, 1000);
  ASSERT_FALSE(extended);
  EXPECT_EQ(broken.directory.outbound(claim.index).take(1).stop, SequenceStop::kNotReserved);
}

// The file says so before any worker may use the number: at every instruction of extend().
TEST_F(Directory, TheDiskIsAlwaysAhead) {
  auto process = start();
  const SaIndex index = must(process->directory.claim(wants(kOutKey))).index;
  must(process->reserver.extend(1, 10));
  OutboundCell& cell = process->directory.outbound(index);
  cell.take(10);
  bool granted = false;
  step_through([&] { must(process->reserver.extend(1, 10)); },
               [&] {
                 const uint64_t limit = cell.sequence_limit;
                 const auto entries = must(process->cells.numbers().read());
                 ASSERT_EQ(entries.size(), 1u);
                 ASSERT_GE(entries[0].entry.number, limit);
                 granted |= limit == 21;
               });
  EXPECT_TRUE(granted);
}

// --- going on

TEST_F(Directory, ARestartGoesOnExactly) {
  SaIndex out;
  SaIndex in;
  {
    auto process = start();
    out = must(process->directory.claim(wants(kOutKey))).index;
    in = must(process->directory.claim(wants(kInKey, 64))).index;
    must(process->reserver.extend(100, 1000));
    process->directory.outbound(out).take(41);
    EXPECT_TRUE(offer(process->directory.window(in, nullptr), 500));
    CellCounters::add(process->directory.counters(in).packets, 3);
  }
  auto process = start();
  EXPECT_EQ(process->cells.note(), "");
  EXPECT_EQ(process->directory.find(kOutKey), out);
  EXPECT_TRUE(process->directory.in_use(out));
  const auto claim = must(process->directory.claim(wants(kOutKey)));
  EXPECT_EQ(claim.index, out);
  EXPECT_TRUE(claim.continued);
  EXPECT_EQ(process->directory.outbound(out).take(1).first, 42u);
  EXPECT_EQ(must(process->directory.claim(wants(kInKey, 64))).index, in);
  const auto window = process->directory.window(in, nullptr);
  EXPECT_FALSE(offer(window, 500));
  EXPECT_TRUE(offer(window, 499));
  EXPECT_EQ(process->directory.counters(in).packets, 3u);
}

TEST_F(Directory, AfterARebootNumbersStartBehindTheReservation) {
  {
    auto process = start();
    const SaIndex out = must(process->directory.claim(wants(kOutKey))).index;
    const SaIndex in = must(process->directory.claim(wants(kInKey, 64))).index;
    must(process->reserver.extend(100, 1000));
    process->directory.outbound(out).take(41);
    EXPECT_TRUE(offer(process->directory.window(in, nullptr), 500));
    must(process->reserver.save_windows());
  }
  reboot();
  auto process = start();
  EXPECT_NE(process->cells.note(), "");
  const auto claim = must(process->directory.claim(wants(kOutKey)));
  EXPECT_TRUE(claim.continued);
  OutboundCell& cell = process->directory.outbound(claim.index);
  EXPECT_EQ(cell.take(1).granted, 0u);
  must(process->reserver.extend(100, 1000));
  EXPECT_EQ(cell.take(1).first, 1001u);
  const auto window =
      process->directory.window(must(process->directory.claim(wants(kInKey, 64))).index, nullptr);
  EXPECT_FALSE(offer(window, 499));
  EXPECT_FALSE(offer(window, 500));
  EXPECT_TRUE(offer(window, 501));
}

// A cells file that survived on a disk and is of another boot is not believed.
TEST_F(Directory, CellsOfAnotherBootAreMadeAnew) {
  {
    auto process = start();
    must(process->directory.claim(wants(kOutKey)));
    must(process->reserver.extend(100, 1000));
  }
  flip(cells_path(), 40);  // a digit of the boot id
  auto process = start();
  EXPECT_NE(process->cells.note().find("boot"), std::string::npos) << process->cells.note();
  EXPECT_EQ(process->directory.outbound(*process->directory.find(kOutKey)).next_sequence, 1001u);
}

TEST_F(Directory, ARemovedStaticKeyIsRemembered) {
  auto process = start();
  const SaIndex index = must(process->directory.claim(wants(kOutKey))).index;
  must(process->reserver.extend(100, 1000));
  process->directory.outbound(index).take(10);
  process->directory.release(index);
  EXPECT_FALSE(process->directory.in_use(index));
  for (uint32_t seed = 10; seed < 17; ++seed)
    must(process->directory.claim(wants(identity_of(seed, Direction::kOut))));
  EXPECT_FALSE(process->directory.claim(wants(identity_of(99, Direction::kOut))));  // not at its expense
  EXPECT_EQ(must(process->directory.claim(wants(kOutKey))).index, index);
  EXPECT_EQ(process->directory.outbound(index).take(1).first, 11u);
}

// The nonce is salt and number: a new SPI with the old key must not start again.
TEST_F(Directory, AnOutboundKeyGoesOnUnderAnotherSpi) {
  auto process = start();
  const auto first = must(process->directory.claim(wants(identity_of(1, Direction::kOut, true, 0x1000))));
  EXPECT_EQ(must(process->directory.claim(wants(identity_of(1, Direction::kOut, true, 0x2000)))).index,
            first.index);
}

TEST_F(Directory, AnInboundWindowBelongsToKeyAndSpi) {
  auto process = start();
  const auto first = must(process->directory.claim(wants(identity_of(1, Direction::kIn, true, 0x1000), 32)));
  EXPECT_NE(must(process->directory.claim(wants(identity_of(1, Direction::kIn, true, 0x2000), 32))).index,
            first.index);
}

// The peer has used the key's numbers from 1 on, and with the same salt.
TEST_F(Directory, AKeyIsForOneDirection) {
  auto process = start();
  const SaIndex in =
      must(process->directory.claim(wants(identity_of(1, Direction::kIn, true, 0x1000), 32))).index;
  must(process->directory.claim(wants(identity_of(2, Direction::kOut))));
  EXPECT_FALSE(process->directory.claim(wants(identity_of(1, Direction::kOut, true, 0x1000))));
  EXPECT_FALSE(process->directory.claim(wants(identity_of(2, Direction::kIn, true, 0x1000), 32)));
  process->directory.release(in);
  EXPECT_FALSE(process->directory.claim(wants(identity_of(1, Direction::kOut, true, 0x1000))));
}

TEST_F(Directory, AReleasedIkeCellStartsFresh) {
  auto process = start();
  const SaIdentity old_key = identity_of(5, Direction::kIn, false);
  const SaIndex index = must(process->directory.claim(wants(old_key, 64))).index;
  EXPECT_TRUE(offer(process->directory.window(index, nullptr), 100));
  CellCounters::add(process->directory.counters(index).icv, 1);
  process->directory.release(index);
  EXPECT_EQ(process->directory.find(old_key), std::nullopt);
  EXPECT_EQ(must(process->directory.claim(wants(identity_of(6, Direction::kIn, false), 64))).index, index);
  EXPECT_TRUE(offer(process->directory.window(index, nullptr), 100));
  EXPECT_EQ(process->directory.counters(index).icv, 0u);
}

TEST_F(Directory, OneKeyCannotBeStaticAndOfIke) {
  auto process = start();
  must(process->directory.claim(wants(kOutKey)));
  EXPECT_FALSE(process->directory.claim(wants(identity_of(1, Direction::kOut, false))));
}

// --- what is learned and noted of a key

TEST_F(Directory, LimitsPeerAndUseBelongToTheKey) {
  const SaIdentity key = identity_of(5, Direction::kIn, false);
  const LearnedPeer::Endpoint peer{Ipv4Address::from_host(0xcb007109), 61001};
  SaIndex index;
  {
    auto process = start();
    index = must(process->directory.claim(wants(key, 64))).index;
    CellCounters& counters = process->directory.counters(index);
    EXPECT_FALSE(counters.has_expired(kExpiredHard));
    EXPECT_TRUE(counters.expire(kExpiredSoft));
    EXPECT_FALSE(counters.has_expired(kExpiredHard));
    EXPECT_TRUE(counters.expire(kExpiredHard));
    EXPECT_FALSE(counters.expire(kExpiredHard)) << "one caller reports it";
    CellCounters::add(counters.expired, 2);
    counters.note_use(77);
    process->directory.peer(index).learn(peer);
  }
  auto process = start();
  EXPECT_EQ(must(process->directory.claim(wants(key, 64))).index, index);
  const CellCounters& counters = process->directory.counters(index);
  EXPECT_TRUE(counters.has_expired(kExpiredSoft) && counters.has_expired(kExpiredHard));
  EXPECT_EQ(counters.expired, 2u);
  EXPECT_EQ(counters.last_used_s, 77u);
  EXPECT_EQ(process->directory.peer(index).get(), peer);

  process->directory.release(index);
  EXPECT_EQ(must(process->directory.claim(wants(identity_of(6, Direction::kIn, false), 64))).index, index);
  EXPECT_FALSE(counters.has_expired(kExpiredSoft) || counters.has_expired(kExpiredHard));
  EXPECT_EQ(counters.expired, 0u);
  EXPECT_EQ(counters.last_used_s, 0u);
  EXPECT_EQ(process->directory.peer(index).get(), std::nullopt);
}

// --- windows

TEST_F(Directory, AWindowWithEsnGoesOnBeyond32BitsAndOverARestart) {
  const auto request = with_esn(behind(kSequenceEnd - 100, wants(kInKey, 128)));
  {
    auto process = start();
    const auto window = process->directory.window(must(process->directory.claim(request)).index, nullptr);
    EXPECT_TRUE(window.esn());
    for (uint64_t number = kSequenceEnd - 99; number < kSequenceEnd + 50; ++number)
      ASSERT_TRUE(offer(window, number));
  }
  auto process = start();
  EXPECT_TRUE(process->directory.window(*process->directory.find(kInKey), nullptr).esn());
  const auto window = process->directory.window(must(process->directory.claim(request)).index, nullptr);
  EXPECT_FALSE(offer(window, kSequenceEnd + 49));
  EXPECT_FALSE(offer(window, kSequenceEnd - 50)) << "in the window, of the half before";
  EXPECT_TRUE(offer(window, kSequenceEnd + 50));
}

TEST_F(Directory, AWindowThatLosesEsnTakesNothingTwice) {
  auto process = start();
  const SaIndex index =
      must(process->directory.claim(with_esn(behind(kSequenceEnd, wants(kInKey, 64))))).index;
  EXPECT_TRUE(offer(process->directory.window(index, nullptr), kSequenceEnd + 5));
  EXPECT_FALSE(process->directory.claim(wants(kInKey, 64))) << "in use";
  process->directory.release(index);
  must(process->directory.claim(wants(kInKey, 64)));
  const auto without = process->directory.window(index, nullptr);
  EXPECT_FALSE(without.esn());
  for (const uint32_t low : {5u, 6u, 0xffffffffu}) EXPECT_FALSE(without.check(low)) << low;
  process->directory.release(index);
  must(process->directory.claim(with_esn(wants(kInKey, 64))));
  EXPECT_FALSE(offer(process->directory.window(index, nullptr), kSequenceEnd + 5));
  EXPECT_TRUE(offer(process->directory.window(index, nullptr), kSequenceEnd + 6));
}

TEST_F(Directory, AWindowOfAnotherSizeForgetsNothing) {
  auto process = start();
  const SaIndex index = must(process->directory.claim(wants(kInKey, 32))).index;
  for (const uint64_t number : {90u, 100u})
    EXPECT_TRUE(offer(process->directory.window(index, nullptr), number));
  EXPECT_FALSE(process->directory.claim(wants(kInKey, 1024)));  // workers may still use the old one
  for (const uint32_t size : {1024u, 0u, 64u}) {
    process->directory.release(index);
    EXPECT_EQ(must(process->directory.claim(wants(kInKey, size))).index, index);
    if (size == 0) continue;
    for (const uint64_t number : {90u, 91u, 100u})
      EXPECT_FALSE(offer(process->directory.window(index, nullptr), number));
  }
  EXPECT_TRUE(offer(process->directory.window(index, nullptr), 101));
}

TEST_F(Directory, ARemovedStaticKeyGivesItsWindowBack) {
  auto process = start({.capacity = 8, .window_words = 2048});
  const SaIndex index = must(process->directory.claim(wants(kInKey, 65536))).index;
  EXPECT_TRUE(offer(process->directory.window(index, nullptr), 100));
  process->directory.release(index);
  must(process->directory.claim(wants(identity_of(7, Direction::kIn), 1024)));
  must(process->directory.claim(wants(kInKey, 1024)));
  EXPECT_FALSE(offer(process->directory.window(index, nullptr), 99));
  EXPECT_TRUE(offer(process->directory.window(index, nullptr), 101));
}

TEST_F(Directory, WindowsDoNotOverlapAndTheAreaEnds) {
  auto process = start({.capacity = 64, .window_words = 2048 + 32});
  const SaIndex large =
      must(process->directory.claim(wants(identity_of(1, Direction::kIn, false), 65536))).index;
  const SaIndex small =
      must(process->directory.claim(wants(identity_of(2, Direction::kIn, false), 1024))).index;
  EXPECT_FALSE(process->directory.claim(wants(identity_of(3, Direction::kIn, false), 1)));
  for (uint64_t number = 1; number <= 70000; ++number)
    ASSERT_TRUE(offer(process->directory.window(large, nullptr), number));
  for (uint64_t number = 1; number <= 2000; ++number)
    ASSERT_TRUE(offer(process->directory.window(small, nullptr), number)) << number;
  process->directory.release(large);
  for (uint32_t seed = 10; seed < 20; ++seed)
    must(process->directory.claim(wants(identity_of(seed, Direction::kIn, false), 1024)));
  EXPECT_FALSE(process->directory.claim(wants(identity_of(4, Direction::kIn, false), 65537)));
}

TEST(WindowAllocator, IsFirstFitAndKnowsWhatIsTaken) {
  WindowAllocator area(8 * 8);
  EXPECT_EQ(area.allocate(16), 0u);
  EXPECT_EQ(area.allocate(1), 16u);
  EXPECT_EQ(area.allocate(32), 24u);
  EXPECT_EQ(area.allocate(9), std::nullopt);
  area.free(0, 16);
  EXPECT_EQ(area.allocate(17), std::nullopt);
  EXPECT_EQ(area.allocate(8), 0u);
  EXPECT_FALSE(area.adopt(0, 8));    // taken
  EXPECT_FALSE(area.adopt(12, 4));   // no block starts here
  EXPECT_FALSE(area.adopt(56, 16));  // beyond the end
  EXPECT_FALSE(area.adopt(0xfffffff8, 16));
  EXPECT_TRUE(area.adopt(8, 8));
  EXPECT_EQ(area.allocate(8), 56u);
  EXPECT_EQ(area.allocate(1), std::nullopt);
}

}  // namespace
}  // namespace espalier::test
