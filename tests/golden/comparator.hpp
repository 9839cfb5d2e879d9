// Compares what our gateway sent and dropped in a step with what Linux did, value by value.
//
// Frames are decoded on both sides (packet_decoder.hpp), also inside of ESP and of ICMP quotes; ESP that left
// in fragments is compared twice, the fragments' headers and boundaries as they are and the content
// reassembled. Random values go by labels (labels.hpp). Every difference is one value with a stable field
// name:
//   "wan0[1].ip.ttl"           a value of the second frame that left by wan0
//   "wan0.esp[0].ip.esp.spi"   a value of the first reassembled ESP packet
//   "wan0.count"               the number of frames
//   "output"                   nothing left where Linux sent something; ours is the drops
//   "drops"                    the drop counters
#pragma once

#include "tests/golden/labels.hpp"

namespace espalier::test {

using DifferenceValue = std::variant<uint64_t, Bytes, NamedCounts>;

struct Difference {
  std::string step;
  std::string field;
  DifferenceValue recorded;
  DifferenceValue ours;
};

std::string describe(const DifferenceValue& value);
std::string describe(const Difference& difference);

// What our gateway did in one step.
struct Observation {
  FramesByInterface output;
  NamedCounts drops;
};

// Whether the frames of a step must leave an interface in the recorded order. With several workers they may
// overtake.
enum class FrameOrder : uint8_t { kRecorded, kAny };

std::vector<Difference> compare_step(const Scenario& scenario, const Step& step, const Observation& observed,
                                     FrameOrder order, Labels& labels);

}  // namespace espalier::test
