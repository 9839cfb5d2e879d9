// The walk over extension headers, with chains put together by hand and with random bytes.
#include "dataplane/ipv6.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/dataplane/ipv6_packets.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;
using test::fragment_header;
using test::ipv6;
using test::joined;
using test::options_header;
using test::routing_header;

constexpr uint8_t kHop = kProtoHopByHop, kDst = kProtoDestinationOptions, kRoute = kProtoRouting,
                  kFrag = kProtoFragment, kUdp = kProtoUdp;
const Bytes kL4 = test::counting_bytes(16);

TEST(Ipv6Headers, WithoutExtensionsTheUpperLayerFollows) {
  for (const uint8_t protocol :
       {kProtoTcp, kProtoUdp, kProtoIcmpv6, kProtoEsp, kProtoAh, kProtoGre, kProtoNoNext}) {
    const Ipv6Headers found = find_ipv6_headers(ipv6(protocol, kL4));
    EXPECT_FALSE(found.bad);
    EXPECT_EQ(found.protocol, protocol);
    EXPECT_EQ(found.l4_offset, 40);
    EXPECT_EQ(found.protocol_field, 6);
    EXPECT_EQ(found.unfragmentable_bytes, 40);
    EXPECT_EQ(found.unfragmentable_field, 6);
    EXPECT_FALSE(found.is_fragment());
  }
}

TEST(Ipv6Headers, AllExtensionsAreSteppedOver) {
  const Bytes packet =
      ipv6(kHop, joined({options_header(kDst, 16), options_header(kRoute, 8), routing_header(kFrag, 4, 1),
                         fragment_header(kDst, 0, true), options_header(kUdp, 264), kL4}));
  const Ipv6Headers found = find_ipv6_headers(packet);
  EXPECT_FALSE(found.bad);
  EXPECT_EQ(found.protocol, kUdp);
  EXPECT_EQ(found.l4_offset, 40 + 16 + 8 + 24 + 8 + 264);
  EXPECT_EQ(found.protocol_field, 40 + 16 + 8 + 24 + 8);
  EXPECT_TRUE(found.has_segments_left);
  EXPECT_EQ(found.fragment_header, 40 + 16 + 8 + 24);
  EXPECT_EQ(found.fragment_field, 40 + 16 + 8);
  EXPECT_FALSE(found.is_later_fragment);
  EXPECT_EQ(found.unfragmentable_bytes, 40 + 16 + 8 + 24);
  EXPECT_EQ(found.unfragmentable_field, 40 + 16 + 8);
}

// Linux's ip6_find_1stfragopt: the destination options behind a routing header are the destination's alone.
TEST(Ipv6Headers, AFragmentHeaderGoesBehindWhatRoutersLookAt) {
  const auto place = [](uint8_t first, const Bytes& payload) {
    const Ipv6Headers found = find_ipv6_headers(ipv6(first, payload));
    EXPECT_FALSE(found.bad);
    return std::pair<int, int>(found.unfragmentable_bytes, found.unfragmentable_field);
  };
  EXPECT_EQ(place(kHop, joined({options_header(kUdp), kL4})), std::pair(48, 40));
  EXPECT_EQ(place(kDst, joined({options_header(kUdp), kL4})), std::pair(48, 40));
  EXPECT_EQ(place(kRoute, joined({routing_header(kDst, 4, 0), options_header(kUdp), kL4})),
            std::pair(64, 40));
  EXPECT_EQ(
      place(kHop, joined({options_header(kDst), options_header(kRoute), routing_header(kUdp, 4, 0), kL4})),
      std::pair(80, 56));
}

TEST(Ipv6Headers, LaterFragmentsHaveNoHeadersBehindTheFragmentHeader) {
  // What looks like a chain of options is payload.
  const Ipv6Headers found =
      find_ipv6_headers(ipv6(kFrag, joined({fragment_header(kDst, 1448, false), Bytes(8, 0xff)})));
  EXPECT_FALSE(found.bad);
  EXPECT_TRUE(found.is_fragment());
  EXPECT_TRUE(found.is_later_fragment);
  EXPECT_EQ(found.protocol, kDst);
  EXPECT_EQ(found.l4_offset, 48);
}

TEST(Ipv6Headers, AtomicFragmentsAreFragments) {
  const Ipv6Headers found = find_ipv6_headers(ipv6(kFrag, joined({fragment_header(kUdp, 0, false), kL4})));
  EXPECT_FALSE(found.bad);
  EXPECT_TRUE(found.is_fragment());
  EXPECT_FALSE(found.is_later_fragment);
  EXPECT_EQ(found.protocol, kUdp);
  EXPECT_EQ(found.l4_offset, 48);
}

TEST(Ipv6Headers, BadChainsAreRefused) {
  const auto is_bad = [](uint8_t first, const Bytes& payload) {
    return find_ipv6_headers(ipv6(first, payload)).bad;
  };
  EXPECT_TRUE(is_bad(kDst, joined({options_header(kHop), options_header(kUdp), kL4}))) << "hop-by-hop second";
  EXPECT_TRUE(is_bad(kHop, joined({options_header(kHop), options_header(kUdp), kL4}))) << "hop-by-hop twice";
  EXPECT_TRUE(is_bad(kFrag, joined({fragment_header(kFrag, 0, true), fragment_header(kUdp, 0, true), kL4})));
  // RFC 5095 section 3.
  EXPECT_TRUE(is_bad(kRoute, joined({routing_header(kUdp, 0, 1), kL4}))) << "source route";
  EXPECT_FALSE(is_bad(kRoute, joined({routing_header(kUdp, 0, 0), kL4}))) << "source route that is done";
  EXPECT_FALSE(is_bad(kRoute, joined({routing_header(kUdp, 4, 1), kL4}))) << "segment routing";
}

TEST(Ipv6Headers, SegmentsLeftAreTold) {
  EXPECT_TRUE(find_ipv6_headers(ipv6(kRoute, joined({routing_header(kUdp, 2, 1), kL4}))).has_segments_left);
  EXPECT_FALSE(find_ipv6_headers(ipv6(kRoute, joined({routing_header(kUdp, 2, 0), kL4}))).has_segments_left);
  EXPECT_TRUE(
      find_ipv6_headers(ipv6(kRoute, joined({routing_header(kRoute, 2, 1), routing_header(kUdp, 2, 0), kL4})))
          .has_segments_left);
}

TEST(Ipv6Headers, EightHeadersAreAllowed) {
  for (const unsigned count : {8u, 9u}) {
    Bytes payload;
    for (unsigned i = 1; i < count; ++i) test::append(payload, options_header(kDst));
    test::append(payload, options_header(kUdp));
    test::append(payload, kL4);
    EXPECT_EQ(find_ipv6_headers(ipv6(kDst, payload)).bad, count > 8) << count;
  }
}

TEST(Ipv6Headers, ChainsThatAreCutOffAreRefused) {
  const Bytes whole = ipv6(kHop, joined({options_header(kRoute, 16), routing_header(kFrag, 4, 0),
                                         fragment_header(kDst, 0, true), options_header(kUdp, 24)}));
  for (size_t bytes = 40; bytes <= whole.size(); ++bytes) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<long>(bytes));  // its end is the heap's
    EXPECT_EQ(find_ipv6_headers(cut).bad, bytes < whole.size()) << bytes;
  }
}

// With AddressSanitizer this finds reads beyond the end; the promises of the header hold for any bytes.
TEST(Ipv6Headers, RandomChainsStayInside) {
  std::mt19937 random(8200);
  const uint8_t some[] = {kHop, kDst, kRoute, kFrag, kUdp, kProtoNoNext};
  unsigned good_fragments = 0, bad = 0;
  for (int round = 0; round < 200'000; ++round) {
    Bytes payload(random() % 80);
    for (size_t at = 0; at < payload.size(); ++at) {
      const bool may_be_header = at % 8 == 0;
      payload[at] = may_be_header ? some[random() % 6] : static_cast<uint8_t>(random() % 3);
    }
    const Bytes packet = ipv6(some[random() % 4], payload);
    const Ipv6Headers found = find_ipv6_headers(packet);
    bad += found.bad;
    if (found.bad) continue;
    ASSERT_LE(found.l4_offset, packet.size());
    ASSERT_EQ(packet[found.protocol_field], found.protocol);
    ASSERT_LE(found.unfragmentable_bytes, found.l4_offset);
    ASSERT_LT(found.unfragmentable_field, found.unfragmentable_bytes);
    ASSERT_TRUE(found.is_later_fragment || !is_ipv6_extension(found.protocol));
    if (!found.is_fragment()) continue;
    ++good_fragments;
    ASSERT_EQ(packet[found.fragment_field], kFrag);
    ASSERT_LE(found.fragment_header + 8, found.l4_offset);
  }
  EXPECT_GT(good_fragments, 10'000u);
  EXPECT_GT(bad, 10'000u);
}

}  // namespace
}  // namespace espalier::dataplane
