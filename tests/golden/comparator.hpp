// Compares what our gateway sent and dropped in a step with what Linux did, value by value.
//
// Frames are decoded on both sides (packet_decoder.hpp), also inside of ESP and of ICMP quotes; packets that
// left in fragments are compared twice, the fragments' headers and boundaries as they are and the content
// reassembled. Random values go by labels (labels.hpp). Every difference is one value with a stable field
// name:
//   "wan0[1].ip.ttl"              a value of the second frame that left by wan0
//   "wan0.whole[0].ip.esp.spi"    a value of the first reassembled packet
//   "wan0.count"                  the number of frames
//   "output"                      nothing left where Linux sent something; ours is the drops
//   "drops"                       the drop counters
//   "to_host"                     what the host's sockets got
#pragma once

#include "tests/golden/labels.hpp"

namespace espalier::test {

struct Difference {
  std::string step;
  std::string field;
  std::string recorded;  // for people
  std::string ours;
  std::string_view recorded_by = "Linux", ours_by = "ours";
};

std::string describe(const NamedCounts& drops);
std::string describe(const Difference& difference);

// What our gateway did in one step.
struct Observation {
  FramesByInterface output;
  NamedCounts drops;
  std::vector<Datagram> to_host = {};
  const KeyRing* keys = nullptr;  // what `output` is opened with; null: with the scenario's
};

// Whether the frames of a step must leave an interface in the recorded order. With several workers they may
// overtake, and so may the numbers that an SA gives them.
enum class FrameOrder : uint8_t { kRecorded, kAny };

// `expected` is the step's own or an intended alternative of it (deviations.hpp). `labels` learn from it.
std::vector<Difference> compare_step(const Scenario& scenario, const Step& step, const Expected& expected,
                                     const Observation& observed, FrameOrder order, Labels& labels);

// True if our drops are the expected ones: each belongs to an expectation that has room for it, and none is
// left unfilled.
bool drops_agree(const std::vector<ExpectedDrop>& expected, const NamedCounts& ours);

}  // namespace espalier::test
