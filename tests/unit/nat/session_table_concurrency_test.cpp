// Several workers and a reader on one table; built with the thread sanitizer this shows that its readers need
// no locks.
#include <chrono>
#include <thread>

#include "nat/session_table.hpp"
#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {
namespace {

constexpr uint16_t kWorkers = 3;
constexpr uint64_t kNow = 1'000'000;

template <class Work>
void run_workers(Work work) {
  std::vector<std::thread> threads;
  for (uint16_t worker = 0; worker < kWorkers; ++worker)
    threads.emplace_back([=] { work(WorkerId(worker)); });
  for (auto& thread : threads) thread.join();
}

// The flow of a client of 10.0.0.0/24 that all want the reply tuple of `contested`.
PendingSession contender(uint16_t worker, uint32_t contested) {
  const auto port = static_cast<uint16_t>(1024 + contested);
  PendingSession session =
      pending(udp(ip(10, 0, 0, static_cast<uint8_t>(worker + 1)), port, ip(198, 51, 100, 9), 53));
  session.reply = udp(ip(198, 51, 100, 9), 53, ip(203, 0, 113, 1), port);
  return session;
}

TEST(Concurrency, OfClashingFlowsExactlyOneIsConfirmed) {
  constexpr uint32_t kContested = 5000;
  const auto table = make_table(20000, kWorkers);
  std::atomic<uint32_t> won{0}, lost{0};
  run_workers([&](WorkerId worker) {
    for (uint32_t n = 0; n < kContested; ++n) {
      const auto ref = table->confirm(contender(worker.value, n), worker, kNow);
      if (ref)
        ++won;
      else if (ref.error() == DropReason::kNatClash)
        ++lost;
    }
  });
  EXPECT_EQ(won, kContested);
  EXPECT_EQ(lost, kContested * (kWorkers - 1));
  EXPECT_EQ(table->size(), kContested);
  for (uint32_t n = 0; n < kContested; ++n) {
    const auto by_reply = table->lookup(contender(0, n).reply);
    ASSERT_TRUE(by_reply);
    const Tuple winner = contender(by_reply->owner.value, n).original;
    EXPECT_EQ(table->tuples(*by_reply)->original, winner);
    for (uint16_t worker = 0; worker < kWorkers; ++worker) {
      const bool won_it = by_reply->owner.value == worker;
      EXPECT_EQ(table->lookup(contender(worker, n).original).has_value(), won_it);
    }
  }
}

// Sessions come and go on few indices while others look them up: nobody may see one session's tuple with
// another's content.
TEST(Concurrency, ReadersNeverSeeHalfASession) {
  constexpr uint32_t kFlows = 300;
  const auto table = make_table(400, kWorkers);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> seen{0}, wrong{0};
  std::thread reader([&] {
    std::vector<message::SessionRow> rows(64);
    for (uint64_t cursor = 0; !stop;) {
      const size_t count = table->list(cursor, rows, kNow);
      for (size_t i = 0; i < count; ++i) wrong += rows[i].reply != *inverse(rows[i].original);
    }
  });
  run_workers([&](WorkerId worker) {
    std::mt19937 random(worker.value);
    for (int round = 0; round < 60000; ++round) {
      const Tuple flow = numbered_flow(random() % kFlows);
      const auto ref = table->lookup(flow);
      if (!ref) {
        static_cast<void>(table->confirm(pending(flow), worker, kNow));
      } else if (ref->owner == worker) {
        table->update(*ref, {.bytes = 100}, kNow + 1);
        if (round % 2 == 0) table->erase(*ref);
      } else if (const auto tuples = table->tuples(*ref)) {
        ++seen;
        wrong += tuples->original != flow || tuples->reply != *inverse(flow);
      }
    }
  });
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(seen, 0u);
  uint32_t left = 0;
  for (uint32_t n = 0; n < kFlows; ++n) left += table->lookup(numbered_flow(n)).has_value();
  EXPECT_EQ(table->size(), left);
}

// In a table of a few buckets workers constantly want the same slots. What one of them confirmed is there
// until it erases it itself.
TEST(Concurrency, NobodyTakesASlotThatIsTaken) {
  const auto table = make_table(30, kWorkers);
  std::atomic<uint64_t> missing{0};
  run_workers([&](WorkerId worker) {
    for (uint32_t n = 0; n < 100000; ++n) {
      const PendingSession session = pending(numbered_flow(worker.value * 1000u + n % 100));
      const auto ref = table->confirm(session, worker, kNow);
      if (!ref) continue;
      const auto original = table->lookup(session.original), reply = table->lookup(session.reply);
      missing += !original || !reply || original->index != ref->index || reply->index != ref->index;
      table->erase(*ref);
    }
  });
  EXPECT_EQ(missing, 0u);
  EXPECT_EQ(table->size(), 0u);
}

// One session's place is taken by another's, over and over, under the eyes of a reader.
TEST(Concurrency, TuplesAreThoseOfOneSession) {
  const auto table = make_table(100);
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    for (uint32_t n = 0; !stop; ++n)
      if (const auto ref = table->confirm(pending(numbered_flow(n % 2)), WorkerId(0), kNow))
        table->erase(*ref);
  });
  uint64_t seen = 0, wrong = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (uint32_t n = 0; std::chrono::steady_clock::now() < end; ++n) {
    const auto ref = table->lookup(numbered_flow(n % 2));
    if (!ref) continue;
    const auto tuples = table->tuples(*ref);
    if (!tuples) continue;
    ++seen;
    wrong += tuples->original != numbered_flow(n % 2) || tuples->reply != *inverse(numbered_flow(n % 2));
  }
  stop = true;
  worker.join();
  EXPECT_GT(seen, 0u);
  EXPECT_EQ(wrong, 0u);
}

// The settings change and sessions expire while workers go on; the limit holds all the time.
TEST(Concurrency, TheLimitHoldsWhileEverythingMoves) {
  constexpr uint32_t kCapacity = 2000;
  const auto table = make_table(kCapacity, kWorkers);
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> largest{0};
  std::thread main_lcore([&] {
    for (uint32_t n = 0; !stop; ++n) {
      table->apply(settings(kCapacity - n % 2, 1 + n % 3));
      const uint32_t size = table->size();
      if (size > largest) largest = size;
    }
  });
  run_workers([&](WorkerId worker) {
    for (uint32_t n = 0; n < 20000; ++n) {
      const Tuple flow = numbered_flow(worker.value * 100000u + n);
      static_cast<void>(table->confirm(pending(flow), worker, kNow + n));
      if (n % 16 == 0) table->age(worker, kNow + n, 8);
    }
  });
  stop = true;
  main_lcore.join();
  EXPECT_LE(largest, kCapacity + kWorkers) << "admit() counts before it refuses";
  EXPECT_GT(largest, kCapacity * 9 / 10);
  for (uint16_t worker = 0; worker < kWorkers; ++worker)
    table->age(WorkerId(worker), kNow + 1'000'000, kCapacity * 2);
  EXPECT_EQ(table->size(), 0u);
}

}  // namespace
}  // namespace espalier::nat
