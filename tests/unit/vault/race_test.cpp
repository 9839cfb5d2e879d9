// Several workers on one window and on one outbound cell; to be run under the thread sanitizer as well.
#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <random>
#include <thread>

#include "tests/unit/vault/support.hpp"

namespace espalier {
namespace {

constexpr int kThreads = 4;

// All threads begin together, or the first would be through before the last is there.
template <class Work>
void run_in_threads(Work work) {
  std::vector<std::thread> threads;
  std::barrier start(kThreads);
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      work(i);
    });
  for (auto& thread : threads) thread.join();
}

struct SharedWindow {
  explicit SharedWindow(uint32_t size)
      : words(replay_words(size)), view(&state, words.data(), size, false, &lock) {
    state.reset(0);
  }
  ReplayState state{};
  std::vector<std::atomic<uint64_t>> words;
  WindowLock lock;
  ReplayWindow view;
};

// Every thread offers every number, in runs of 32 as a worker does: checks without the lock, commits with it.
// They meet before each run, so that all commit the same numbers at the same time.
std::vector<std::atomic<int>> offer_all(SharedWindow& window, uint64_t numbers) {
  std::vector<std::atomic<int>> accepted(numbers + 1);
  const auto& proof = test::real_proof();
  std::barrier next_run(kThreads);
  run_in_threads([&](int thread) {
    std::mt19937 random(static_cast<unsigned>(thread));
    std::vector<ReplayWindow::Ticket> tickets;
    for (uint64_t first = 1; first <= numbers; first += 32) {
      std::vector<uint64_t> run;
      for (uint64_t number = first; number < first + 32 && number <= numbers; ++number) run.push_back(number);
      std::shuffle(run.begin(), run.end(), random);
      tickets.clear();
      for (const uint64_t number : run)
        if (auto ticket = window.view.check(static_cast<uint32_t>(number)))
          tickets.push_back(std::move(*ticket));
      next_run.arrive_and_wait();
      ReplayWindow::Run commits(window.view);
      for (auto& ticket : tickets) {
        const uint64_t number = ticket.number().value;
        if (commits.commit(std::move(ticket), proof)) ++accepted[number];
      }
    }
  });
  return accepted;
}

// The window holds all of them, so each is accepted exactly once: none twice, none lost to a race.
TEST(WindowRace, EachNumberIsAcceptedOnceInALargeWindow) {
  SharedWindow window(65536);
  const auto accepted = offer_all(window, 60000);
  for (uint64_t number = 1; number <= 60000; ++number) ASSERT_EQ(accepted[number], 1) << number;
}

TEST(WindowRace, EachNumberIsAcceptedAtMostOnceInASmallWindow) {
  SharedWindow window(100);
  const auto accepted = offer_all(window, 200000);
  int total = 0;
  for (const auto& count : accepted) {
    ASSERT_LE(count, 1);
    total += count;
  }
  EXPECT_GT(total, 100);
}

TEST(OutboundRace, EachNumberIsGivenOnceAndNoneIsLost) {
  constexpr uint64_t kLimit = 3000000;
  OutboundCell cell{};
  test::start_outbound(cell, 1, 1000);
  std::vector<std::atomic<uint8_t>> given(kLimit);
  std::atomic<int> working{kThreads};
  std::thread reserver([&] {
    while (working > 0) {
      cell.sequence_limit.store(std::min(cell.next_sequence + 300000, kLimit), std::memory_order_release);
      std::this_thread::yield();
    }
  });
  run_in_threads([&](int thread) {
    for (;;) {
      const auto run = cell.take(1 + static_cast<uint32_t>(thread));
      for (uint64_t i = 0; i < run.granted; ++i) ++given[run.first + i];
      if (run.granted == 0 && run.first >= kLimit) break;
      if (run.granted == 0) std::this_thread::yield();
    }
    --working;
  });
  reserver.join();
  EXPECT_EQ(given[0], 0);
  for (uint64_t number = 1; number < kLimit; ++number) ASSERT_EQ(given[number], 1) << number;
}

// Two workers with one number, one of them stopped at every instruction of its commit.
TEST(WindowInterleaved, OneOfTwoWorkersGetsTheNumber) {
  struct State {
    ReplayState window;
    std::atomic<uint64_t> words[replay_words(64)];
    WindowLock lock;
    std::atomic<int> accepted;
  };
  test::real_proof();
  const test::Shared<State> shared(1);
  State& state = shared[0];
  const ReplayWindow window(&state.window, state.words, 64, false, &state.lock);
  const auto prepare = [&] {
    state.window.reset(0);
    for (auto& word : state.words) word = 0;
    state.accepted = 0;
    test::offer(window, 10);
  };
  const auto worker = [&] { state.accepted += test::offer(window, 80) ? 1 : 0; };
  const auto verify = [&] { ASSERT_EQ(state.accepted, 1); };
  EXPECT_GT(test::interleave(prepare, worker, worker, verify), 50u);
}

TEST(OutboundInterleaved, TwoWorkersGetDifferentNumbers) {
  struct State {
    OutboundCell cell;
    SequenceRun first;
    SequenceRun second;
  };
  const test::Shared<State> shared(1);
  State& state = shared[0];
  const auto prepare = [&] { test::start_outbound(state.cell, 1, 10); };
  const auto verify = [&] {
    const auto& [cell, first, second] = state;
    ASSERT_EQ(first.granted + second.granted, 9u);
    ASSERT_TRUE(first.first + first.granted == second.first || second.first + second.granted == first.first);
    ASSERT_EQ(cell.next_sequence, 10u);
  };
  EXPECT_GT(test::interleave(
                prepare, [&] { state.first = state.cell.take(6); },
                [&] { state.second = state.cell.take(7); }, verify),
            30u);
}

// The main lcore learns a new peer while workers and espalierd look: each sees one peer or the other, never
// one's address with the other's port.
TEST(LearnedPeerRace, ReadersSeeWholePeers) {
  const auto peer = [](uint32_t n) {
    const uint64_t half = n * 0x9e3779b97f4a7c15;
    return LearnedPeer::Endpoint{{be64::from_raw(half), be64::from_raw(~half)}, static_cast<uint16_t>(n)};
  };
  LearnedPeer learned{};
  learned.learn(peer(1));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint32_t n = 1; !stop; n = n % 60000 + 1) learned.learn(peer(n));
  });
  std::atomic<int> torn{0};
  // Until each has seen it change often: on a busy machine the writer may come late.
  run_in_threads([&](int) {
    uint16_t last = 0;
    for (int changes = 0; changes < 1000;) {
      const auto seen = learned.get();
      if (!seen || *seen != peer(seen->port)) ++torn;
      if (seen && seen->port != last) ++changes, last = seen->port;
    }
  });
  stop = true;
  writer.join();
  EXPECT_EQ(torn, 0);
}

}  // namespace
}  // namespace espalier
