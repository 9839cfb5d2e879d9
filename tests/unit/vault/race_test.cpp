// Several workers on one window and on one outbound cell; to be run under the thread sanitizer as well.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <thread>

#include "tests/unit/vault/support.hpp"

namespace espalier {
namespace {

constexpr int kThreads = 4;

template <class Work>
void run_in_threads(Work work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (auto& thread : threads) thread.join();
}

struct SharedWindow {
  explicit SharedWindow(uint32_t size) : words(replay_words(size)), view(&state, words.data(), size, &lock) {
    state.reset(0);
  }
  ReplayState state{};
  std::vector<std::atomic<uint64_t>> words;
  WindowLock lock;
  ReplayWindow view;
};

// Every thread offers every number, in runs of 32 as a worker does: checks without the lock, commits with it.
std::vector<std::atomic<int>> offer_all(SharedWindow& window, uint64_t numbers) {
  std::vector<std::atomic<int>> accepted(numbers + 1);
  const auto& proof = test::real_proof();
  run_in_threads([&](int thread) {
    std::mt19937 random(static_cast<unsigned>(thread));
    std::vector<ReplayWindow::Ticket> tickets;
    for (uint64_t first = 1; first <= numbers; first += 32) {
      std::vector<uint64_t> run;
      for (uint64_t number = first; number < first + 32 && number <= numbers; ++number) run.push_back(number);
      std::shuffle(run.begin(), run.end(), random);
      tickets.clear();
      for (const uint64_t number : run)
        if (auto ticket = window.view.check(SeqNo(number))) tickets.push_back(std::move(*ticket));
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
  constexpr uint64_t kLimit = 100000;
  OutboundCell cell{};
  cell.next_sequence = 1;
  cell.sequence_limit = 1000;
  std::vector<std::atomic<int>> given(kLimit);
  std::atomic<int> working{kThreads};
  std::thread reserver([&] {
    while (working > 0)
      cell.sequence_limit.store(std::min(cell.next_sequence + 1000, kLimit), std::memory_order_release);
  });
  run_in_threads([&](int thread) {
    std::mt19937 random(static_cast<unsigned>(thread));
    for (;;) {
      const auto run = cell.take(1 + random() % 32);
      for (uint64_t i = 0; i < run.granted; ++i) ++given[run.first + i];
      if (run.granted == 0 && run.first >= kLimit) break;
    }
    --working;
  });
  reserver.join();
  EXPECT_EQ(given[0], 0);
  for (uint64_t number = 1; number < kLimit; ++number) ASSERT_EQ(given[number], 1) << number;
}

}  // namespace
}  // namespace espalier
