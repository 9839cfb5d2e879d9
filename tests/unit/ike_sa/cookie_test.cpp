// Cookies and the count of half-open IKE SAs.
#include "ike/sa/cookie.hpp"

#include <gtest/gtest.h>

#include "tests/unit/ike_sa/vector_file.hpp"

namespace espalier::ike::test {
namespace {

using Verdict = HalfOpenTable::Verdict;
using std::chrono::hours;

const IpAddress kPeer = Ipv4Address::from_host(0xc0000201), kOther = Ipv4Address::from_host(0xc0000202);
const Bytes kNonce(32, 7);
constexpr uint64_t kSpi = 0x0102030405060708;
const Time kStart = Time{} + hours(5);

IpAddress v6(uint64_t high, uint64_t low) {
  return {be64::from_host(high), be64::from_host(low)};
}

class CookieTest : public testing::Test {
 protected:
  bool accepts(const Bytes& cookie, Time now) { return jar_.accepts(cookie, kNonce, kSpi, kPeer, now); }
  Bytes make(Time now) { return jar_.make(kNonce, kSpi, kPeer, now).value(); }
  CookieJar jar_ = CookieJar::create(kStart).value();
};

TEST_F(CookieTest, IsGoodForItsRequestOnly) {
  const Bytes cookie = make(kStart);
  ASSERT_LE(cookie.size(), 64u);  // RFC 7296 section 2.6: 1 to 64 bytes
  EXPECT_TRUE(accepts(cookie, kStart));
  EXPECT_TRUE(accepts(cookie, kStart)) << "no memory of whom it was given to";
  EXPECT_FALSE(jar_.accepts(cookie, kNonce, kSpi, kOther, kStart));
  EXPECT_FALSE(jar_.accepts(cookie, kNonce, kSpi + 1, kPeer, kStart));
  EXPECT_FALSE(jar_.accepts(cookie, Bytes(32, 8), kSpi, kPeer, kStart));
  EXPECT_FALSE(jar_.accepts(cookie, Bytes(31, 7), kSpi, kPeer, kStart));
}

TEST_F(CookieTest, NothingElseIsGood) {
  const Bytes cookie = make(kStart);
  for (size_t i = 0; i < cookie.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      Bytes forged = cookie;
      forged[i] ^= 1 << bit;
      EXPECT_FALSE(accepts(forged, kStart)) << "byte " << i;
    }
  for (size_t size = 0; size < cookie.size(); ++size)
    EXPECT_FALSE(accepts(Bytes(cookie.begin(), cookie.begin() + size), kStart));
  Bytes longer = cookie;
  longer.push_back(0);
  EXPECT_FALSE(accepts(longer, kStart));
  EXPECT_FALSE(CookieJar::create(kStart)->accepts(cookie, kNonce, kSpi, kPeer, kStart))
      << "of another secret";
}

TEST_F(CookieTest, SecretsAreReplacedAndThePreviousStaysGood) {
  const Bytes cookie = make(kStart);
  EXPECT_TRUE(accepts(cookie, kStart + seconds(29)));
  const Bytes next = make(kStart + seconds(31));
  EXPECT_NE(next, cookie);
  EXPECT_TRUE(accepts(cookie, kStart + seconds(32)));
  EXPECT_TRUE(accepts(next, kStart + seconds(32)));
  EXPECT_TRUE(accepts(next, kStart + seconds(62)));
  EXPECT_FALSE(accepts(cookie, kStart + seconds(62))) << "its secret is two generations old";
}

TEST_F(CookieTest, LongSilenceMakesEveryCookieOld) {
  const Bytes cookie = make(kStart);
  EXPECT_FALSE(accepts(cookie, kStart + hours(1)));
  for (int i = 0; i < 300; ++i) {  // the version wraps around
    const Time now = kStart + hours(2) + seconds(31) * i;
    EXPECT_TRUE(accepts(make(now), now));
    EXPECT_FALSE(accepts(cookie, now));
  }
}

TEST(HalfOpen, AsksForCookiesFromTheThresholdOn) {
  HalfOpenTable table({.cookies = 3, .in_all = 10, .unproven_per_address = 4, .proven_per_address = 4}, 1);
  std::vector<HalfOpenTable::Ticket> tickets;
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(table.judge(kPeer, false), Verdict::kProceed);
    tickets.push_back(table.open(Ipv4Address::from_host(i), false));
  }
  EXPECT_EQ(table.judge(kPeer, false), Verdict::kAskForCookie);
  EXPECT_EQ(table.judge(kPeer, true), Verdict::kProceed);
  tickets.pop_back();
  EXPECT_EQ(table.size(), 2u);
  EXPECT_EQ(table.judge(kPeer, false), Verdict::kProceed);
}

TEST(HalfOpen, RefusesOverTheLimitInAll) {
  HalfOpenTable table({.cookies = 3, .in_all = 10, .unproven_per_address = 100, .proven_per_address = 100},
                      1);
  std::vector<HalfOpenTable::Ticket> tickets;
  for (uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(table.judge(kPeer, true), Verdict::kProceed);
    tickets.push_back(table.open(Ipv4Address::from_host(i), true));
  }
  EXPECT_EQ(table.judge(kPeer, true), Verdict::kRefuse);
  EXPECT_EQ(table.judge(kPeer, false), Verdict::kRefuse);
  tickets.front().reset();
  EXPECT_EQ(table.judge(kPeer, true), Verdict::kProceed);
}

TEST(HalfOpen, LimitsEachAddress) {
  HalfOpenTable table({.cookies = 100, .in_all = 100, .unproven_per_address = 2, .proven_per_address = 2}, 1);
  const auto first = table.open(kPeer, true);
  EXPECT_EQ(table.judge(kPeer, true), Verdict::kProceed);
  auto second = table.open(kPeer, true);
  EXPECT_EQ(table.judge(kPeer, true), Verdict::kRefuse);
  EXPECT_EQ(table.judge(kOther, true), Verdict::kProceed);
  second.reset();
  second.reset();  // counts once
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.judge(kPeer, true), Verdict::kProceed);
}

// Who forges requests in the peer's name never has a cookie.
TEST(HalfOpen, ForgedRequestsDoNotLockThePeerOut) {
  HalfOpenTable table({.cookies = 100, .in_all = 100, .unproven_per_address = 2, .proven_per_address = 2}, 1);
  const auto forged_1 = table.open(kPeer, false), forged_2 = table.open(kPeer, false);
  EXPECT_EQ(table.judge(kPeer, false), Verdict::kAskForCookie);
  EXPECT_EQ(table.judge(kPeer, true), Verdict::kProceed);
  const auto true_1 = table.open(kPeer, true);
  EXPECT_EQ(table.judge(kPeer, true), Verdict::kProceed);
}

TEST(HalfOpen, AnIpv6PeerIsItsNetwork) {
  HalfOpenTable table({.cookies = 100, .in_all = 100, .unproven_per_address = 2, .proven_per_address = 2}, 1);
  const auto first = table.open(v6(0x20010db800000001, 1), true);
  const auto second = table.open(v6(0x20010db800000001, 2), true);
  EXPECT_EQ(table.judge(v6(0x20010db800000001, 3), true), Verdict::kRefuse);
  EXPECT_EQ(table.judge(v6(0x20010db800000002, 3), true), Verdict::kProceed);
}

TEST(HalfOpen, WhatCameToNothingCountsForATime) {
  HalfOpenTable table({.cookies = 2, .in_all = 100, .unproven_per_address = 100, .proven_per_address = 100},
                      1);
  table.charge(kPeer, false, kStart + seconds(30));
  table.charge(kOther, false, kStart + seconds(31));
  table.expire(kStart + seconds(29));
  EXPECT_EQ(table.judge(kPeer, false), Verdict::kAskForCookie);
  table.expire(kStart + seconds(30));
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.judge(kPeer, false), Verdict::kProceed);
  table.expire(kStart + seconds(31));
  EXPECT_EQ(table.size(), 0u);
}

TEST(HalfOpen, TicketsMoveAndCountOnce) {
  HalfOpenTable table({}, 1);
  {
    HalfOpenTable::Ticket a = table.open(kPeer, false);
    HalfOpenTable::Ticket b = std::move(a);
    EXPECT_EQ(table.size(), 1u);
    b = table.open(kOther, true);
    EXPECT_EQ(table.size(), 1u) << "the one that was assigned over counts no more";
  }
  EXPECT_EQ(table.size(), 0u);
}

}  // namespace
}  // namespace espalier::ike::test
