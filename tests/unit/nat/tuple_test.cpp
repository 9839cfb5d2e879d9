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

// RFC 4443 sections 4.1 and 4.2, RFC 4620: 128 and 129, 139 and 140.
TEST(Tuples, Icmpv6TypesAreInvertedInPairs) {
  const std::map<int, int> pairs{{128, 129}, {129, 128}, {139, 140}, {140, 139}};
  for (int type = 0; type < 256; ++type) {
    const Tuple query =
        tuple(kProtoIcmpv6, ip("2001:db8::1"), 7, ip("2001:db8::2"), static_cast<uint16_t>(type << 8));
    const auto reply = inverse(query);
    ASSERT_EQ(reply.has_value(), pairs.contains(type)) << type;
    if (!reply) continue;
    EXPECT_EQ(icmp_type(*reply), pairs.at(type));
    EXPECT_EQ(reply->source_port.host(), 7);
    EXPECT_EQ(reply->source, query.destination);
  }
}

// What ICMP is follows from the family; the other one's number is a protocol without ports.
TEST(Tuples, TheOtherFamilysIcmpHasNoIdentifier) {
  const Tuple odd = tuple(kProtoIcmp, ip("2001:db8::1"), 0, ip("2001:db8::2"), 0);
  EXPECT_FALSE(has_identifier(odd));
  EXPECT_EQ(*inverse(odd), tuple(kProtoIcmp, ip("2001:db8::2"), 0, ip("2001:db8::1"), 0));
  EXPECT_TRUE(has_identifier(echo(ip("10.0.0.1"), ip("10.0.0.2"), 1)));
  EXPECT_FALSE(has_identifier(tuple(kProtoIcmpv6, ip("10.0.0.1"), 0, ip("10.0.0.2"), 0)));
}

TEST(Tuples, ErrorsOfBothFamilies) {
  for (int type = 0; type < 256; ++type) {
    const bool v4 = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
    EXPECT_EQ(is_icmp_error(Family::kIpv4, static_cast<uint8_t>(type)), v4) << type;
    EXPECT_EQ(is_icmp_error(Family::kIpv6, static_cast<uint8_t>(type)), type < 128) << type;
  }
}

// As noct_valid_new in nf_conntrack: multicast listeners (RFC 2710, RFC 3810) and neighbour discovery (RFC
// 4861).
TEST(BeginSession, NeighborDiscoveryAndListenersAreUntracked) {
  for (int type = 0; type < 256; ++type) {
    const Tuple t =
        tuple(kProtoIcmpv6, ip("2001:db8::1"), 7, ip("2001:db8::2"), static_cast<uint16_t>(type << 8));
    const auto begun = begin_session(t, {});
    const bool query = type == 128 || type == 139, untracked = (type >= 130 && type <= 137) || type == 143;
    ASSERT_EQ(begun.has_value(), query) << type;
    if (!begun) {
      EXPECT_EQ(begun.error(), untracked ? DropReason::kNone : DropReason::kSessionInvalid) << type;
    }
  }
  EXPECT_FALSE(is_untracked(tuple(kProtoIcmpv6, ip("10.0.0.1"), 0, ip("10.0.0.2"), 135 << 8)));
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
