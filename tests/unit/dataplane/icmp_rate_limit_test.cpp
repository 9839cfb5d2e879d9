// The token bucket for ICMP errors.
#include <gtest/gtest.h>

#include "dataplane/icmp.hpp"

namespace espalier::dataplane {
namespace {

TEST(IcmpRateLimit, LetsTheConfiguredRateThroughAndABurst) {
  IcmpRateLimit limit;
  unsigned at_once = 0, later = 0;
  for (int i = 0; i < 1000; ++i) at_once += limit.take(1000, 5000);
  EXPECT_EQ(at_once, 50u);
  for (uint64_t now_ms = 5001; now_ms <= 6000; ++now_ms)
    for (int i = 0; i < 3; ++i) later += limit.take(1000, now_ms);
  EXPECT_EQ(later, 1000u);
}

TEST(IcmpRateLimit, SmallRatesComeOneByOne) {
  IcmpRateLimit limit;
  unsigned taken = 0;
  for (uint64_t now_ms = 0; now_ms < 10'000; ++now_ms) taken += limit.take(3, now_ms);
  EXPECT_EQ(taken, 30u);
}

TEST(IcmpRateLimit, APauseOfAnyLengthFillsTheBucketOnce) {
  IcmpRateLimit limit;
  for (const uint64_t now_ms : {uint64_t{0}, uint64_t{334}, uint64_t{10'000}, UINT64_MAX}) {
    EXPECT_TRUE(limit.take(3, now_ms)) << now_ms;
    EXPECT_FALSE(limit.take(3, now_ms)) << now_ms;
  }
}

TEST(IcmpRateLimit, ZeroIsNoLimit) {
  IcmpRateLimit limit;
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(limit.take(0, 0));
  EXPECT_EQ(IcmpRateLimit::share(0, 4), 0u);
  EXPECT_EQ(IcmpRateLimit::share(1000, 4), 250u);
  EXPECT_EQ(IcmpRateLimit::share(3, 4), 1u);
}

}  // namespace
}  // namespace espalier::dataplane
