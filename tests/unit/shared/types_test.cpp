#include "control/shared/types.hpp"

#include <gtest/gtest.h>

#include "control/shared/messages.hpp"
#include "control/shared/statistics.hpp"
#include "control/shared/text.hpp"

namespace espalier {
namespace {

// By libc's parser; what it cannot read fails the test.
IpAddress address(const char* text) {
  Ipv4Address v4;
  if (::inet_pton(AF_INET, text, &v4) == 1) return v4;
  IpAddress v6;
  EXPECT_EQ(::inet_pton(AF_INET6, text, &v6), 1) << text;
  return v6;
}

IpPrefix prefix(const char* text, uint8_t length) {
  return IpPrefix::of(address(text), length);
}

TEST(Types, NetworkOrderIsWhatMemoryHolds) {
  const auto port = be16::from_host(0x1194);
  EXPECT_EQ(port.raw(), 0x9411);
  EXPECT_EQ(port.host(), 0x1194);
  EXPECT_LT(be32::from_host(0x01000000), be32::from_host(0x02000000));
}

TEST(Types, AnAddressOfEitherFamilyKnowsWhichItIs) {
  const struct {
    const char* text;
    bool v4, unspecified, multicast, loopback, broadcast, link_local;
  } cases[] = {
      {"0.0.0.0", true, true, false, false, false, false},
      {"192.0.2.1", true, false, false, false, false, false},
      {"224.0.0.5", true, false, true, false, false, false},
      {"127.0.0.1", true, false, false, true, false, false},
      {"255.255.255.255", true, false, false, false, true, false},
      {"::", false, true, false, false, false, false},
      {"::1", false, false, false, true, false, false},
      {"2001:db8::1", false, false, false, false, false, false},
      {"ff02::5", false, false, true, false, false, false},
      {"fe80::1", false, false, false, false, false, true},
      {"febf::1", false, false, false, false, false, true},
      {"fec0::1", false, false, false, false, false, false},
      {"::ffff", false, false, false, false, false, false},
  };
  for (const auto& c : cases) {
    const IpAddress a = address(c.text);
    EXPECT_EQ(a.is_v4(), c.v4) << c.text;
    EXPECT_EQ(a.is_unspecified(), c.unspecified) << c.text;
    EXPECT_EQ(a.is_multicast(), c.multicast) << c.text;
    EXPECT_EQ(a.is_loopback(), c.loopback) << c.text;
    EXPECT_EQ(a.is_broadcast(), c.broadcast) << c.text;
    EXPECT_EQ(a.is_link_local(), c.link_local) << c.text;
    EXPECT_EQ(to_text(a), c.text);
    EXPECT_EQ(IpAddress::from_host(a.host()), a) << c.text;
  }
  EXPECT_LT(address("192.0.2.1"), address("192.0.3.0"));
  EXPECT_LT(address("2001:db8::ff"), address("2001:db8::1:0"));
}

TEST(Types, PrefixesContainAndOverlap) {
  const auto ten = prefix("10.0.0.0", 8);
  EXPECT_TRUE(ten.contains(address("10.255.255.255")));
  EXPECT_FALSE(ten.contains(address("11.0.0.0")));
  EXPECT_TRUE(ten.overlaps(prefix("10.1.0.0", 16)));
  EXPECT_TRUE(prefix("0.0.0.0", 0).overlaps(ten));
  EXPECT_FALSE(prefix("10.2.0.0", 16).overlaps(prefix("10.1.0.0", 16)));
  EXPECT_EQ(prefix("10.1.2.3", 24).network(), address("10.1.2.0"));
  EXPECT_EQ(prefix("10.1.2.3", 24).last(), address("10.1.2.255"));
  EXPECT_EQ(to_text(ten), "10.0.0.0/8");

  const auto site = prefix("2001:db8:a::", 48);
  EXPECT_TRUE(site.contains(address("2001:db8:a:ffff::1")));
  EXPECT_FALSE(site.contains(address("2001:db8:b::1")));
  EXPECT_TRUE(site.overlaps(prefix("2001:db8:a:8000::", 49)));
  EXPECT_EQ(prefix("2001:db8:a::1", 64).network(), address("2001:db8:a::"));
  EXPECT_EQ(prefix("2001:db8:a::1", 64).last(), address("2001:db8:a:0:ffff:ffff:ffff:ffff"));
  EXPECT_EQ(to_text(site), "2001:db8:a::/48");
}

TEST(Types, APrefixHoldsAddressesOfItsFamilyOnly) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    EXPECT_EQ(IpPrefix::any(family).family(), family);
    EXPECT_EQ(IpPrefix::any(family).written_length(), 0);
    EXPECT_EQ(IpPrefix::any(family).contains(address("192.0.2.1")), family == Family::kIpv4);
    EXPECT_EQ(IpPrefix::any(family).contains(address("2001:db8::1")), family == Family::kIpv6);
  }
  EXPECT_FALSE(IpPrefix::any(Family::kIpv4).overlaps(IpPrefix::any(Family::kIpv6)));
  EXPECT_FALSE(prefix("::", 80).contains(address("192.0.2.1")));
}

TEST(Messages, OnlyTheRightTypeVersionAndSizeAreRead) {
  message::Query query{.kind = message::QueryKind::kSessions, .cursor = 7, .limit = 9, .filter = {}};
  auto slot = message::make(query, 1, 2);
  message::Query read_back;
  ASSERT_TRUE(message::read(slot, read_back));
  EXPECT_EQ(read_back.cursor, 7u);
  message::Explain other;
  EXPECT_FALSE(message::read(slot, other));
  slot.header.version = message::kVersion + 1;
  EXPECT_FALSE(message::read(slot, read_back));
  slot.header.version = message::kVersion;
  slot.header.payload_bytes -= 1;
  EXPECT_FALSE(message::read(slot, read_back));
}

TEST(Messages, FixedStringsRefuseWhatDoesNotFit) {
  FixedString<3> text;
  EXPECT_TRUE(text.assign("abc"));
  EXPECT_FALSE(text.assign("abcd"));
  EXPECT_EQ(text.view(), "abc");
  text.length = 200;  // as garbage from a ring would have it
  EXPECT_EQ(text.view().size(), 3u);
}

}  // namespace
}  // namespace espalier
