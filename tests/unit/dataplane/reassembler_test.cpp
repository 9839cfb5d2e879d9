// Reassembly against packets that a builder of its own cut, against a naive model, and with hostile input.
#include "dataplane/reassembler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/support/packet_builder.hpp"
#include "tests/unit/dataplane/eal_environment.hpp"
#include "tests/unit/dataplane/mbuf_tools.hpp"

namespace espalier::dataplane {
namespace {

using test::Bytes;
using Outcome = Reassembler::Outcome;
// A fragment of our own making: header with `options`, any offset, any flags.
struct Piece {
  uint32_t offset = 0;  // bytes
  Bytes payload;
  bool more = true;
  bool df = false;
  uint16_t id = 7;
  uint8_t tos = 0;
  Bytes options = {};
};

Bytes build(const Piece& piece) {
  Bytes bytes = test::ip(kProtoUdp, "10.0.0.1", "10.0.0.2", piece.payload)
                    .id(piece.id)
                    .tos(piece.tos)
                    .df(piece.df)
                    .options(piece.options)
                    .bytes();
  const size_t header = 20 + piece.options.size();
  const auto flags = static_cast<uint16_t>(piece.df << 14 | piece.more << 13);
  test::put16(bytes, 6, static_cast<uint16_t>(flags | piece.offset / 8));
  test::put16(bytes, 10, 0);
  test::put16(bytes, 10, test::internet_checksum(test::ByteView(bytes).first(header)));
  return bytes;
}

class ReassemblerTest : public testing::Test {
 protected:
  // What one add() did; `whole` is kept as bytes and freed.
  struct Result {
    Outcome outcome;
    DropReason reason;
    Bytes whole;               // kComplete
    dataplane::Packet record;  // of the whole, or of the context that was given up
    bool gave_up = false;
  };

  Result add_bytes(const Bytes& bytes, uint64_t now_ms = 0, SecurityPath path = kClear) {
    rte_mbuf* fragment = small_.make(bytes, path);
    packet(fragment).in = in_;
    rte_mbuf* whole = nullptr;
    Result result{};
    result.outcome = reassembler_->add(fragment, now_ms, whole, result.reason);
    rte_pktmbuf_free(fragment);
    if (whole) {
      result.record = packet(whole);
      result.gave_up = result.outcome != Outcome::kComplete;
      if (!result.gave_up) result.whole = bytes_of(whole);
      headroom_ = rte_pktmbuf_headroom(whole);
      tailroom_ = rte_pktmbuf_tailroom(whole);
      rte_pktmbuf_free(whole);
    }
    return result;
  }
  Result add(const Piece& piece) { return add_bytes(build(piece)); }
  Result add_all(std::vector<Bytes> parts) {
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const Result result = add_bytes(parts[i]);
      EXPECT_EQ(result.outcome, Outcome::kWaiting);
      EXPECT_EQ(result.reason, i == 0 ? DropReason::kNone : DropReason::kUsedFragment);
    }
    return add_bytes(parts.back());
  }

  TestPool small_{64, 9216};
  TestPool jumbo_{64, Reassembler::kJumboRoom};
  std::unique_ptr<Reassembler> reassembler_ = std::make_unique<Reassembler>(jumbo_.get(), 4);
  uint16_t headroom_ = 0, tailroom_ = 0;
  InterfaceIndex in_{1};
};

constexpr uint8_t kOptionsNopEnd[] = {1, 1, 1, 0};
Bytes some_options(size_t bytes) {
  Bytes options(bytes, 1);
  if (bytes) options.back() = 0;
  return options;
}

TEST_F(ReassemblerTest, FragmentsInAnyOrderGiveTheDatagram) {
  const Bytes datagram = test::udp("10.0.0.1:4000", "10.0.0.2:5000").id(99).tos(0x28).payload(4000).bytes();
  std::vector<Bytes> parts = test::fragments(datagram, 1500);
  ASSERT_EQ(parts.size(), 3u);
  std::sort(parts.begin(), parts.end());
  do {
    const Result result = add_all(parts);
    ASSERT_EQ(result.outcome, Outcome::kComplete);
    EXPECT_EQ(result.reason, DropReason::kUsedFragment);
    EXPECT_EQ(result.whole, datagram);
    EXPECT_EQ(result.record.flags, kReassembled);
    EXPECT_EQ(result.record.fragment_limit, 1500);
    EXPECT_EQ(result.record.ip_bytes, datagram.size());
    EXPECT_EQ(result.record.l4_offset, 20);
    EXPECT_EQ(result.record.in, InterfaceIndex(1));
    EXPECT_GE(headroom_, kPacketHeadroom);
    EXPECT_GE(tailroom_, kTailroom);
  } while (std::next_permutation(parts.begin(), parts.end()));
  EXPECT_EQ(reassembler_->waiting(), 0u);
}

TEST_F(ReassemblerTest, TheWholeHasTheFirstFragmentsHeaderAndRecord) {
  ASSERT_EQ(add({.offset = 800, .payload = test::counting_bytes(5), .more = false}).outcome,
            Outcome::kWaiting);
  in_ = InterfaceIndex(5);
  const Result result =
      add({.payload = test::counting_bytes(800), .options = {kOptionsNopEnd, kOptionsNopEnd + 4}});
  ASSERT_EQ(result.outcome, Outcome::kComplete);
  Bytes payload = test::counting_bytes(800);
  test::append(payload, test::counting_bytes(5));
  const Bytes expected = test::ip(kProtoUdp, "10.0.0.1", "10.0.0.2", payload)
                             .id(7)
                             .options({kOptionsNopEnd, kOptionsNopEnd + 4})
                             .bytes();
  EXPECT_EQ(result.whole, expected);
  EXPECT_EQ(result.record.l4_offset, 24);
  EXPECT_EQ(result.record.in, InterfaceIndex(5));
}

TEST_F(ReassemblerTest, TheLongestDatagramFitsWithAnyHeader) {
  for (const size_t option_bytes : {0u, 20u, 40u})
    for (const bool backwards : {false, true}) {
      const Bytes options = some_options(option_bytes);
      const Bytes payload = test::counting_bytes(65535 - 20 - option_bytes);
      std::vector<Bytes> parts;
      for (size_t at = 0; at < payload.size(); at += 1480) {
        const auto slice = test::ByteView(payload).subspan(at, std::min<size_t>(1480, payload.size() - at));
        parts.push_back(build({.offset = static_cast<uint32_t>(at),
                               .payload = test::copy(slice),
                               .more = at + 1480 < payload.size(),
                               .options = at == 0 ? options : Bytes{}}));
      }
      if (backwards) std::reverse(parts.begin(), parts.end());
      const Result result = add_all(parts);
      ASSERT_EQ(result.outcome, Outcome::kComplete);
      const Bytes expected =
          test::ip(kProtoUdp, "10.0.0.1", "10.0.0.2", payload).id(7).options(options).bytes();
      ASSERT_EQ(expected.size(), 65535u);
      EXPECT_TRUE(result.whole == expected) << option_bytes << (backwards ? " backwards" : "");
    }
}

TEST_F(ReassemblerTest, UpToTheRoomyLengthThereIsRoomForEsp) {
  for (const size_t total : {size_t{Reassembler::kMaxRoomyWhole}, size_t{Reassembler::kMaxRoomyWhole - 1}}) {
    const Bytes payload = test::counting_bytes(total - 60);
    const Bytes header = some_options(40);
    add({.payload = test::copy(test::ByteView(payload).first(8000)), .options = header});
    for (uint32_t at = 8000; at < payload.size(); at += 8000) {
      const auto slice = test::ByteView(payload).subspan(at, std::min<size_t>(8000, payload.size() - at));
      add({.offset = at, .payload = test::copy(slice), .more = at + 8000 < payload.size()});
    }
    EXPECT_EQ(reassembler_->waiting(), 0u);
    EXPECT_GE(headroom_, kPacketHeadroom);
    EXPECT_GE(tailroom_, kTailroom);
  }
}

TEST_F(ReassemblerTest, AWholeBeyond65535BytesIsRefused) {
  // Each fragment fits by itself; the first one's options make the whole too long.
  ASSERT_EQ(add({.offset = 8, .payload = test::counting_bytes(8000)}).outcome, Outcome::kWaiting);
  for (uint32_t at = 8008; at + 8000 < 65515; at += 8000)
    ASSERT_EQ(add({.offset = at, .payload = test::counting_bytes(8000)}).outcome, Outcome::kWaiting);
  ASSERT_EQ(add({.offset = 64008, .payload = test::counting_bytes(65515 - 64008), .more = false}).outcome,
            Outcome::kWaiting);
  const Result result = add({.payload = test::counting_bytes(8), .options = some_options(4)});
  EXPECT_EQ(result.outcome, Outcome::kDropped);
  EXPECT_EQ(result.reason, DropReason::kFragmentMalformed);
  EXPECT_TRUE(result.gave_up);
  EXPECT_EQ(result.record.reason, DropReason::kFragmentMalformed);
  EXPECT_EQ(reassembler_->waiting(), 0u);
}

TEST_F(ReassemblerTest, ImpossibleFragmentsDropAloneAndHarmNoContext) {
  ASSERT_EQ(add({.payload = test::counting_bytes(16)}).outcome, Outcome::kWaiting);
  const auto refused = [&](const Bytes& bytes) {
    const Result result = add_bytes(bytes);
    return result.outcome == Outcome::kDropped && result.reason == DropReason::kFragmentMalformed &&
           !result.gave_up;
  };
  EXPECT_TRUE(refused(build({.offset = 16, .payload = test::counting_bytes(7)})));  // no multiple of 8
  EXPECT_TRUE(refused(build({.offset = 16, .payload = {}})));
  EXPECT_TRUE(refused(build({.offset = 16, .payload = {}, .more = false})));
  EXPECT_TRUE(refused(build({.offset = 65528, .payload = test::counting_bytes(8)})));  // beyond 65535
  EXPECT_TRUE(refused(build({.offset = 65512, .payload = test::counting_bytes(4), .more = false})));
  Bytes liar = build({.offset = 16, .payload = test::counting_bytes(8)});
  test::put16(liar, 2, 100);  // total length beyond the frame
  EXPECT_TRUE(refused(liar));
  liar = build({.offset = 16, .payload = test::counting_bytes(12)});
  liar[0] = 0x44;  // header length 16, then the payload is a multiple of 8
  EXPECT_TRUE(refused(liar));
  EXPECT_TRUE(refused(Bytes(19, 0x45)));

  EXPECT_EQ(add({.offset = 16, .payload = test::counting_bytes(3), .more = false}).outcome,
            Outcome::kComplete);
}

TEST_F(ReassemblerTest, FramePaddingIsNoPayload) {
  Bytes padded = build({.offset = 8, .payload = test::counting_bytes(3), .more = false});
  padded.resize(46, 0xee);
  ASSERT_EQ(add({.payload = test::counting_bytes(8)}).outcome, Outcome::kWaiting);
  const Result result = add_bytes(padded);
  ASSERT_EQ(result.outcome, Outcome::kComplete);
  EXPECT_EQ(result.whole.size(), 20u + 11);
}

TEST_F(ReassemblerTest, WhatCameBeforeIsIgnored) {
  const std::vector<Piece> pieces = {{.payload = Bytes(16, 1)},
                                     {.offset = 16, .payload = Bytes(16, 2)},
                                     {.offset = 48, .payload = Bytes(3, 4), .more = false}};
  for (const Piece& piece : pieces) ASSERT_EQ(add(piece).outcome, Outcome::kWaiting);
  for (const Piece& piece : pieces) {
    const Result result = add(piece);
    EXPECT_EQ(result.outcome, Outcome::kDropped);
    EXPECT_EQ(result.reason, DropReason::kFragmentMalformed);
    EXPECT_FALSE(result.gave_up);
  }
  const Result result = add({.offset = 32, .payload = Bytes(16, 3)});
  ASSERT_EQ(result.outcome, Outcome::kComplete);
  EXPECT_EQ(Bytes(result.whole.begin() + 20, result.whole.begin() + 36), Bytes(16, 1));
}

TEST_F(ReassemblerTest, OverlapsAndContradictingEndsEndTheContext) {
  const std::vector<std::vector<Piece>> attacks = {
      {{.payload = Bytes(16, 1)}, {.offset = 8, .payload = Bytes(16, 2)}},  // overlaps the end
      {{.payload = Bytes(16, 1)}, {.payload = Bytes(16, 2)}},               // another content
      {{.payload = Bytes(16, 1)}, {.payload = Bytes(8, 1)}},                // a part of it
      {{.payload = Bytes(16, 1)}, {.offset = 8, .payload = Bytes(8, 1)}},
      {{.payload = Bytes(16, 1)}, {.offset = 8, .payload = Bytes(8, 1), .more = false}},
      {{.offset = 16, .payload = Bytes(16, 1), .more = false}, {.offset = 16, .payload = Bytes(16, 1)}},
      {{.offset = 16, .payload = Bytes(16, 1)}, {.offset = 16, .payload = Bytes(16, 1), .more = false}},
      {{.offset = 8, .payload = Bytes(16, 1)}, {.payload = Bytes(16, 2)}},  // overlaps the front
      {{.offset = 8, .payload = Bytes(8, 1)}, {.payload = Bytes(24, 2)}},   // covers
      {{.offset = 16, .payload = Bytes(9, 1), .more = false}, {.offset = 32, .payload = Bytes(8, 2)}},
      {{.offset = 16, .payload = Bytes(9, 1), .more = false}, {.offset = 16, .payload = Bytes(16, 2)}},
      {{.offset = 32, .payload = Bytes(8, 1)}, {.offset = 16, .payload = Bytes(8, 2), .more = false}},
      {{.offset = 16, .payload = Bytes(8, 1), .more = false},
       {.offset = 16, .payload = Bytes(7, 2), .more = false}},
      {{.offset = 16, .payload = Bytes(8, 1), .more = false},
       {.offset = 24, .payload = Bytes(8, 2), .more = false}},
  };
  for (const auto& attack : attacks) {
    ASSERT_EQ(add(attack[0]).outcome, Outcome::kWaiting);
    const Result result = add(attack[1]);
    EXPECT_EQ(result.outcome, Outcome::kDropped);
    EXPECT_EQ(result.reason, DropReason::kFragmentMalformed);
    EXPECT_TRUE(result.gave_up);
    EXPECT_EQ(result.record.reason, DropReason::kFragmentMalformed);
    EXPECT_EQ(reassembler_->waiting(), 0u);
    EXPECT_EQ(jumbo_.in_use(), 0u);
  }
}

// Linux's ip4_frag_ecn: RFC 3168 section 5.3 for fragments that do not agree.
TEST_F(ReassemblerTest, CongestionMarksJoinAsInRfc3168) {
  constexpr uint8_t kNot = 0, kEct1 = 1, kEct0 = 2, kCe = 3;
  const auto join = [&](uint8_t first, uint8_t last) -> int {
    add({.payload = Bytes(8, 1), .tos = static_cast<uint8_t>(0x48 | first)});
    const Result result =
        add({.offset = 8, .payload = Bytes(8, 1), .more = false, .tos = static_cast<uint8_t>(0x20 | last)});
    EXPECT_EQ(reassembler_->waiting(), 0u);
    if (result.outcome == Outcome::kComplete) return result.whole[1];
    EXPECT_TRUE(result.gave_up);
    return -1;
  };
  EXPECT_EQ(join(kNot, kNot), 0x48);
  EXPECT_EQ(join(kEct0, kEct0), 0x48 | kEct0);
  EXPECT_EQ(join(kEct0, kEct1), 0x48 | kEct0);
  EXPECT_EQ(join(kEct1, kEct0), 0x48 | kEct1);
  for (const uint8_t ect : {kEct0, kEct1}) {
    EXPECT_EQ(join(ect, kCe), 0x48 | kCe);
    EXPECT_EQ(join(kCe, ect), 0x48 | kCe);
  }
  EXPECT_EQ(join(kCe, kCe), 0x48 | kCe);
  for (const uint8_t marked : {kEct0, kEct1, kCe}) {
    EXPECT_EQ(join(kNot, marked), -1);
    EXPECT_EQ(join(marked, kNot), -1);
  }
}

// Linux's ip_frag_reasm: the whole has DF if no fragment was longer than the longest one with DF.
TEST_F(ReassemblerTest, DontFragmentIsThatOfTheLongestFragment) {
  const auto is_df = [&](bool long_df, bool short_df) {
    add({.payload = Bytes(80, 1), .df = long_df});
    const Result result = add({.offset = 80, .payload = Bytes(8, 1), .more = false, .df = short_df});
    EXPECT_EQ(result.record.fragment_limit, 100);
    return (result.whole.at(6) & 0x40) != 0;
  };
  EXPECT_FALSE(is_df(false, false));
  EXPECT_TRUE(is_df(true, true));
  EXPECT_TRUE(is_df(true, false));
  EXPECT_FALSE(is_df(false, true));
}

TEST_F(ReassemblerTest, OnlyTheSameDatagramOfTheSamePathMeets) {
  const Bytes first = build({.payload = Bytes(8, 1)});
  const Bytes last = build({.offset = 8, .payload = Bytes(8, 2), .more = false});
  ASSERT_EQ(add_bytes(first, 0, SecurityPath(5)).outcome, Outcome::kWaiting);
  EXPECT_EQ(add_bytes(last, 0, kClear).outcome, Outcome::kWaiting)
      << "a clear fragment completed a decrypted datagram";
  Bytes other = last;
  other[15] ^= 1;  // source
  EXPECT_EQ(add_bytes(other, 0, SecurityPath(5)).outcome, Outcome::kWaiting);
  other = last;
  other[9] ^= 1;  // protocol
  EXPECT_EQ(add_bytes(other, 0, SecurityPath(5)).outcome, Outcome::kWaiting);
  const Result result = add_bytes(last, 0, SecurityPath(5));
  EXPECT_EQ(result.outcome, Outcome::kComplete);
  EXPECT_EQ(result.record.path, SecurityPath(5));
}

TEST_F(ReassemblerTest, ContextsExpireAfterThirtySecondsInBoundedSlices) {
  for (uint16_t id = 0; id < 3; ++id)
    ASSERT_EQ(add_bytes(build({.payload = Bytes(8, 1), .id = id}), 1000u + id).outcome, Outcome::kWaiting);
  rte_mbuf* lost[2];
  EXPECT_EQ(reassembler_->expire(30'999, lost), 0u);
  EXPECT_EQ(reassembler_->expire(31'002, lost), 2u);
  for (rte_mbuf* mbuf : lost) {
    EXPECT_EQ(packet(mbuf).reason, DropReason::kReassemblyTimeout);
    EXPECT_EQ(packet(mbuf).in, InterfaceIndex(1));
    rte_pktmbuf_free(mbuf);
  }
  EXPECT_EQ(reassembler_->waiting(), 1u);
  EXPECT_EQ(reassembler_->expire(40'000, lost), 1u);
  rte_pktmbuf_free(lost[0]);
  EXPECT_EQ(reassembler_->expire(40'000, lost), 0u);
}

TEST_F(ReassemblerTest, TheOldestIsGivenUpWhenNoContextIsFree) {
  for (uint16_t id = 0; id < 4; ++id) add({.payload = Bytes(8, 1), .id = id});
  const Result result = add({.payload = Bytes(8, 1), .id = 100});
  EXPECT_EQ(result.outcome, Outcome::kWaiting);
  EXPECT_EQ(result.reason, DropReason::kNone);
  EXPECT_TRUE(result.gave_up);
  EXPECT_EQ(result.record.reason, DropReason::kReassemblyFull);
  EXPECT_EQ(reassembler_->waiting(), 4u);
  // 0 went, 1 did not.
  const Bytes last_of_1 = build({.offset = 8, .payload = Bytes(8, 2), .more = false, .id = 1});
  EXPECT_EQ(add_bytes(last_of_1).outcome, Outcome::kComplete);
  const Bytes last_of_0 = build({.offset = 8, .payload = Bytes(8, 2), .more = false, .id = 0});
  EXPECT_EQ(add_bytes(last_of_0).outcome, Outcome::kWaiting);
}

TEST_F(ReassemblerTest, WithoutBuffersTheFragmentIsDroppedAndNothingElse) {
  TestPool tiny(1, Reassembler::kJumboRoom);
  reassembler_ = std::make_unique<Reassembler>(tiny.get(), 4);
  ASSERT_EQ(add({.payload = Bytes(8, 1), .id = 1}).outcome, Outcome::kWaiting);
  const Result result = add({.payload = Bytes(8, 1), .id = 2});
  EXPECT_EQ(result.outcome, Outcome::kDropped);
  EXPECT_EQ(result.reason, DropReason::kNoMbuf);
  EXPECT_FALSE(result.gave_up);
  EXPECT_EQ(add({.offset = 8, .payload = Bytes(8, 1), .more = false, .id = 1}).outcome, Outcome::kComplete);
  reassembler_.reset();
}

TEST_F(ReassemblerTest, HashIsTheSameForAllFragmentsAndSpreadsIds) {
  std::set<uint32_t> hashes;
  for (uint16_t id = 0; id < 1000; ++id) {
    const Bytes a = build({.payload = Bytes(8, 1), .id = id});
    const Bytes b = build({.offset = 8, .payload = Bytes(4, 1), .more = false, .id = id});
    const auto hash = [&](const Bytes& bytes) {
      rte_mbuf* mbuf = small_.make(bytes);
      const uint32_t value = fragment_hash(mbuf);
      rte_pktmbuf_free(mbuf);
      return value;
    };
    EXPECT_EQ(hash(a), hash(b));
    hashes.insert(hash(a));
  }
  EXPECT_EQ(hashes.size(), 1000u);
}

// The rules of the header, told byte by byte.
class NaiveContext {
 public:
  enum class Verdict { kTaken, kDuplicate, kGone, kComplete };

  Verdict add(const Piece& piece) {
    const uint32_t end = piece.offset + static_cast<uint32_t>(piece.payload.size());
    const auto same = [&](const Piece& other) {
      return other.offset == piece.offset && other.payload == piece.payload && other.more == piece.more;
    };
    if (std::ranges::any_of(pieces_, same)) return Verdict::kDuplicate;
    const uint32_t farthest = bytes_.empty() ? 0 : bytes_.rbegin()->first + 1;
    if (!piece.more && (farthest > end || (length_ && *length_ != end))) return Verdict::kGone;
    if (piece.more && length_ && end > *length_) return Verdict::kGone;
    for (uint32_t at = piece.offset; at < end; ++at)
      if (!bytes_.emplace(at, piece.payload[at - piece.offset]).second) return Verdict::kGone;
    pieces_.push_back(piece);
    if (!piece.more) length_ = end;
    return length_ && bytes_.size() == *length_ ? Verdict::kComplete : Verdict::kTaken;
  }
  bool is_empty() const { return bytes_.empty(); }
  Bytes payload() const {
    Bytes all;
    for (const auto& [at, byte] : bytes_) all.push_back(byte);
    return all;
  }

 private:
  std::vector<Piece> pieces_;
  std::map<uint32_t, uint8_t> bytes_;
  std::optional<uint32_t> length_;
};

TEST_F(ReassemblerTest, AgreesWithTheNaiveModelAndEveryFragmentIsAccountedFor) {
  std::mt19937 random(20240607);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  std::map<DropReason, unsigned> counted;
  std::map<NaiveContext::Verdict, unsigned> seen;
  unsigned received = 0, wholes = 0;
  for (int round = 0; round < 3000; ++round) {
    NaiveContext model;
    std::vector<Piece> sent;
    const uint32_t units = 1 + below(12);  // of the honest datagram
    const uint32_t length = units * 8 - below(8);
    const uint32_t lies = below(3) == 0 ? 4 : 40;
    for (int step = 0; step < 60; ++step) {
      Piece piece;
      piece.offset = below(units) * 8;
      const uint32_t end = std::min(length, piece.offset + 8 * (1 + below(4)));
      piece.more = end != length;
      piece.payload.resize(end - piece.offset);
      for (uint8_t& byte : piece.payload) byte = static_cast<uint8_t>(random());
      if (below(lies) == 0) piece.more = !piece.more;
      if (below(lies) == 0) piece.payload.resize(piece.payload.size() + below(9));
      if (!sent.empty() && below(4) == 0) piece = sent[below(static_cast<uint32_t>(sent.size()))];
      if (below(lies) == 0 && !piece.payload.empty())
        piece.payload[below(static_cast<uint32_t>(piece.payload.size()))] ^= 1;
      if (piece.payload.empty() || (piece.more && piece.payload.size() % 8 != 0)) continue;
      if (piece.offset == 0 && !piece.more) continue;  // no fragment

      sent.push_back(piece);
      const bool opens = model.is_empty();
      const auto verdict = model.add(piece);
      const Result result = add(piece);
      ++received;
      ++seen[verdict];
      ++counted[result.reason];
      switch (verdict) {
        case NaiveContext::Verdict::kTaken:
          ASSERT_EQ(result.outcome, Outcome::kWaiting);
          ASSERT_EQ(result.reason, opens ? DropReason::kNone : DropReason::kUsedFragment);
          break;
        case NaiveContext::Verdict::kDuplicate:
          ASSERT_EQ(result.outcome, Outcome::kDropped);
          ASSERT_FALSE(result.gave_up);
          break;
        case NaiveContext::Verdict::kGone:
          ASSERT_EQ(result.outcome, Outcome::kDropped);
          ASSERT_TRUE(result.gave_up);
          ++counted[result.record.reason];
          model = {};
          break;
        case NaiveContext::Verdict::kComplete:
          ASSERT_EQ(result.outcome, Outcome::kComplete);
          ASSERT_EQ(Bytes(result.whole.begin() + 20, result.whole.end()), model.payload());
          ++wholes;
          model = {};
          break;
      }
      ASSERT_EQ(reassembler_->waiting(), model.is_empty() ? 0u : 1u);
    }
    if (rte_mbuf * lost; reassembler_->expire(Reassembler::kTimeoutMs, {&lost, 1})) {
      ++counted[packet(lost).reason];
      rte_pktmbuf_free(lost);
    }
  }
  counted.erase(DropReason::kNone);
  unsigned reasons = 0;
  for (const auto& [reason, count] : counted) reasons += count;
  EXPECT_EQ(received, wholes + reasons);
  for (const auto verdict : {NaiveContext::Verdict::kTaken, NaiveContext::Verdict::kDuplicate,
                             NaiveContext::Verdict::kGone, NaiveContext::Verdict::kComplete})
    EXPECT_GT(seen[verdict], 500u) << "the generator does not reach verdict " << static_cast<int>(verdict);
}

}  // namespace
}  // namespace espalier::dataplane
