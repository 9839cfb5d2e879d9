// Filters of taps: what passes the checks can be run on any bytes and ends; what it finds is what libpcap's
// own words mean.
#include "dataplane/tap/packet_filter.hpp"

#include <gtest/gtest.h>
#include <pcap/pcap.h>

#include <random>

#include "control/shared/record_check.hpp"
#include "dataplane/tap/tap_request.hpp"

namespace espalier::dataplane {
namespace {

using message::TapFilter;
using message::TapInstruction;
using message::TapLink;
using Program = std::vector<TapInstruction>;

TapFilter piece_of(const Program& program, uint16_t first = 0) {
  TapFilter piece;
  piece.link = TapLink::kIp;
  piece.first = first;
  piece.count = static_cast<uint16_t>(program.size());
  std::copy(program.begin(), program.end(), piece.instructions);
  return piece;
}

// As the dataplane takes it: the message's check, then the program's.
bool is_accepted(const Program& program) {
  return !record_check::check(piece_of(program)) && PacketFilter::create(program).has_value();
}

TEST(PacketFilter, ProgramsThatWouldNotEndOrAbortAreRefused) {
  const TapInstruction accept{.code = 0x06, .k = 1};
  EXPECT_TRUE(is_accepted({accept}));
  EXPECT_TRUE(is_accepted({{.code = 0x05, .k = 1}, accept, accept}));
  EXPECT_FALSE(is_accepted({{.code = 0x05, .k = UINT32_MAX}, accept}));  // back to itself
  EXPECT_FALSE(is_accepted({accept, {.code = 0x05, .k = UINT32_MAX - 1}, accept}));
  EXPECT_FALSE(is_accepted({{.code = 0x05, .k = 1}, accept}));  // out of the program
  EXPECT_FALSE(is_accepted({{.code = 0x15, .jump_true = 1}, accept}));
  EXPECT_FALSE(is_accepted({{.code = 0x70}, accept}));           // LD, one byte of memory: libpcap aborts
  EXPECT_FALSE(is_accepted({{.code = 0x0105}, accept}));         // bits that nothing has
  EXPECT_FALSE(is_accepted({{.code = 0x60, .k = 16}, accept}));  // memory that is not there
  EXPECT_FALSE(is_accepted({{.code = 0x34, .k = 0}, accept}));   // divided by 0
  EXPECT_FALSE(is_accepted({{.code = 0x00}}));                   // no end
}

// With a fixed seed: of these programs a good part is accepted, and each of those runs.
TEST(PacketFilter, WhatIsAcceptedRunsOnAnyBytes) {
  constexpr uint16_t kCodes[] = {0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, 0x01, 0x61, 0x81,
                                 0xb1, 0x02, 0x03, 0x04, 0x24, 0x34, 0x54, 0x74, 0x94, 0x0c, 0x3c, 0x7c,
                                 0x9c, 0x84, 0x05, 0x15, 0x25, 0x1d, 0x45, 0x16, 0x07, 0x87, 0x70, 0x90};
  std::mt19937 random(4);
  std::vector<uint8_t> packet(100);
  size_t accepted = 0, refused = 0, matched = 0;
  for (int i = 0; i < 200'000; ++i) {
    Program program(1 + random() % 12);
    for (TapInstruction& step : program) {
      step = {.code = kCodes[random() % std::size(kCodes)],
              .jump_true = static_cast<uint8_t>(random() % 4),
              .jump_false = static_cast<uint8_t>(random() % 4),
              .k = random() % 3 ? static_cast<uint32_t>(random() % 20) : static_cast<uint32_t>(random())};
    }
    program.back() = {.code = 0x16};
    if (!is_accepted(program)) {
      ++refused;
      continue;
    }
    ++accepted;
    for (uint8_t& byte : packet) byte = static_cast<uint8_t>(random());
    matched += PacketFilter::create(program)->matches({packet.data(), random() % packet.size()}, 100);
  }
  EXPECT_GT(accepted, 5'000u);
  EXPECT_GT(refused, 5'000u);
  EXPECT_GT(matched, 500u);
}

TEST(PacketFilter, NoProgramMatchesEverything) {
  EXPECT_TRUE(PacketFilter().matches({}, 0));
  EXPECT_FALSE(PacketFilter::create({{.code = 0x06}})->matches({}, 0));
}

message::TapStart start(uint16_t ip_instructions) {
  message::TapStart s;
  s.points = 1;
  s.ip_instructions = ip_instructions;
  return s;
}

TEST(TapRequest, PiecesMakeAProgramInTheirOrderOnly) {
  const Program program(TapFilter::kMost, {.code = 0x06, .k = 1});
  TapRequest request;
  request.add(piece_of(program), 7);
  request.add(piece_of(program, TapFilter::kMost), 7);
  EXPECT_TRUE(request.finish(start(2 * TapFilter::kMost), 7));
  const auto refuses = [&](uint16_t count, uint64_t id) {
    const auto finished = request.finish(start(count), id);
    return !finished && finished.error().text == "the filter did not arrive whole";
  };
  EXPECT_TRUE(refuses(2 * TapFilter::kMost, 7));  // it was taken
  request.add(piece_of(program), 8);
  EXPECT_TRUE(refuses(TapFilter::kMost, 9));  // another's
  request.add(piece_of(program, TapFilter::kMost), 9);
  EXPECT_TRUE(refuses(TapFilter::kMost, 9));  // its beginning is missing
  request.add(piece_of(program), 9);
  EXPECT_TRUE(refuses(TapFilter::kMost + 1, 9));
  request.add(piece_of(program), 10);  // sent again, by a new channel
  request.add(piece_of(program), 10);
  EXPECT_TRUE(request.finish(start(TapFilter::kMost), 10));
  EXPECT_TRUE(request.finish(start(0), 11));
}

}  // namespace
}  // namespace espalier::dataplane
