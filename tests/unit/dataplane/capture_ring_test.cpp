#include "dataplane/tap/capture_ring.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <thread>

namespace espalier::dataplane {
namespace {

using Record = std::vector<uint8_t>;

bool write(CaptureRing& ring, const Record& record) {
  const auto room = ring.reserve(static_cast<uint32_t>(record.size()));
  if (room.empty()) return false;
  std::copy(record.begin(), record.end(), room.begin());
  ring.commit();
  return true;
}

Record made(size_t length, uint8_t seed) {
  Record record(length);
  for (size_t i = 0; i < length; ++i) record[i] = static_cast<uint8_t>(seed + i);
  return record;
}

// Against a queue: what goes in comes out whole and in order, and is refused only where there is no room.
TEST(CaptureRing, IsAQueueOfRecordsOfAnyLength) {
  constexpr size_t kBytes = 4096;
  CaptureRing ring(kBytes);
  std::deque<Record> model;
  size_t waiting = 0, refused = 0, wrote = 0;
  std::mt19937 random(3);
  for (int i = 0; i < 100'000; ++i) {
    if (random() % 100 < 55) {
      const Record record = made(1 + random() % 900, static_cast<uint8_t>(i));
      if (write(ring, record)) {
        ++wrote;
        waiting += record.size();
        model.push_back(record);
      } else {
        ++refused;
        ASSERT_GT(waiting + record.size(), kBytes / 2);  // prefixes, and what is skipped at the end
      }
    } else {
      const auto front = ring.front();
      ASSERT_EQ(Record(front.begin(), front.end()), model.empty() ? Record{} : model.front());
      if (model.empty()) continue;
      waiting -= model.front().size();
      model.pop_front();
      ring.pop();
    }
  }
  EXPECT_GT(wrote, 10'000u);
  EXPECT_GT(refused, 1'000u);
}

TEST(CaptureRing, WhatIsReservedAndNotCommittedIsNotThere) {
  CaptureRing ring(4096);
  EXPECT_EQ(ring.reserve(100).size(), 100u);
  EXPECT_TRUE(ring.front().empty());
  EXPECT_TRUE(write(ring, made(10, 1)));
  EXPECT_EQ(ring.front().size(), 10u);
  EXPECT_TRUE(ring.reserve(5000).empty());
}

TEST(CaptureRing, TwoThreadsSeeWholeRecordsOnly) {
  CaptureRing ring(4096);
  constexpr uint32_t kRecords = 50'000;
  std::thread producer([&] {
    for (uint32_t n = 0; n < kRecords;) {
      Record record = made(4 + n % 300, static_cast<uint8_t>(n));
      if (write(ring, record))
        ++n;
      else
        std::this_thread::yield();
    }
  });
  uint32_t wrong = 0;
  for (uint32_t n = 0; n < kRecords;) {
    const auto front = ring.front();
    if (front.empty()) {
      std::this_thread::yield();
      continue;
    }
    wrong += Record(front.begin(), front.end()) != made(4 + n % 300, static_cast<uint8_t>(n));
    ring.pop();
    ++n;
  }
  producer.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace espalier::dataplane
