#include "control/shared/message_decode.hpp"

#include <gtest/gtest.h>

#include <random>

namespace espalier::message {
namespace {

Ack ack(uint8_t ok) {
  Ack a;
  a.ok = ok;
  return a;
}

TEST(Decode, AMessageComesOutAsItWentIn) {
  const auto decoded = decode_from_daemon(
      make(Query{.kind = QueryKind::kSessions, .cursor = 5, .limit = 6, .filter = {}}, 1, 2));
  ASSERT_TRUE(decoded);
  const auto* query = std::get_if<Query>(&*decoded);
  ASSERT_NE(query, nullptr);
  EXPECT_EQ(query->cursor, 5u);
  EXPECT_TRUE(std::holds_alternative<ConfigAbort>(*decode_from_daemon(make(ConfigAbort{}, 1, 2))));
  EXPECT_TRUE(std::holds_alternative<Ack>(*decode_from_dataplane(make(ack(1), 1, 2))));
}

TEST(Decode, EventsComeFromTheDataplane) {
  Expire expire{.spi = Spi(0x1000), .direction = Direction::kIn, .hard = 1, .name = {}};
  const auto decoded = decode_from_dataplane(make(expire, 0, 7));
  ASSERT_TRUE(decoded) << decoded.error();
  EXPECT_EQ(std::get<Expire>(*decoded).hard, 1);
  expire.hard = 2;
  EXPECT_EQ(decode_from_dataplane(make(expire, 0, 7)).error(), "hard is neither 0 nor 1");
  Acquire acquire;
  acquire.policy = PolicyIndex(5);
  EXPECT_TRUE(std::holds_alternative<Acquire>(*decode_from_dataplane(make(acquire, 0, 7))));
  acquire.policy = kNoPolicy;
  EXPECT_EQ(decode_from_dataplane(make(acquire, 0, 7)).error(), "acquire without policy and VTI");
  EXPECT_EQ(decode_from_dataplane(make(Mapping{}, 0, 7)).error(), "SPI below 256");
  EXPECT_EQ(decode_from_daemon(make(expire, 0, 7)).error(), "unknown message type");
}

TEST(Decode, EachDirectionHasItsOwnMessages) {
  EXPECT_EQ(decode_from_daemon(make(Ack{}, 1, 2)).error(), "unknown message type");
  EXPECT_EQ(decode_from_dataplane(make(Query{}, 1, 2)).error(), "unknown message type");
}

TEST(Decode, VersionSizeAndValuesAreChecked) {
  auto slot = make(Query{}, 1, 2);
  slot.header.version = kVersion + 1;
  EXPECT_EQ(decode_from_daemon(slot).error(), "unknown message version");
  EXPECT_EQ(decode_from_dataplane(slot).error(), "unknown message version");
  slot = make(Query{}, 1, 2);
  slot.header.payload_bytes += 1;
  EXPECT_EQ(decode_from_daemon(slot).error(), "wrong payload size");
  EXPECT_EQ(decode_from_daemon(make(Query{.limit = 0, .filter = {}}, 1, 2)).error(),
            "query limit out of range");
  SaRecord sa;
  sa.spi = Spi(7);
  EXPECT_EQ(decode_from_daemon(make(Sa{sa}, 1, 2)).error(), "SPI below 256");
  EXPECT_EQ(decode_from_dataplane(make(ack(9), 1, 2)).error(), "ok is neither 0 nor 1");
}

// Right header, random values: what comes through satisfies what a receiver relies on, and both outcomes
// occur.
TEST(Decode, RandomValuesAreRefusedOrInRange) {
  std::mt19937_64 random(20240731);
  size_t accepted = 0, refused = 0;
  for (int i = 0; i < 100'000; ++i) {
    Slot slot = make(Query{}, random(), random());
    slot.payload[offsetof(Query, kind)] = random() % 8;
    slot.payload[offsetof(Query, limit) + random() % 4] = static_cast<uint8_t>(random());
    const auto decoded = decode_from_daemon(slot);
    ++(decoded ? accepted : refused);
    if (!decoded) continue;
    const auto& query = std::get<Query>(*decoded);
    ASSERT_LE(query.kind, QueryKind::kSessions);
    ASSERT_TRUE(query.limit >= 1 && query.limit <= 4096) << query.limit;
  }
  EXPECT_GT(accepted, 1000u);
  EXPECT_GT(refused, 1000u);
}

}  // namespace
}  // namespace espalier::message
