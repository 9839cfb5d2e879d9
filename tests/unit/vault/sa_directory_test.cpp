// control/shared/sa_cells.hpp, sa_directory.hpp and sequence_file.hpp: cells that go on, files that are not
// ours.
#include "control/shared/sa_directory.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "control/shared/crc32c.hpp"
#include "tests/unit/vault/support.hpp"

namespace espalier {
namespace {

using test::identity_of;
using test::must;

constexpr CellGeometry kGeometry{.capacity = 8, .window_words = 4096};

class Directory : public testing::Test {
 protected:
  // Everything that a process has; made anew for each "process".
  struct Process {
    explicit Process(SaCells opened)
        : cells(std::move(opened)), reserver(cells), directory(must(SaDirectory::rebuild(cells, reserver))) {}
    SaCells cells;
    SequenceReserver reserver;
    SaDirectory directory;
  };
  std::unique_ptr<Process> start(CellGeometry geometry = kGeometry) {
    return std::make_unique<Process>(must(SaCells::open(runtime_.path(), state_.path(), geometry)));
  }
  // What is left after a power failure: the disk, and a memory file system that is empty.
  void reboot() { std::filesystem::remove(cells_path()); }
  std::string cells_path() const { return runtime_.path() + "/sa-cells"; }
  std::string numbers_path() const { return state_.path() + "/sa-numbers"; }
  void flip(const std::string& path, size_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const auto byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
    ASSERT_TRUE(file.flush());
  }

  test::TemporaryDirectory runtime_;
  test::TemporaryDirectory state_;
};

CellRequest wants(const SaIdentity& identity, uint32_t replay_window = 0) {
  return {.identity = identity, .replay_window = replay_window};
}
CellRequest behind(uint64_t last_sequence, CellRequest request) {
  request.last_sequence = last_sequence;
  return request;
}
CellRequest with_esn(CellRequest request) {
  request.esn = true;
  return request;
}

const SaIdentity kOutKey = identity_of(1, Direction::kOut);
const SaIdentity kInKey = identity_of(2, Direction::kIn);

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
  OutboundCell& cell = process->directory.outbound(must(process->directory.claim(esn)).index);
  must(process->reserver.extend(100, 1000));
  EXPECT_EQ(cell.take(5).first, kSequenceEnd + 1);
  must(process->directory.claim(wants(kOutKey)));
  EXPECT_EQ(cell.take(1).stop, SequenceStop::kExhausted);
  EXPECT_FALSE(must(process->reserver.extend(100, 1000)));
  must(process->directory.claim(esn));
  EXPECT_EQ(cell.take(1).first, kSequenceEnd + 6);

  const SaIdentity ike = identity_of(3, Direction::kOut, false);
  OutboundCell& of_ike = process->directory.outbound(must(process->directory.claim(wants(ike))).index);
  of_ike.next_sequence = kSequenceEnd - 1;
  EXPECT_EQ(of_ike.take(2).stop, SequenceStop::kExhausted);
  must(process->directory.claim(with_esn(wants(ike))));
  EXPECT_EQ(of_ike.take(1).first, kSequenceEnd);
}

TEST_F(Directory, ANewKeyStartsBehindItsLastSequence) {
  auto process = start();
  const SaIdentity ike = identity_of(3, Direction::kOut, false);
  EXPECT_EQ(
      process->directory.outbound(must(process->directory.claim(behind(7, wants(ike)))).index).take(1).first,
      8u);
  const SaIndex in = must(process->directory.claim(behind(1000, wants(kInKey, 64)))).index;
  const auto window = process->directory.window(in, nullptr);
  for (const uint64_t seen : {937u, 999u, 1000u}) EXPECT_FALSE(test::offer(window, seen));
  EXPECT_TRUE(test::offer(window, 1001));
}

TEST_F(Directory, AKnownKeyNeverGoesBack) {
  auto process = start();
  const SaIndex out = must(process->directory.claim(wants(kOutKey))).index;
  const SaIndex in = must(process->directory.claim(wants(kInKey, 64))).index;
  must(process->reserver.extend(100, 1000));
  process->directory.outbound(out).take(500);
  EXPECT_TRUE(test::offer(process->directory.window(in, nullptr), 500));
  must(process->directory.claim(behind(400, wants(kOutKey))));
  EXPECT_EQ(process->directory.outbound(out).take(1).first, 501u);
  must(process->directory.claim(behind(400, wants(kInKey, 64))));
  EXPECT_FALSE(test::offer(process->directory.window(in, nullptr), 500));
  EXPECT_TRUE(test::offer(process->directory.window(in, nullptr), 499))
      << "nor does its window lose anything";

  // Forward it may go; an inbound window only while no worker uses it.
  must(process->directory.claim(behind(600, wants(kOutKey))));
  EXPECT_EQ(process->directory.outbound(out).take(1).first, 601u);
  EXPECT_FALSE(process->directory.claim(behind(600, wants(kInKey, 64))));
  process->directory.release(in);
  must(process->directory.claim(behind(600, wants(kInKey, 64))));
  EXPECT_FALSE(test::offer(process->directory.window(in, nullptr), 600));
  EXPECT_TRUE(test::offer(process->directory.window(in, nullptr), 601));
}

// Static and IKE keys alike: nobody uses what a process left that is gone.
TEST_F(Directory, WhatAnEarlierProcessLeftMayGetAnotherWindow) {
  const SaIdentity ike = identity_of(3, Direction::kIn, false);
  {
    auto process = start();
    for (const SaIdentity& key : {kInKey, ike}) {
      const SaIndex index = must(process->directory.claim(wants(key, 64))).index;
      EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), 500));
    }
  }
  auto process = start();
  for (const SaIdentity& key : {kInKey, ike}) {
    const auto claim = must(process->directory.claim(behind(key == ike ? 600 : 0, wants(key, 1024))));
    EXPECT_TRUE(claim.continued);
    const uint64_t seen = key == ike ? 600 : 500;
    EXPECT_FALSE(test::offer(process->directory.window(claim.index, nullptr), seen));
    EXPECT_TRUE(test::offer(process->directory.window(claim.index, nullptr), seen + 1));
    EXPECT_FALSE(process->directory.claim(wants(key, 64))) << "now it is in use";
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
  test::step_through([&] { must(process->reserver.extend(1, 10)); },
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
    EXPECT_TRUE(test::offer(process->directory.window(in, nullptr), 500));
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
  EXPECT_FALSE(test::offer(window, 500));
  EXPECT_TRUE(test::offer(window, 499));
  EXPECT_EQ(process->directory.counters(in).packets, 3u);
}

TEST_F(Directory, AfterARebootNumbersStartBehindTheReservation) {
  {
    auto process = start();
    const SaIndex out = must(process->directory.claim(wants(kOutKey))).index;
    const SaIndex in = must(process->directory.claim(wants(kInKey, 64))).index;
    must(process->reserver.extend(100, 1000));
    process->directory.outbound(out).take(41);
    EXPECT_TRUE(test::offer(process->directory.window(in, nullptr), 500));
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
  EXPECT_FALSE(test::offer(window, 499));
  EXPECT_FALSE(test::offer(window, 500));
  EXPECT_TRUE(test::offer(window, 501));
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
  EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), 100));
  CellCounters::add(process->directory.counters(index).icv, 1);
  process->directory.release(index);
  EXPECT_EQ(process->directory.find(old_key), std::nullopt);
  EXPECT_EQ(must(process->directory.claim(wants(identity_of(6, Direction::kIn, false), 64))).index, index);
  EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), 100));
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
      ASSERT_TRUE(test::offer(window, number));
  }
  auto process = start();
  const auto window = process->directory.window(must(process->directory.claim(request)).index, nullptr);
  EXPECT_FALSE(test::offer(window, kSequenceEnd + 49));
  EXPECT_FALSE(test::offer(window, kSequenceEnd - 50)) << "in the window, of the half before";
  EXPECT_TRUE(test::offer(window, kSequenceEnd + 50));
}

TEST_F(Directory, AWindowThatLosesEsnTakesNothingTwice) {
  auto process = start();
  const SaIndex index =
      must(process->directory.claim(with_esn(behind(kSequenceEnd, wants(kInKey, 64))))).index;
  EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), kSequenceEnd + 5));
  must(process->directory.claim(wants(kInKey, 64)));
  const auto without = process->directory.window(index, nullptr);
  EXPECT_FALSE(without.esn());
  for (const uint32_t low : {5u, 6u, 0xffffffffu}) EXPECT_FALSE(without.check(low)) << low;
  must(process->directory.claim(with_esn(wants(kInKey, 64))));
  EXPECT_FALSE(test::offer(process->directory.window(index, nullptr), kSequenceEnd + 5));
  EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), kSequenceEnd + 6));
}

TEST_F(Directory, AWindowOfAnotherSizeForgetsNothing) {
  auto process = start();
  const SaIndex index = must(process->directory.claim(wants(kInKey, 32))).index;
  for (const uint64_t number : {90u, 100u})
    EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), number));
  EXPECT_FALSE(process->directory.claim(wants(kInKey, 1024)));  // workers may still use the old one
  for (const uint32_t size : {1024u, 0u, 64u}) {
    process->directory.release(index);
    EXPECT_EQ(must(process->directory.claim(wants(kInKey, size))).index, index);
    if (size == 0) continue;
    for (const uint64_t number : {90u, 91u, 100u})
      EXPECT_FALSE(test::offer(process->directory.window(index, nullptr), number));
  }
  EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), 101));
}

TEST_F(Directory, ARemovedStaticKeyGivesItsWindowBack) {
  auto process = start({.capacity = 8, .window_words = 2048});
  const SaIndex index = must(process->directory.claim(wants(kInKey, 65536))).index;
  EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), 100));
  process->directory.release(index);
  must(process->directory.claim(wants(identity_of(7, Direction::kIn), 1024)));
  must(process->directory.claim(wants(kInKey, 1024)));
  EXPECT_FALSE(test::offer(process->directory.window(index, nullptr), 99));
  EXPECT_TRUE(test::offer(process->directory.window(index, nullptr), 101));
}

TEST_F(Directory, WindowsDoNotOverlapAndTheAreaEnds) {
  auto process = start({.capacity = 64, .window_words = 2048 + 32});
  const SaIndex large =
      must(process->directory.claim(wants(identity_of(1, Direction::kIn, false), 65536))).index;
  const SaIndex small =
      must(process->directory.claim(wants(identity_of(2, Direction::kIn, false), 1024))).index;
  EXPECT_FALSE(process->directory.claim(wants(identity_of(3, Direction::kIn, false), 1)));
  for (uint64_t number = 1; number <= 70000; ++number)
    ASSERT_TRUE(test::offer(process->directory.window(large, nullptr), number));
  for (uint64_t number = 1; number <= 2000; ++number)
    ASSERT_TRUE(test::offer(process->directory.window(small, nullptr), number)) << number;
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

// --- files

TEST_F(Directory, FilesAreForTheOwnerOnlyAndHoldNoKey) {
  auto process = start();
  for (const auto& path : {cells_path(), numbers_path()}) {
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u) << path;
  }
}

TEST_F(Directory, OnlyOneOpensThem) {
  auto process = start();
  EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
  // A process that was handed the descriptors keeps the lock when the one that opened them is gone.
  const SaCells heir =
      must(SaCells::attach(process->cells.fd().duplicate(), process->cells.numbers_fd().duplicate()));
  process.reset();
  EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
}

TEST_F(Directory, AnExistingFileKeepsItsCapacity) {
  start();
  EXPECT_EQ(start({.capacity = 100, .window_words = 64})->cells.capacity(), kGeometry.capacity);
  reboot();
  EXPECT_EQ(start({.capacity = 100, .window_words = 64})->cells.capacity(), kGeometry.capacity);
}

TEST_F(Directory, ForeignAndDamagedNumbersAreNeverOverwritten) {
  { must(start()->directory.claim(wants(kOutKey))); }
  const auto refused_with = [&](size_t offset) {
    flip(numbers_path(), offset);
    const bool refused = !SaCells::open(runtime_.path(), state_.path(), kGeometry);
    flip(numbers_path(), offset);
    return refused;
  };
  for (size_t offset = 0; offset < 64; ++offset) EXPECT_TRUE(refused_with(offset)) << offset;
  EXPECT_TRUE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
  std::ofstream(numbers_path(), std::ios::trunc) << "these are somebody's notes";
  EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
  EXPECT_EQ(std::filesystem::file_size(numbers_path()), 26u);
}

TEST_F(Directory, ADamagedEntryIsAnError) {
  {
    auto process = start();
    must(process->directory.claim(wants(kOutKey)));
    must(process->reserver.extend(10, 100));
  }
  reboot();
  for (size_t offset = 64; offset < 128; ++offset) {
    flip(numbers_path(), offset);
    EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry)) << offset;
    flip(numbers_path(), offset);
  }
  EXPECT_TRUE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
}

TEST_F(Directory, ACreationThatWasInterruptedIsCompleted) {
  std::ofstream(numbers_path()).close();
  std::filesystem::resize_file(numbers_path(), 64 + 3 * 64);
  std::ofstream(cells_path() + ".new") << "half of a file";
  EXPECT_EQ(start()->cells.capacity(), kGeometry.capacity);
}

TEST_F(Directory, ShortFilesAreRefusedBeforeTheyAreTouched) {
  start();
  std::filesystem::resize_file(numbers_path(), 64 + 64 * kGeometry.capacity - 1);
  EXPECT_FALSE(SaCells::open(runtime_.path(), state_.path(), kGeometry));
  EXPECT_FALSE(SaCells::attach(Fd(::open(cells_path().c_str(), O_RDWR | O_CLOEXEC)),
                               Fd(::open(numbers_path().c_str(), O_RDWR | O_CLOEXEC))));
}

TEST_F(Directory, CellsOfOtherNumbersAreRefused) {
  start();
  std::filesystem::remove(numbers_path());
  const auto opened = SaCells::open(runtime_.path(), state_.path(), kGeometry);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text.find("does not belong"), std::string::npos);
  // One that was made here would pass for theirs after the next boot.
  EXPECT_FALSE(std::filesystem::exists(numbers_path()));
}

TEST_F(Directory, ANumbersFileThatHeldNothingIsToldFromOneThatGoesOn) {
  EXPECT_TRUE(start()->cells.numbers_made_anew());
  EXPECT_FALSE(start()->cells.numbers_made_anew());
  reboot();
  EXPECT_FALSE(start()->cells.numbers_made_anew());
  reboot();
  std::filesystem::resize_file(numbers_path(), 0);  // as some file systems leave a file after a power failure
  EXPECT_TRUE(start()->cells.numbers_made_anew());
}

TEST_F(Directory, AnSaIsInUseSinceItWasClaimedNotSinceTheProcessBegan) {
  constexpr uint32_t kLongAgo = 1;
  const auto installed_s = [](Process & process) -> auto& {
    return process.cells.cell(*process.directory.find(kOutKey)).owner.installed_s;
  };
  const uint32_t before = boot_time_s();
  {
    auto process = start();
    must(process->directory.claim(wants(kOutKey)));
    EXPECT_GE(installed_s(*process), before);
    EXPECT_LE(installed_s(*process), boot_time_s());
    installed_s(*process) = kLongAgo;
  }
  auto process = start();
  const auto index = must(process->directory.claim(wants(kOutKey))).index;
  EXPECT_EQ(installed_s(*process), kLongAgo);
  process->directory.release(index);
  must(process->directory.claim(wants(kOutKey)));
  EXPECT_GE(installed_s(*process), before);
}

TEST_F(Directory, CellsOfAnotherSizeAreMadeAnew) {
  {
    auto process = start();
    must(process->directory.claim(wants(kOutKey)));
    must(process->reserver.extend(10, 100));
  }
  std::filesystem::resize_file(cells_path(), 4096);
  auto process = start();
  EXPECT_EQ(process->directory.outbound(*process->directory.find(kOutKey)).next_sequence, 101u);
}

// --- cells whose content cannot be

class DamagedCell : public Directory {
 protected:
  void expect_refused(const std::function<void(SaCell& in, SaCell& out)>& damage) {
    auto process = start();
    SaCell& in = process->cells.cell(must(process->directory.claim(wants(kInKey, 64))).index);
    SaCell& out = process->cells.cell(must(process->directory.claim(wants(kOutKey))).index);
    SequenceReserver reserver(process->cells);
    ASSERT_TRUE(SaDirectory::rebuild(process->cells, reserver));
    damage(in, out);
    EXPECT_FALSE(SaDirectory::rebuild(process->cells, reserver));
  }
};

TEST_F(DamagedCell, State) {
  expect_refused([](SaCell& in, SaCell&) { in.owner.state = static_cast<CellState>(3); });
}
TEST_F(DamagedCell, Fingerprint) {
  expect_refused([](SaCell& in, SaCell&) { in.owner.identity.fingerprint[7] ^= 1; });
}
TEST_F(DamagedCell, NumberZero) {
  expect_refused([](SaCell&, SaCell& out) { out.outbound.next_sequence = 0; });
}
TEST_F(DamagedCell, AnEndThatNoSaHas) {
  expect_refused([](SaCell&, SaCell& out) { out.outbound.sequence_end = kSequenceEnd + 1; });
}
TEST_F(DamagedCell, EsnWithoutAWindow) {
  expect_refused([](SaCell& in, SaCell&) { in.window.shape = uint64_t{1} << 31; });
}
TEST_F(DamagedCell, WindowFloor) {
  expect_refused([](SaCell& in, SaCell&) { in.window.floor = 0; });
}
TEST_F(DamagedCell, WindowTooLarge) {
  expect_refused([](SaCell& in, SaCell&) { in.window.shape = kMaxReplayWindow + 1; });
}
TEST_F(DamagedCell, WindowOutsideOfTheArea) {
  expect_refused([](SaCell& in, SaCell&) { in.window.shape = uint64_t{4096} << 32 | 64; });
}
TEST_F(DamagedCell, WindowAtAnOddPlace) {
  expect_refused([](SaCell& in, SaCell&) { in.window.shape = uint64_t{3} << 32 | 64; });
}
TEST_F(DamagedCell, TwoCellsWithOneKey) {
  expect_refused([](SaCell& in, SaCell& out) {
    out.owner.identity = in.owner.identity;
    out.owner.checksum = in.owner.checksum;
    out.window.reset(0);
    out.window.shape = 0;
  });
}
TEST_F(DamagedCell, TwoWindowsInOnePlace) {
  expect_refused([this](SaCell& in, SaCell&) {
    // A third cell that claims the first one's words.
    const SaCells cells = must(SaCells::attach(Fd(::open(cells_path().c_str(), O_RDWR | O_CLOEXEC)),
                                               Fd(::open(numbers_path().c_str(), O_RDWR | O_CLOEXEC))));
    SaCell& third = cells.cell(SaIndex(5));
    third.owner.identity = test::identity_of(77, Direction::kIn);
    third.owner.checksum = crc32c(&third.owner.identity, sizeof third.owner.identity);
    third.window.reset(0);
    third.window.shape = in.window.shape.load();
    third.owner.state = CellState::kInUse;
  });
}

}  // namespace
}  // namespace espalier
