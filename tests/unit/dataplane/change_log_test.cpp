// ChangeLog against a model that keeps every region for ever.
#include "dataplane/change_log.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace espalier::dataplane {
namespace {

struct Pair {
  IpAddress source, destination;
};

// Addresses and prefixes that meet now and then.
struct Random {
  std::mt19937 engine{20240601};
  uint32_t below(uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(engine); }
  IpAddress address(Family family) {
    return family == Family::kIpv4 ? IpAddress(Ipv4Address::from_host(0x0a000000 | below(64)))
                                   : IpAddress::from_host(uint128{0x20010db8} << 96 | below(64));
  }
  Family family() { return static_cast<Family>(below(2)); }
  IpPrefix prefix(Family family) {
    const uint32_t bits = family == Family::kIpv4 ? 32 : 128;
    return IpPrefix::of(address(family), static_cast<uint8_t>(bits - below(5)));
  }
  ChangedRegion region() {
    const Family f = family();
    return {prefix(f), prefix(f)};
  }
  Pair pair() {
    const Family f = family();
    return {address(f), address(f)};
  }
};

struct Model {
  struct Entry {
    uint32_t epoch;
    ChangedRegion region;
  };
  std::vector<Entry> entries;
  bool touched_since(uint32_t since, const std::vector<Pair>& pairs) const {
    for (const Entry& e : entries)
      for (const Pair& p : pairs)
        if (e.epoch > since && e.region.touches(p.source, p.destination)) return true;
    return false;
  }
  // What the log may have forgotten: flows older than the newest region that no longer fits.
  bool remembers(uint32_t since) const {
    const size_t lost = entries.size() > ChangeLog::kRegions ? entries.size() - ChangeLog::kRegions : 0;
    return lost == 0 || since >= entries[lost - 1].epoch;
  }
};

TEST(ChangeLog, AgreesWithTheModel) {
  Random random;
  ChangeLog log;
  Model model;
  int touched = 0, untouched = 0, forgotten = 0;
  for (int publish = 0; publish < 3000; ++publish) {
    std::vector<ChangedRegion> regions(random.below(4));
    for (ChangedRegion& region : regions) region = random.region();
    log = log.with(regions);
    for (const ChangedRegion& region : regions) model.entries.push_back({log.epoch(), region});
    for (int question = 0; question < 20; ++question) {
      const std::vector<Pair> pairs{random.pair(), random.pair()};
      const uint32_t since = log.epoch() - std::min(log.epoch(), random.below(60));
      if (!model.remembers(since)) {
        EXPECT_TRUE(log.touched_since(since, pairs)) << "what is not known counts as touched";
        ++forgotten;
        continue;
      }
      const bool expected = model.touched_since(since, pairs);
      ASSERT_EQ(log.touched_since(since, pairs), expected) << "publish " << publish << " since " << since;
      ++(expected ? touched : untouched);
    }
  }
  EXPECT_GT(touched, 1000);
  EXPECT_GT(untouched, 1000);
  EXPECT_GT(forgotten, 1000);
}

TEST(ChangeLog, EveryPublishIsAnEpoch) {
  const ChangeLog first;
  const ChangeLog second = first.with(std::array<ChangedRegion, 0>{});
  EXPECT_EQ(second.epoch(), first.epoch() + 1);
  EXPECT_FALSE(second.touched_since(first.epoch(), std::array{Pair{}})) << "nothing changed";
}

TEST(ChangeLog, AChangeTouchesOlderEntriesOnly) {
  const ChangeLog before;
  const ChangeLog after = before.with(std::array{kEverything});
  const std::array pair{Pair{Ipv4Address::from_host(1), Ipv4Address::from_host(2)}};
  EXPECT_TRUE(after.touched_since(before.epoch(), pair));
  EXPECT_FALSE(after.touched_since(after.epoch(), pair));
}

TEST(ChangeLog, EverythingIsBothFamiliesARouteIsOne) {
  const IpAddress v4 = Ipv4Address::from_host(0x0a000001),
                  v6 = IpAddress::from_host(uint128{0x20010db8} << 96);
  EXPECT_TRUE(kEverything.touches(v4, v4));
  EXPECT_TRUE(kEverything.touches(v6, v6));
  const auto route4 = ChangedRegion::towards(IpPrefix::of(v4, 0)), route6 = ChangedRegion::towards({});
  EXPECT_TRUE(route4.touches(v4, v4));
  EXPECT_FALSE(route4.touches(v6, v6));
  EXPECT_FALSE(route6.touches(v4, v4));
  EXPECT_TRUE(route6.touches(v6, v6));
}

// One publish with more regions than the log holds: everything older must be decided anew, nothing newer.
TEST(ChangeLog, OnePublishMayOverflow) {
  const IpPrefix far = IpPrefix::of(Ipv4Address::from_host(0xc0000200), 24);
  const ChangedRegion elsewhere{far, far};
  const ChangeLog before;
  const ChangeLog after = before.with(std::vector(ChangeLog::kRegions + 1, elsewhere));
  const std::array pair{Pair{Ipv4Address::from_host(1), Ipv4Address::from_host(2)}};
  EXPECT_TRUE(after.touched_since(before.epoch(), pair));
  EXPECT_FALSE(after.touched_since(after.epoch(), pair));
  EXPECT_FALSE(before.with(std::vector(ChangeLog::kRegions, elsewhere)).touched_since(before.epoch(), pair));
}

}  // namespace
}  // namespace espalier::dataplane
