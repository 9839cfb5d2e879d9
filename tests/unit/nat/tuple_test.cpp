#include "nat/tuple.hpp"

#include <map>

#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {
namespace {

TEST(Tuples, InverseOfTheInverseIsTheTuple) {
  const Tuple flow = udp(ip(10, 0, 0, 1), 1000, ip(192, 0, 2, 1), 53);
  EXPECT_EQ(*inverse(flow), udp(ip(192, 0, 2, 1), 53, ip(10, 0, 0, 1), 1000));
  EXPECT_EQ(*inverse(*inverse(flow)), flow);
}

// RFC 792 and RFC 950: 8 and 0, 13 and 14, 15 and 16, 17 and 18 belong together.
TEST(Tuples, IcmpTypesAreInvertedInPairs) {
  const std::map<int, int> pairs{{8, 0}, {0, 8}, {13, 14}, {14, 13}, {15, 16}, {16, 15}, {17, 18}, {18, 17}};
  for (int type = 0; type < 256; ++type) {
    const Tuple query =
        tuple(kProtoIcmp, ip(10, 0, 0, 1), 7, ip(192, 0, 2, 1), static_cast<uint16_t>(type << 8 | 5));
    const auto reply = inverse(query);
    ASSERT_EQ(reply.has_value(), pairs.contains(type)) << type;
    if (!reply) continue;
    EXPECT_EQ(icmp_type(*reply), pairs.at(type));
    EXPECT_EQ(reply->source_port.host(), 7) << "both directions carry the identifier";
    EXPECT_EQ(reply->destination_port.host() & 0xff, 5) << "the code stays";
  }
}

TEST(BeginSession, IcmpAnswersAndErrorsBeginNothing) {
  for (int type = 0; type < 256; ++type) {
    const Tuple t = tuple(kProtoIcmp, ip(10, 0, 0, 1), 7, ip(192, 0, 2, 1), static_cast<uint16_t>(type << 8));
    const bool query = type == 8 || type == 13 || type == 15 || type == 17;
    EXPECT_EQ(begin_session(t, {}).has_value(), query) << type;
  }
}

TEST(BeginSession, ASocketTalkingToItselfBeginsNothing) {
  const auto begun = begin_session(udp(ip(10, 0, 0, 1), 5, ip(10, 0, 0, 1), 5), {});
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error(), DropReason::kSessionInvalid);
  EXPECT_TRUE(begin_session(udp(ip(10, 0, 0, 1), 5, ip(10, 0, 0, 1), 6), {}));
}

}  // namespace
}  // namespace espalier::nat
