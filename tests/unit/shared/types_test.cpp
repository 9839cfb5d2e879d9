#include "control/shared/types.hpp"

#include <gtest/gtest.h>

#include "control/shared/messages.hpp"
#include "control/shared/statistics.hpp"

namespace espalier {
namespace {

constexpr Ipv4Prefix prefix(uint32_t host, uint8_t length) {
  return {Ipv4Address::from_host(host), length};
}

TEST(Types, NetworkOrderIsWhatMemoryHolds) {
  const auto port = be16::from_host(0x1194);
  EXPECT_EQ(port.raw(), 0x9411);
  EXPECT_EQ(port.host(), 0x1194);
  EXPECT_LT(be32::from_host(0x01000000), be32::from_host(0x02000000));
}

TEST(Types, PrefixesContainAndOverlap) {
  const auto ten = prefix(0x0a000000, 8);
  EXPECT_TRUE(ten.contains(Ipv4Address::from_host(0x0affffff)));
  EXPECT_FALSE(ten.contains(Ipv4Address::from_host(0x0b000000)));
  EXPECT_TRUE(ten.overlaps(prefix(0x0a010000, 16)));
  EXPECT_TRUE(prefix(0, 0).overlaps(ten));
  EXPECT_FALSE(prefix(0x0a020000, 16).overlaps(prefix(0x0a010000, 16)));
  EXPECT_EQ(prefix(0x0a010203, 24).network(), Ipv4Address::from_host(0x0a010200));
  EXPECT_EQ(prefix(0x0a010203, 24).broadcast(), Ipv4Address::from_host(0x0a0102ff));
}

TEST(Messages, OnlyTheRightTypeVersionAndSizeAreRead) {
  message::Query query{.kind = message::QueryKind::kSessions, .cursor = 7, .limit = 9};
  auto slot = message::make(query, 1, 2);
  message::Query read_back;
  ASSERT_TRUE(message::read(slot, read_back));
  EXPECT_EQ(read_back.cursor, 7u);
  message::Explain other;
  EXPECT_FALSE(message::read(slot, other));
  slot.header.version = 2;
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
