// Fragmentation against fragments that the test support's own code cuts, and back through the reassembler.
#include "dataplane/fragment.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "dataplane/reassembler.hpp"
#include "tests/support/packet_builder.hpp"
#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/mbuf_tools.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;
constexpr uint32_t kId = 0x1f20f2b4;
bool has_right_checksum(const Bytes& packet) {
  return test::internet_checksum(test::ByteView(packet).first((packet[0] & 15) * 4)) == 0;
}

class FragmentTest : public testing::Test {
 protected:
  // Cuts `packet`; the input must come back unchanged, and all checksums be right.
  std::vector<Bytes> cut(const Bytes& packet, uint16_t limit_bytes, size_t out_size = 2 * kMaxFragments) {
    rte_mbuf* whole = jumbo_.make(packet, SecurityPath(3));
    rte_mbuf* out[2 * kMaxFragments];
    reason_ = DropReason::kNone;
    const uint16_t count = fragment(whole, limit_bytes, kId, pool_.get(), {out, out_size}, reason_);
    EXPECT_EQ(bytes_of(whole), packet);
    rte_pktmbuf_free(whole);
    std::vector<Bytes> fragments;
    for (uint16_t i = 0; i < count; ++i) {
      fragments.push_back(bytes_of(out[i]));
      EXPECT_TRUE(has_right_checksum(fragments.back())) << "fragment " << i;
      EXPECT_EQ(dataplane::packet(out[i]).path, SecurityPath(3));
      EXPECT_EQ(dataplane::packet(out[i]).ip_bytes, fragments.back().size());
      EXPECT_EQ(out[i]->pkt_len, fragments.back().size());
      EXPECT_EQ(rte_pktmbuf_headroom(out[i]), kPacketHeadroom);
      EXPECT_GE(rte_pktmbuf_tailroom(out[i]), kTailroom);
      rte_pktmbuf_free(out[i]);
    }
    return fragments;
  }

  TestPool pool_{256, 2048 + kPacketHeadroom};
  TestPool jumbo_{4, 65535};
  DropReason reason_ = DropReason::kNone;
};

Bytes udp_of(size_t total) {
  return test::udp("10.0.0.1:1", "10.0.0.2:2").id(77).payload(total - 28).bytes();
}

TEST_F(FragmentTest, CutsAsRfc791Says) {
  for (const size_t total : {577, 1501, 2960, 2961, 9000, 65535})
    for (const uint16_t limit : {552, 573, 576, 1280, 1500}) {
      if (total <= limit) continue;
      EXPECT_EQ(cut(udp_of(total), limit), test::fragments(udp_of(total), limit))
          << total << " bytes, limit " << limit;
    }
}

TEST_F(FragmentTest, WhatFitsIsOneFragmentEvenWithoutPayload) {
  const Bytes empty = test::ip(99, "10.0.0.1", "10.0.0.2", {}).bytes();
  EXPECT_EQ(cut(empty, 68), std::vector<Bytes>{empty});
  EXPECT_EQ(cut(udp_of(1499), 1499), std::vector<Bytes>{udp_of(1499)});
}

TEST_F(FragmentTest, DontFragmentIsCleared) {
  const Bytes with_df = test::udp("10.0.0.1:1", "10.0.0.2:2").id(77).payload(1000).df().bytes();
  EXPECT_EQ(cut(with_df, 600), test::fragments(udp_of(1028), 600));
}

TEST_F(FragmentTest, AFragmentIsCutFurther) {
  const auto outer = test::fragments(udp_of(4000), 1500);
  const auto finer = test::fragments(udp_of(4000), 20 + 1480 / 5);
  std::vector<Bytes> all;
  for (const Bytes& part : outer)
    for (const Bytes& piece : cut(part, 20 + 1480 / 5)) all.push_back(piece);
  EXPECT_EQ(all, finer);
}

TEST_F(FragmentTest, TheFrameAfterTheIpPacketIsLeftOut) {
  Bytes padded = udp_of(1028);
  padded.resize(1100, 0xee);
  EXPECT_EQ(cut(padded, 600), test::fragments(udp_of(1028), 600));
}

// RFC 791 section 3.1: bit 7 of an option's type says whether it is in every fragment. 0x07 record route and
// 0x44 timestamp are not, 0x94 router alert and 0x82 security are.
TEST_F(FragmentTest, OptionsFollowTheirCopiedBit) {
  const auto options_of_later = [&](std::string_view hex) {
    const Bytes packet =
        test::udp("10.0.0.1:1", "10.0.0.2:2").options(test::from_hex(hex)).payload(1000).bytes();
    const auto fragments = cut(packet, 600);
    EXPECT_EQ(fragments.size(), 2u);
    const size_t option_bytes = hex.size() / 2;
    EXPECT_EQ(test::to_hex(test::ByteView(fragments[0]).subspan(20, option_bytes)), hex);
    return test::to_hex(test::ByteView(fragments[1]).subspan(20, option_bytes));
  };
  EXPECT_EQ(options_of_later("94040000"), "94040000");
  EXPECT_EQ(options_of_later("0707040000000000"), "0101010101010100");
  EXPECT_EQ(options_of_later("01070404008203aa94040000440c0500"), "01010101018203aa94040000440c0500")
      << "the malformed last one stays";
  EXPECT_EQ(options_of_later("01010101"), "01010101");
  EXPECT_EQ(options_of_later("0004070400000000"), "0004070400000000") << "nothing counts behind the end";
  EXPECT_EQ(options_of_later("07000000"), "07000000") << "a length below 2 ends the walk";
  EXPECT_EQ(options_of_later("07050000"), "07050000") << "a length beyond the header ends the walk";
  EXPECT_EQ(options_of_later("01010107"), "01010107") << "no length";
}

TEST_F(FragmentTest, RoundTripThroughTheReassemblerWithOptions) {
  std::mt19937 random(791);
  Reassembler reassembler(jumbo_.get(), 2);
  for (int round = 0; round < 300; ++round) {
    Bytes payload(1 + random() % 20000);
    for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random());
    Bytes options(random() % 11 * 4, 1);
    const Bytes packet = test::ip(47, "10.0.0.1", "10.0.0.2", payload)
                             .id(static_cast<uint16_t>(round))
                             .options(options)
                             .bytes();
    auto fragments = cut(packet, static_cast<uint16_t>(300 + random() % 1200));
    ASSERT_FALSE(fragments.empty());
    if (fragments.size() == 1) {
      EXPECT_EQ(fragments[0], packet);
      continue;
    }
    std::shuffle(fragments.begin(), fragments.end(), random);
    rte_mbuf* whole = nullptr;
    for (const Bytes& bytes : fragments) {
      ASSERT_EQ(whole, nullptr);
      rte_mbuf* mbuf = pool_.make(bytes);
      DropReason reason;
      reassembler.add(mbuf, 0, whole, reason);
      rte_pktmbuf_free(mbuf);
    }
    ASSERT_NE(whole, nullptr);
    EXPECT_EQ(bytes_of(whole), packet);
    rte_pktmbuf_free(whole);
  }
}

TEST_F(FragmentTest, RefusesWhatWouldBeTooManyOrTooSmall) {
  const auto refuses = [&](const Bytes& packet, uint16_t limit, size_t out_size = 2 * kMaxFragments) {
    return cut(packet, limit, out_size).empty() && reason_ == DropReason::kTooBig;
  };
  EXPECT_TRUE(refuses(udp_of(65535), 531));  // 512 bytes of payload each: 128 do not hold 65515
  EXPECT_EQ(cut(udp_of(65535), 540).size(), 126u);
  EXPECT_TRUE(refuses(udp_of(1500), 27));  // no 8 bytes beside the header
  EXPECT_EQ(cut(udp_of(1028), 28).size(), 126u);
  EXPECT_TRUE(refuses(udp_of(1500), 0));
  EXPECT_TRUE(refuses(udp_of(1500), 600, 2));
  EXPECT_EQ(cut(udp_of(1500), 600, 3).size(), 3u);
}

TEST_F(FragmentTest, WithoutEnoughBuffersNothingIsMade) {
  TestPool small(2, 2048 + kPacketHeadroom);
  rte_mbuf* whole = jumbo_.make(udp_of(1500));
  rte_mbuf* out[8];
  DropReason reason{};
  EXPECT_EQ(fragment(whole, 600, kId, small.get(), out, reason), 0);
  EXPECT_EQ(reason, DropReason::kNoMbuf);
  EXPECT_EQ(small.in_use(), 0u);
  rte_pktmbuf_free(whole);
}

TEST_F(FragmentTest, FragmentsAreNoLongerThanTheBuffers) {
  const auto fragments = cut(udp_of(9000), 9000);
  ASSERT_GT(fragments.size(), 1u);
  EXPECT_EQ(fragments, test::fragments(udp_of(9000), 2048 - kTailroom));
}

}  // namespace
}  // namespace espalier::dataplane
