// IPv6 fragments in and out: against what Linux did with the same ones (tests/oracle), and with hostile
// input. What both families share is in reassembler_test.cpp and fragment_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "dataplane/fragment.hpp"
#include "dataplane/reassembler.hpp"
#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/ipv6_packets.hpp"
#include "tests/unit/dataplane/mbuf_tools.hpp"
#include "tests/unit/dataplane/recorded_packets.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;
using test::fragment_header;
using test::ipv6;
using test::Ipv6Fields;
using test::joined;
using test::options_header;
using Outcome = Reassembler::Outcome;
const std::string kRecording = std::string(ORACLE_GOLDEN) + "/41-ipv6-fragments";
constexpr uint32_t kId6 = 0x1f20f2b4;

Bytes slice(const Bytes& bytes, size_t from, size_t count) {
  return test::copy(test::ByteView(bytes).subspan(from, std::min(count, bytes.size() - from)));
}

// A fragment of our own making.
struct Piece6 {
  uint32_t offset = 0;
  Bytes payload;
  bool more = true;
  uint32_t id = 7;
  uint8_t next_header = kProtoUdp;
};
Bytes build6(const Piece6& piece, const Ipv6Fields& fields = {}) {
  return ipv6(kProtoFragment,
              joined({fragment_header(piece.next_header, piece.offset, piece.more, piece.id), piece.payload}),
              fields);
}

// The fragments of a packet whose first `header_bytes` all of them have; the byte at `name` names what
// follows.
std::vector<Bytes> naive_fragments(const Bytes& packet, size_t limit, size_t header_bytes, size_t name) {
  const size_t step = (limit - header_bytes - 8) / 8 * 8;
  std::vector<Bytes> fragments;
  for (size_t at = header_bytes; at < packet.size(); at += step) {
    const auto offset = static_cast<uint32_t>(at - header_bytes);
    Bytes one = joined({slice(packet, 0, header_bytes),
                        fragment_header(packet[name], offset, at + step < packet.size(), kId6),
                        slice(packet, at, step)});
    one[name] = kProtoFragment;
    test::put16(one, 4, static_cast<uint16_t>(one.size() - 40));
    fragments.push_back(one);
  }
  return fragments;
}

class Ipv6FragmentsTest : public testing::Test {
 protected:
  struct Result {
    Outcome outcome;
    DropReason reason;
    Bytes whole;               // kComplete
    dataplane::Packet record;  // of the whole, or of the context that was given up
    bool gave_up = false;
  };

  Result add(const Bytes& bytes, SecurityPath path = kClear, InterfaceIndex in = InterfaceIndex(1)) {
    rte_mbuf* fragment = small_.make(bytes, path);
    packet(fragment).in = in;
    rte_mbuf* whole = nullptr;
    Result result{};
    result.outcome = reassembler_.add(fragment, 0, whole, result.reason);
    EXPECT_EQ(bytes_of(fragment), bytes);
    rte_pktmbuf_free(fragment);
    if (!whole) return result;
    result.record = packet(whole);
    result.gave_up = result.outcome != Outcome::kComplete;
    if (!result.gave_up) result.whole = bytes_of(whole);
    headroom_ = rte_pktmbuf_headroom(whole);
    tailroom_ = rte_pktmbuf_tailroom(whole);
    rte_pktmbuf_free(whole);
    return result;
  }
  Result add(const Piece6& piece) { return add(build6(piece)); }

  // The packet without its fragment header, or nothing when it is no atomic fragment.
  std::optional<Bytes> unwrap(const Bytes& bytes, dataplane::Packet* record = nullptr) {
    rte_mbuf* mbuf = small_.make(bytes);
    std::optional<Bytes> result;
    if (unwrap_atomic_fragment(mbuf))
      result = bytes_of(mbuf);
    else
      EXPECT_EQ(bytes_of(mbuf), bytes);
    if (record) *record = packet(mbuf);
    rte_pktmbuf_free(mbuf);
    return result;
  }

  std::vector<Bytes> cut(const Bytes& packet, uint16_t limit, uint32_t id = kId6) {
    rte_mbuf* whole = jumbo_.make(packet, SecurityPath(3));
    const uint16_t l4_offset = dataplane::packet(whole).l4_offset;
    rte_mbuf* out[kMaxFragments];
    reason_ = DropReason::kNone;
    const uint16_t count = fragment(whole, limit, id, small_.get(), out, reason_);
    EXPECT_EQ(bytes_of(whole), packet);
    rte_pktmbuf_free(whole);
    std::vector<Bytes> fragments;
    for (uint16_t i = 0; i < count; ++i) {
      const dataplane::Packet& record = dataplane::packet(out[i]);
      fragments.push_back(bytes_of(out[i]));
      EXPECT_EQ(record.path, SecurityPath(3));
      EXPECT_EQ(record.ip_bytes, fragments.back().size());
      EXPECT_EQ(record.l4_offset, l4_offset + (count > 1 ? 8 : 0));
      EXPECT_EQ(record.flags & kFragment, i > 0 ? kFragment : 0);
      EXPECT_GE(rte_pktmbuf_tailroom(out[i]), kTailroom);
      rte_pktmbuf_free(out[i]);
    }
    return fragments;
  }

  // What forwarding gives for the recorded steps: all whole, hop limit lowered, cut to their old sizes.
  std::vector<Bytes> forward(uint32_t first_step, uint32_t last_step, uint32_t id) {
    std::vector<Bytes> sent;
    for (uint32_t step = first_step; step <= last_step; ++step)
      for (const Bytes& received : test::recorded(kRecording, "in-lan0", step)) {
        dataplane::Packet record;
        Bytes whole = unwrap(received, &record).value_or(Bytes{});
        if (whole.empty()) {
          const Result result = add(received);
          whole = result.whole;
          record = result.record;
        }
        if (whole.empty()) continue;
        EXPECT_EQ(record.flags, kReassembled);
        EXPECT_EQ(record.ip_bytes, whole.size());
        --whole[7];
        for (Bytes& fragment : cut(whole, std::min<uint16_t>(record.fragment_limit, 1500), id))
          sent.push_back(std::move(fragment));
      }
    return sent;
  }

  TestPool small_{200, 9216};
  TestPool jumbo_{64, Reassembler::kJumboRoom};
  Reassembler reassembler_{jumbo_.get(), 4};
  DropReason reason_ = DropReason::kNone;
  uint16_t headroom_ = 0, tailroom_ = 0;
};

TEST_F(Ipv6FragmentsTest, TheyLeaveAsLinuxSentThem) {
  struct Case {
    const char* name;
    uint32_t first_step, last_step;
    size_t sent;
    const char* out = "out-wan0";
  };
  const Case cases[] = {
      {"regular", 1, 2, 2},
      {"small", 3, 5, 3},
      {"reversed", 6, 8, 3},
      {"atomic", 9, 9, 1},
      {"duplicate", 10, 12, 2},
      {"overlap", 13, 15, 0},
      {"options before", 16, 17, 2},
      {"other next header", 18, 19, 2},
      {"congestion", 20, 21, 2},
      {"mixed ECN", 22, 23, 0},
      {"fits", 28, 29, 2, "out-wan1"},
  };
  for (const Case& c : cases) {
    std::vector<Bytes> linux_sent;
    for (uint32_t step = c.first_step; step <= c.last_step; ++step)
      for (const Bytes& bytes : test::recorded(kRecording, c.out, step)) linux_sent.push_back(bytes);
    ASSERT_EQ(linux_sent.size(), c.sent) << c.name;
    const bool cut_again = c.sent > 1;
    const size_t header_bytes = cut_again && linux_sent[0][6] != kProtoFragment ? 48 : 40;
    const uint32_t id = cut_again ? test::get32(linux_sent[0], header_bytes + 4) : 0;
    EXPECT_EQ(forward(c.first_step, c.last_step, id), linux_sent) << c.name;
    rte_mbuf* lost[4];
    for (size_t left = reassembler_.expire(Reassembler::kTimeoutMs, lost); left > 0; --left)
      rte_pktmbuf_free(lost[left - 1]);
  }
}

// --- Reassembly ---

TEST_F(Ipv6FragmentsTest, TheWholeHasTheFirstFragmentsHeaders) {
  const Bytes before =
      joined({options_header(kProtoRouting, 16), test::routing_header(kProtoFragment, 4, 0)});
  const Bytes payload = test::counting_bytes(1000);
  const auto piece = [&](uint8_t next, size_t from, size_t count, bool more) {
    return ipv6(kProtoHopByHop, joined({before, fragment_header(next, static_cast<uint32_t>(from), more),
                                        slice(payload, from, count)}));
  };
  ASSERT_EQ(add(piece(99, 800, 200, false)).outcome, Outcome::kWaiting);
  const Result result = add(piece(kProtoUdp, 0, 800, true), kClear, InterfaceIndex(5));
  ASSERT_EQ(result.outcome, Outcome::kComplete);
  EXPECT_EQ(result.reason, DropReason::kUsedFragment);
  Bytes headers = before;
  headers[16] = kProtoUdp;
  EXPECT_EQ(result.whole, ipv6(kProtoHopByHop, joined({headers, payload})));
  EXPECT_EQ(result.record.in, InterfaceIndex(5));
  EXPECT_EQ(result.record.fragment_limit, 40 + 40 + 8 + 800);
}

TEST_F(Ipv6FragmentsTest, OnlyTheSameDatagramOfTheSamePathMeets) {
  const Piece6 last{.offset = 8, .payload = Bytes(8, 2), .more = false, .id = 0x10007};
  ASSERT_EQ(add(build6({.payload = Bytes(8, 1), .id = 0x10007}), SecurityPath(5)).outcome, Outcome::kWaiting);
  EXPECT_EQ(add(build6(last)).outcome, Outcome::kWaiting)
      << "a clear fragment completed a decrypted datagram";
  EXPECT_EQ(add(build6(last, {.source = test::kPeer6}), SecurityPath(5)).outcome, Outcome::kWaiting);
  Piece6 other_id = last;
  other_id.id = 7;
  EXPECT_EQ(add(build6(other_id), SecurityPath(5)).outcome, Outcome::kWaiting)
      << "16 bits of the identification";
  EXPECT_EQ(add(build6(last), SecurityPath(5)).outcome, Outcome::kComplete);
}

TEST_F(Ipv6FragmentsTest, LinkLocalSourcesAreOfOneLinkEach) {
  const Ipv6Fields fields{.source = "fe80::1", .destination = "fe80::2"};
  const Bytes first = build6({.payload = Bytes(8, 1)}, fields);
  const Bytes last = build6({.offset = 8, .payload = Bytes(8, 2), .more = false}, fields);
  ASSERT_EQ(add(first, kClear, InterfaceIndex(1)).outcome, Outcome::kWaiting);
  EXPECT_EQ(add(last, kClear, InterfaceIndex(2)).outcome, Outcome::kWaiting);
  EXPECT_EQ(add(last, kClear, InterfaceIndex(1)).outcome, Outcome::kComplete);
}

TEST_F(Ipv6FragmentsTest, BothFamiliesShareOneReassembler) {
  const auto parts = test::fragments(test::udp("10.0.0.1:1", "10.0.0.2:2").payload(1000).bytes(), 600);
  ASSERT_EQ(parts.size(), 2u);
  ASSERT_EQ(add(build6({.payload = Bytes(8, 1)})).outcome, Outcome::kWaiting);
  ASSERT_EQ(add(parts[0]).outcome, Outcome::kWaiting);
  EXPECT_EQ(reassembler_.waiting(), 2u);
  EXPECT_EQ(add(build6({.offset = 8, .payload = Bytes(8, 2), .more = false})).outcome, Outcome::kComplete);
  EXPECT_EQ(add(parts[1]).outcome, Outcome::kComplete);
}

TEST_F(Ipv6FragmentsTest, TheLongestDatagramHas65535Bytes) {
  const auto last_of = [&](size_t payload_bytes) {
    for (uint32_t at = 0; at + 8000 < payload_bytes; at += 8000)
      EXPECT_EQ(add({.offset = at, .payload = test::counting_bytes(8000)}).outcome, Outcome::kWaiting);
    const auto offset = static_cast<uint32_t>((payload_bytes - 1) / 8000 * 8000);
    return add({.offset = offset, .payload = test::counting_bytes(payload_bytes - offset), .more = false});
  };
  const Result longest = last_of(65535 - 40);
  ASSERT_EQ(longest.outcome, Outcome::kComplete);
  EXPECT_EQ(longest.whole.size(), 65535u);
  EXPECT_EQ(test::get16(longest.whole, 4), 65495);
  EXPECT_EQ(longest.whole.back(), static_cast<uint8_t>((65495 - 64000 - 1) & 0xff));
  const Result roomy = last_of(Reassembler::kMaxRoomyWhole - 40);
  ASSERT_EQ(roomy.outcome, Outcome::kComplete);
  EXPECT_GE(headroom_, kPacketHeadroom);
  EXPECT_GE(tailroom_, kTailroom);
  EXPECT_EQ(last_of(65535 - 39).outcome, Outcome::kDropped);
}

TEST_F(Ipv6FragmentsTest, OverlapsEndTheContext) {
  const std::vector<std::vector<Piece6>> attacks = {
      {{.payload = Bytes(16, 1)}, {.offset = 8, .payload = Bytes(16, 2)}},
      {{.payload = Bytes(16, 1)}, {.offset = 8, .payload = Bytes(8, 1)}},  // adds nothing: RFC 5722 section 4
      {{.payload = Bytes(16, 1)}, {.payload = Bytes(16, 2)}},
      {{.offset = 16, .payload = Bytes(9, 1), .more = false}, {.offset = 32, .payload = Bytes(8, 2)}},
  };
  for (const auto& attack : attacks) {
    ASSERT_EQ(add(attack[0]).outcome, Outcome::kWaiting);
    const Result result = add(attack[1]);
    EXPECT_EQ(result.outcome, Outcome::kDropped);
    EXPECT_TRUE(result.gave_up);
    EXPECT_EQ(result.record.reason, DropReason::kFragmentMalformed);
    EXPECT_EQ(reassembler_.waiting(), 0u);
  }
}

TEST_F(Ipv6FragmentsTest, ImpossibleFragmentsDropAloneAndHarmNoContext) {
  ASSERT_EQ(add(build6({.payload = test::counting_bytes(16)})).outcome, Outcome::kWaiting);
  const auto refused = [&](const Bytes& bytes) {
    const Result result = add(bytes);
    return result.outcome == Outcome::kDropped && result.reason == DropReason::kFragmentMalformed &&
           !result.gave_up;
  };
  EXPECT_TRUE(refused(build6({.offset = 16, .payload = test::counting_bytes(7)})));  // no multiple of 8
  EXPECT_TRUE(refused(build6({.offset = 16, .payload = {}, .more = false})));
  EXPECT_TRUE(refused(build6({.offset = 65488, .payload = test::counting_bytes(8)})));  // beyond 65535
  EXPECT_TRUE(refused(build6({.payload = test::counting_bytes(16), .more = false})));   // atomic
  Bytes liar = build6({.offset = 16, .payload = test::counting_bytes(8)});
  test::put16(liar, 4, 100);
  EXPECT_TRUE(refused(liar));
  liar = build6({.offset = 16, .payload = test::counting_bytes(8)});
  test::put16(liar, 4, 7);  // ends within the fragment header
  EXPECT_TRUE(refused(liar));
  EXPECT_TRUE(refused(Bytes(39, 0x60)));
  EXPECT_TRUE(refused(ipv6(kProtoUdp, test::udp6(16)))) << "no fragment";
  for (const size_t options : {Reassembler::kMaxHeaderBytes - 40u, Reassembler::kMaxHeaderBytes - 32u}) {
    const Bytes fragment =
        joined({fragment_header(kProtoUdp, 16, true, static_cast<uint32_t>(options)), Bytes(8, 0)});
    const Result result =
        add(ipv6(kProtoDestinationOptions, joined({options_header(kProtoFragment, options), fragment})));
    EXPECT_EQ(result.outcome,
              options + 40 > Reassembler::kMaxHeaderBytes ? Outcome::kDropped : Outcome::kWaiting);
  }
  EXPECT_EQ(add({.offset = 16, .payload = test::counting_bytes(3), .more = false}).outcome,
            Outcome::kComplete);
}

TEST_F(Ipv6FragmentsTest, HashIsTheSameForAllFragmentsAndSpreads) {
  std::set<uint32_t> hashes;
  const auto hash = [&](const Bytes& bytes) {
    rte_mbuf* mbuf = small_.make(bytes);
    const uint32_t value = fragment_hash(mbuf);
    rte_pktmbuf_free(mbuf);
    return value;
  };
  for (uint32_t id = 0; id < 1000; ++id) {
    const uint32_t first = hash(build6({.payload = Bytes(8, 1), .id = id << 16}));
    // The next header of later fragments may be another (RFC 8200 section 4.5).
    const Piece6 last{.offset = 8, .payload = Bytes(4, 1), .more = false, .id = id << 16, .next_header = 99};
    EXPECT_EQ(first, hash(build6(last)));
    hashes.insert(first);
  }
  EXPECT_EQ(hashes.size(), 1000u);
}

// --- Atomic fragments ---

TEST_F(Ipv6FragmentsTest, AtomicFragmentsHaveNothingToDoWithWhatWaits) {
  ASSERT_EQ(add(build6({.payload = Bytes(16, 1)})).outcome, Outcome::kWaiting);
  const Bytes atomic = build6({.payload = test::udp6(100), .more = false});  // the same identification
  EXPECT_EQ(unwrap(atomic), ipv6(kProtoUdp, test::udp6(100)));
  EXPECT_EQ(add({.offset = 16, .payload = Bytes(8, 1), .more = false}).outcome, Outcome::kComplete);
}

TEST_F(Ipv6FragmentsTest, OnlyTheFragmentHeaderIsTakenOff) {
  const auto with_chain = [](const Bytes& more) {
    return ipv6(kProtoHopByHop, joined({options_header(kProtoDestinationOptions),
                                        options_header(more.empty() ? kProtoUdp : kProtoFragment, 16), more,
                                        test::udp6(64)}));
  };
  dataplane::Packet record;
  EXPECT_EQ(unwrap(with_chain(fragment_header(kProtoUdp, 0, false)), &record), with_chain({}));
  EXPECT_EQ(record.flags, kReassembled);
  EXPECT_EQ(record.fragment_limit, 40 + 24 + 8 + 72);
  EXPECT_EQ(record.ip_bytes, 40 + 24 + 72);
}

TEST_F(Ipv6FragmentsTest, WhatIsNotAtomicStaysAsItIs) {
  EXPECT_FALSE(unwrap(build6({.payload = Bytes(8, 1)})));
  EXPECT_FALSE(unwrap(build6({.offset = 8, .payload = Bytes(8, 1), .more = false})));
  EXPECT_FALSE(unwrap(ipv6(kProtoUdp, test::udp6(16))));
  EXPECT_FALSE(unwrap(test::fragments(test::udp("10.0.0.1:1", "10.0.0.2:2").payload(1000).bytes(), 600)[1]));
}

// --- Fragmentation ---

TEST_F(Ipv6FragmentsTest, CutsAsRfc8200Says) {
  for (const size_t total : {1281, 1501, 9000, 65535})
    for (const uint16_t limit : {1280, 1287, 1500}) {
      if (total <= limit) continue;
      const Bytes packet = ipv6(kProtoEsp, test::counting_bytes(total - 40), {.traffic_class = 0xba});
      EXPECT_EQ(cut(packet, limit), naive_fragments(packet, limit, 40, 6)) << total << " by " << limit;
    }
}

TEST_F(Ipv6FragmentsTest, WhatRoutersLookAtIsInEachFragment) {
  const Bytes chain =
      joined({options_header(kProtoRouting, 16), test::routing_header(kProtoDestinationOptions, 4, 0),
              options_header(kProtoUdp), test::udp6(3000)});
  const Bytes packet = ipv6(kProtoHopByHop, chain);
  EXPECT_EQ(cut(packet, 1280), naive_fragments(packet, 1280, 40 + 16 + 24, 40 + 16));
}

TEST_F(Ipv6FragmentsTest, WhatFitsIsCopied) {
  const Bytes packet = ipv6(kProtoUdp, test::udp6(1000));
  EXPECT_EQ(cut(packet, 1500), std::vector<Bytes>{packet});
  EXPECT_EQ(cut(ipv6(kProtoNoNext, {}), 1280), std::vector<Bytes>{ipv6(kProtoNoNext, {})});
}

TEST_F(Ipv6FragmentsTest, FragmentsOfOthersAreNotCut) {
  EXPECT_TRUE(cut(build6({.payload = Bytes(1400, 1)}), 1280).empty());
  EXPECT_EQ(reason_, DropReason::kTooBig);
  EXPECT_TRUE(cut(build6({.payload = Bytes(1400, 1), .more = false}), 1280).empty());
  EXPECT_EQ(reason_, DropReason::kTooBig);
}

TEST_F(Ipv6FragmentsTest, LimitsThatHoldNoPayloadAreRefused) {
  const Bytes packet = ipv6(kProtoUdp, test::udp6(72));
  EXPECT_EQ(cut(packet, 56).size(), 10u);
  EXPECT_TRUE(cut(packet, 55).empty());
  EXPECT_EQ(reason_, DropReason::kTooBig);
  EXPECT_TRUE(cut(packet, 0).empty());
}

TEST_F(Ipv6FragmentsTest, RoundTrip) {
  std::mt19937 random(8200);
  for (int round = 0; round < 200; ++round) {
    Bytes payload(1 + random() % 20000);
    for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random());
    const bool options = random() % 2;
    const Bytes packet = options ? ipv6(kProtoHopByHop, joined({options_header(kProtoGre, 16), payload}))
                                 : ipv6(kProtoGre, payload);
    auto fragments = cut(packet, static_cast<uint16_t>(300 + random() % 1200));
    ASSERT_FALSE(fragments.empty());
    if (fragments.size() == 1) {
      EXPECT_EQ(fragments[0], packet);
      continue;
    }
    std::shuffle(fragments.begin(), fragments.end(), random);
    Result result{};
    for (const Bytes& bytes : fragments) {
      ASSERT_NE(result.outcome, Outcome::kComplete);
      result = add(bytes);
    }
    ASSERT_EQ(result.outcome, Outcome::kComplete);
    EXPECT_EQ(result.whole, packet);
  }
}

}  // namespace
}  // namespace espalier::dataplane
