// Sequence numbers and replay windows of processes that die: at every instruction, at random moments, with
// and without what was in memory.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <set>
#include <thread>

#include "control/shared/sa_directory.hpp"
#include "tests/unit/vault/support.hpp"

namespace espalier {
namespace {

using test::must;
using test::Shared;

// A window in shared memory, and copies of it as a process that comes later would find them.
class MappedWindow {
 public:
  explicit MappedWindow(uint32_t size)
      : size_(size),
        state_(1),
        words_(replay_words(size)),
        view_(&state_[0], &words_[0], size, false, nullptr) {
    state_[0].reset(0);
  }
  const ReplayWindow& view() const { return view_; }
  void copy_from(const MappedWindow& other) {
    state_[0].top = other.state_[0].top.load();
    state_[0].floor = other.state_[0].floor.load();
    for (uint32_t i = 0; i < replay_words(size_); ++i) words_[i] = other.words_[i].load();
  }

 private:
  uint32_t size_;
  Shared<ReplayState> state_;
  Shared<std::atomic<uint64_t>> words_;
  ReplayWindow view_;
};

class WindowKill : public testing::TestWithParam<uint32_t> {
 protected:
  // Made here, or every stepped child would make its own: millions of instructions of IPsec-MB's start.
  void SetUp() override { test::real_proof(); }

  // A child accepts `number`; wherever it dies, nothing that was accepted is accepted again, and nothing that
  // is in the window and was never seen is refused.
  void accept_under_steps(uint64_t number) {
    const uint64_t size = GetParam();
    const uint64_t top = accepted_.empty() ? 0 : *accepted_.rbegin();
    const uint64_t new_top = std::max(top, number);
    test::step_through([&] { test::offer(window_.view(), number); },
                       [&] {
                         for (const uint64_t seen : accepted_)
                           ASSERT_FALSE(window_.view().check(static_cast<uint32_t>(seen))) << seen;
                         const uint64_t low = new_top >= size ? new_top - size + 1 : 1;
                         for (uint64_t fresh = low; fresh < new_top + 130; ++fresh) {
                           const bool was_seen = fresh == number || accepted_.contains(fresh);
                           ASSERT_TRUE(was_seen || window_.view().check(static_cast<uint32_t>(fresh)))
                               << fresh << ", lowest " << low;
                         }
                       });
    ASSERT_FALSE(window_.view().check(static_cast<uint32_t>(number)));
    accepted_.insert(number);
  }
  MappedWindow window_{GetParam()};
  std::set<uint64_t> accepted_;
};
INSTANTIATE_TEST_SUITE_P(Sizes, WindowKill, testing::Values(1, 32, 64, 100, 200));

TEST_P(WindowKill, AtEveryInstructionOfACommit) {
  const uint64_t size = GetParam();
  uint64_t top = 0;
  for (const uint64_t jump :
       {uint64_t{1}, uint64_t{1}, uint64_t{3}, uint64_t{60}, uint64_t{64}, size, uint64_t{1}, size + 64,
        uint64_t{64} * replay_words(GetParam()), uint64_t{2}, uint64_t{100000}}) {
    accept_under_steps(top += jump);
    if (size > 8 && jump > 3) accept_under_steps(top - 2);
  }
}

// What a killed commit left is a good start for the next process: it accepts the same number at most once
// more (the packet of the killed process never left), and all others exactly once.
TEST_P(WindowKill, TheNextProcessGoesOn) {
  const uint64_t size = GetParam();
  for (const uint64_t number : {1u, 2u, 5u}) test::offer(window_.view(), number);
  const uint64_t number = 5 + size + 70;
  MappedWindow heir(GetParam());
  test::step_through([&] { test::offer(window_.view(), number); },
                     [&] {
                       heir.copy_from(window_);
                       test::offer(heir.view(), number);
                       ASSERT_FALSE(test::offer(heir.view(), number));
                       for (const uint64_t seen : {1u, 2u, 5u}) ASSERT_FALSE(test::offer(heir.view(), seen));
                       ASSERT_TRUE(test::offer(heir.view(), number + 1));
                       ASSERT_FALSE(test::offer(heir.view(), number + 1));
                     });
}

TEST(WindowKillAtRandom, NoNumberIsAcceptedTwice) {
  constexpr uint64_t kNumbers = 1 << 22;
  MappedWindow window(1000);
  Shared<std::atomic<uint8_t>> accepted(kNumbers);
  Shared<std::atomic<uint64_t>> front(1);
  for (unsigned round = 0; round < 200; ++round) {
    const uint64_t start = front[0];
    const auto commit_all = [&] {
      std::mt19937_64 random(round);
      for (;;) {
        const uint64_t number = front[0] + random() % 300;
        if (number >= kNumbers) return;
        if (random() % 4 == 0) front[0] = number;
        if (test::offer(window.view(), number)) ++accepted[number];
      }
    };
    test::kill_after(round, commit_all, [&] { return front[0] != start; });
  }
  uint64_t total = 0;
  for (uint64_t number = 0; number < kNumbers; ++number) {
    ASSERT_LE(accepted[number], 1) << number;
    total += accepted[number];
  }
  EXPECT_GT(total, 10000u);
}

TEST(OutboundKill, AtEveryInstructionOfTake) {
  Shared<OutboundCell> cell(1);
  test::start_outbound(cell[0], 1, 1000);
  Shared<std::atomic<uint64_t>> sent(1);  // the highest number that left
  for (int i = 0; i < 3; ++i) {
    test::step_through(
        [&] {
          const auto run = cell[0].take(7);
          sent[0] = run.first + run.granted - 1;
        },
        [&] { ASSERT_GT(cell[0].next_sequence, sent[0]); });
  }
  EXPECT_EQ(cell[0].next_sequence, 22u);
}

// A kill leaves the old peer or the new one, and who comes next can learn another.
TEST(LearnedPeerKill, AtEveryInstructionOfLearn) {
  const LearnedPeer::Endpoint before{Ipv4Address::from_host(0xc0000201), 4500};
  const LearnedPeer::Endpoint after{Ipv4Address::from_host(0xcb007109), 61001};
  Shared<LearnedPeer> peer(1);
  Shared<LearnedPeer> heir(1);
  EXPECT_EQ(peer[0].get(), std::nullopt);
  peer[0].learn(before);
  bool changed = false;
  test::step_through([&] { peer[0].learn(after); },
                     [&] {
                       const auto seen = peer[0].get();
                       ASSERT_EQ(seen, changed || seen == after ? after : before);
                       changed = seen == after;
                       std::memcpy(static_cast<void*>(&heir[0]), &peer[0], sizeof(LearnedPeer));
                       heir[0].learn({after.address, 7});
                       ASSERT_EQ(heir[0].get(), (LearnedPeer::Endpoint{after.address, 7}));
                     });
  EXPECT_EQ(peer[0].get(), after);
  peer[0].forget();
  EXPECT_EQ(peer[0].get(), std::nullopt);
}

// A dataplane with two workers and a service thread, killed again and again. `sent` counts the packets that
// would be on the wire with a number; the first that the key has is number 1 there.
class DataplaneKill : public testing::Test {
 protected:
  static constexpr uint64_t kNumbers = 1 << 26;
  static constexpr CellGeometry kGeometry{.capacity = 4, .window_words = 64};

  void live() {
    SaCells cells = must(SaCells::open(runtime_.path(), state_.path(), kGeometry));
    SequenceReserver reserver(cells);
    SaDirectory directory = must(SaDirectory::rebuild(cells, reserver));
    OutboundCell& cell = directory.outbound(must(directory.claim(request_)).index);
    const std::jthread second([&] { send(cell, 5); });
    const std::jthread service([&] {
      for (;;) must(reserver.extend(2000, 4000));
    });
    send(cell, 8);
  }
  void send(OutboundCell& cell, uint32_t burst) {
    for (;;) {
      const auto run = cell.take(burst);
      const uint64_t first = run.first - request_.last_sequence;
      for (uint64_t i = 0; i < run.granted; ++i)
        if (first + i < kNumbers) ++sent_[first + i];
      total_[0] += run.granted;
    }
  }
  // Two of three die at work, the third somewhere on its way there.
  void live_and_die(unsigned round) {
    const uint64_t before = total_[0];
    test::kill_after(
        round * 101 % 2000, [&] { live(); }, [&] { return round % 3 == 0 || total_[0] != before; });
  }
  void expect_no_number_twice() {
    uint64_t total = 0;
    for (uint64_t number = 0; number < kNumbers; ++number) {
      ASSERT_LE(sent_[number], 1) << number;
      total += sent_[number];
    }
    EXPECT_EQ(sent_[0], 0);
    EXPECT_GT(total, 10000u);
  }

  CellRequest request_{.identity = test::identity_of(1, Direction::kOut)};
  test::TemporaryDirectory runtime_;
  test::TemporaryDirectory state_;
  Shared<std::atomic<uint8_t>> sent_{kNumbers};
  Shared<std::atomic<uint64_t>> total_{1};
};

TEST_F(DataplaneKill, NoNumberIsUsedTwice) {
  for (unsigned round = 0; round < 60; ++round) live_and_die(round);
  expect_no_number_twice();
}

TEST_F(DataplaneKill, NoNumberIsUsedTwiceAcross32Bits) {
  constexpr uint64_t kBefore = 5000;  // 2^32
  request_.esn = true;
  request_.last_sequence = kSequenceEnd - kBefore;
  for (unsigned round = 0; round < 30; ++round) live_and_die(round);
  expect_no_number_twice();
  // Besides those in the hands of who was killed none is left out on either side of 2^32.
  for (const uint64_t first : {kBefore - 1000, kBefore}) {
    uint64_t sent = 0;
    for (uint64_t number = first; number < first + 1000; ++number) sent += sent_[number];
    EXPECT_GT(sent, 500u) << first;
  }
}

// Every other time the memory file system is empty afterwards.
TEST_F(DataplaneKill, NoNumberIsUsedTwiceAcrossReboots) {
  for (unsigned round = 0; round < 60; ++round) {
    live_and_die(round);
    if (round % 2 == 0) std::filesystem::remove(runtime_.path() + "/sa-cells");
  }
  expect_no_number_twice();
}

}  // namespace
}  // namespace espalier
