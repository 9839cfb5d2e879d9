#include "dataplane/neighbor_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "dataplane/link_local.hpp"

namespace espalier::dataplane {
namespace {

using State = NeighborTable::State;
constexpr InterfaceIndex kLan(1), kWan(2);
// Of both families, and of IPv6 those that differ in one half only, so that they meet.
constexpr IpAddress address(uint32_t host) {
  constexpr uint64_t kDocumentation = 0x2001'0db8'0000'0000;
  switch (host % 4) {
    case 0:
      return ipv6(kDocumentation, host);
    case 1:
      return ipv6(kDocumentation | host, 0);
    default:
      return Ipv4Address::from_host(host);
  }
}
constexpr MacAddress kMac{0x02, 0x11, 0x22, 0x33, 0x44, 0x55}, kOther{0x02, 0, 0, 0, 0, 0xff};

TEST(NeighborTable, AnEntryIsUnresolvedThenUsableThenGone) {
  NeighborTable table;
  MacAddress mac{};
  EXPECT_EQ(table.find(kLan, address(1)), kNoNeighbor);
  const NeighborRef ref = table.find_or_add(kLan, address(1));
  EXPECT_EQ(table.find_or_add(kLan, address(1)), ref);
  EXPECT_EQ(table.find(kLan, address(1)), ref);
  EXPECT_EQ(table.find(kWan, address(1)), kNoNeighbor);
  EXPECT_EQ(table.resolve(ref, mac), State::kUnresolved);
  EXPECT_EQ(mac, MacAddress{});
  table.set_usable(ref, kMac);
  EXPECT_EQ(table.resolve(ref, mac), State::kUsable);
  EXPECT_EQ(mac, kMac);
  table.set_unusable(ref);
  EXPECT_EQ(table.resolve(ref, mac), State::kUnresolved);
  for (const State why : {State::kQueueFull, State::kFailed, State::kUnresolved}) {
    table.set_unusable(ref, why);
    EXPECT_EQ(table.resolve(ref, mac), why);
  }
  table.set_usable(ref, kOther);
  table.remove(ref);
  EXPECT_EQ(table.resolve(ref, mac), State::kGone);
  EXPECT_EQ(table.find(kLan, address(1)), kNoNeighbor);
}

TEST(NeighborTable, NoRefToARemovedEntryEverMeansItsSuccessor) {
  NeighborTable table;
  std::set<NeighborRef> old;
  MacAddress mac;
  for (uint32_t i = 0; i < 3 * NeighborTable::kSlots; ++i) {
    const NeighborRef ref = table.find_or_add(kLan, address(i));
    ASSERT_NE(ref, kNoNeighbor);
    ASSERT_TRUE(old.insert(ref).second) << "the same reference twice";
    table.set_usable(ref, kMac);
    table.remove(ref);
  }
  const NeighborRef alive = table.find_or_add(kLan, address(7));
  table.set_usable(alive, kOther);
  for (const NeighborRef ref : old) ASSERT_EQ(table.resolve(ref, mac), State::kGone);
}

TEST(NeighborTable, UseIsNoticedOnce) {
  NeighborTable table;
  MacAddress mac;
  const NeighborRef ref = table.find_or_add(kLan, address(1));
  table.set_usable(ref, kMac);
  EXPECT_FALSE(table.take_used(ref));
  table.resolve(ref, mac);
  EXPECT_TRUE(table.take_used(ref));
  EXPECT_FALSE(table.take_used(ref));
  table.set_unusable(ref);
  table.resolve(ref, mac);
  EXPECT_TRUE(table.take_used(ref)) << "unresolved ones are wanted as well";
  table.remove(ref);
  table.resolve(ref, mac);
  const NeighborRef next = table.find_or_add(kLan, address(2));
  EXPECT_FALSE(table.take_used(next));
}

TEST(NeighborTable, AFullTableSaysSo) {
  NeighborTable table;
  for (uint32_t i = 0; i < NeighborTable::kSlots; ++i)
    ASSERT_NE(table.find_or_add(kLan, address(i)), kNoNeighbor);
  EXPECT_EQ(table.find_or_add(kLan, address(0x7f000000)), kNoNeighbor);
  EXPECT_NE(table.find_or_add(kLan, address(5)), kNoNeighbor);
  for (uint32_t i = 0; i < NeighborTable::kSlots; ++i)
    ASSERT_NE(table.find(kLan, address(i)), kNoNeighbor) << i;
  table.remove(table.find(kLan, address(5)));
  EXPECT_NE(table.find_or_add(kLan, address(0x7f000000)), kNoNeighbor);
}

TEST(NeighborTable, AgreesWithAMap) {
  NeighborTable table;
  std::map<std::pair<InterfaceIndex, IpAddress>, std::pair<NeighborRef, std::optional<MacAddress>>> model;
  std::mt19937 random(826);
  for (int step = 0; step < 200'000; ++step) {
    const InterfaceIndex interface(random() % 3);
    const IpAddress ip = address(0x0a000000 + random() % 500);
    const auto known = model.find({interface, ip});
    const NeighborRef found = table.find(interface, ip);
    ASSERT_EQ(found, known == model.end() ? kNoNeighbor : known->second.first);
    if (known == model.end()) {
      model[{interface, ip}] = {table.find_or_add(interface, ip), std::nullopt};
      continue;
    }
    MacAddress mac{};
    const auto& [ref, usable] = known->second;
    ASSERT_EQ(table.resolve(ref, mac), usable ? State::kUsable : State::kUnresolved);
    if (usable) {
      ASSERT_EQ(mac, *usable);
    }
    switch (random() % 4) {
      case 0:
        table.remove(ref);
        model.erase(known);
        break;
      case 1:
        table.set_unusable(ref);
        known->second.second.reset();
        break;
      default:
        for (uint8_t& byte : mac) byte = static_cast<uint8_t>(random());
        table.set_usable(ref, mac);
        known->second.second = mac;
    }
  }
}

}  // namespace
}  // namespace espalier::dataplane
