// Readers of all kinds while the writer adds, resolves and removes: a MAC address that comes out must be that
// of the neighbour that was asked for.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "dataplane/neighbor_table.hpp"

namespace espalier::dataplane {
namespace {

constexpr InterfaceIndex kLan(1);
constexpr uint32_t kAddresses = 64;

// All words of an address tell whose it is, so that a mixture of two is nobody's.
IpAddress address_of(uint32_t number) {
  const uint64_t word = 0x2001'0db8'0000'0000 + number;
  return {be64::from_host(word), be64::from_host(~word)};
}
// Tells whose it is.
MacAddress mac_of(uint32_t number) {
  const auto byte = static_cast<uint8_t>(number);
  return {0x02, byte, byte, static_cast<uint8_t>(~byte), byte, byte};
}

struct Findings {
  uint64_t usable = 0;
  uint64_t gone = 0;
  uint64_t wrong = 0;
};

// As a worker does: finds an entry, keeps the reference for a while, and resolves it again and again.
Findings read(const NeighborTable& table, const std::atomic<bool>& stop, uint32_t seed) {
  Findings findings;
  std::array<NeighborRef, kAddresses> kept;
  kept.fill(kNoNeighbor);
  std::mt19937 random(seed);
  while (!stop.load(std::memory_order_relaxed)) {
    const uint32_t number = random() % kAddresses;
    NeighborRef& ref = kept[number];
    if (ref == kNoNeighbor) ref = table.find(kLan, address_of(number));
    if (ref == kNoNeighbor) continue;
    MacAddress mac;
    const auto state = table.resolve(ref, mac);
    findings.usable += state == NeighborTable::State::kUsable;
    findings.wrong += state == NeighborTable::State::kUsable && mac != mac_of(number);
    if (state != NeighborTable::State::kGone) continue;
    ++findings.gone;
    ref = kNoNeighbor;
  }
  return findings;
}

// Leaves few slots free, so that they are given to others soon.
void occupy_all_but(NeighborTable& table, uint32_t free) {
  for (uint32_t i = free; i < NeighborTable::kSlots; ++i)
    ASSERT_NE(table.find_or_add(InterfaceIndex(9), address_of(i)), kNoNeighbor);
}

TEST(NeighborTableConcurrency, ReadersNeverSeeAnothersMac) {
  NeighborTable table;
  occupy_all_but(table, kAddresses + 2);
  std::atomic<bool> stop{false};
  std::vector<Findings> findings(2);
  std::vector<std::thread> readers;
  for (uint32_t i = 0; i < findings.size(); ++i)
    readers.emplace_back([&, i] { findings[i] = read(table, stop, i); });

  std::mt19937 random(1);
  std::array<NeighborRef, kAddresses> refs;
  refs.fill(kNoNeighbor);
  uint64_t used = 0;
  // Fewer changes than bring a slot's generation back to where a reader may have kept it.
  for (uint32_t change = 0; change < 100'000; ++change) {
    const uint32_t number = random() % kAddresses;
    NeighborRef& ref = refs[number];
    if (ref == kNoNeighbor) {
      ref = table.find_or_add(kLan, address_of(number));
      ASSERT_NE(ref, kNoNeighbor);
    } else if (random() % 4 == 0) {
      used += table.take_used(ref);
      table.remove(ref);
      ref = kNoNeighbor;
    } else {
      table.set_usable(ref, mac_of(number));
    }
    // On a loaded machine the readers would else get no time before it is over.
    if (change % 256 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();

  Findings all;
  for (const Findings& f : findings) all.usable += f.usable, all.gone += f.gone, all.wrong += f.wrong;
  EXPECT_EQ(all.wrong, 0u);
  EXPECT_GT(all.usable, 1000u);
  EXPECT_GT(all.gone, 100u) << "no slot changed hands while it was watched";
  EXPECT_GT(used, 100u);
}

}  // namespace
}  // namespace espalier::dataplane
