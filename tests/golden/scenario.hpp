// A recorded scenario: what a real Linux 6.1 gateway did, step by step, with the same packets and the
// same configuration (recordings/README.md tells the files). Only facts about Linux, loaded whole.
#pragma once

#include <filesystem>
#include <map>

#include "tests/support/packet_decoder.hpp"
#include "tests/support/testbed.hpp"

namespace espalier::test {

// A value that Linux picked at random. Ours may be another one of the same class, but then everywhere.
struct RandomValue {
  FieldKind kind = FieldKind::kIpId;
  uint16_t recorded = 0;
  uint16_t low = 0;  // the class: low..high without `excluded`
  uint16_t high = 0xffff;
  std::optional<uint16_t> excluded;
};

using FramesByInterface = std::map<std::string, std::vector<Bytes>, std::less<>>;
using NamedCounts = std::map<std::string, uint64_t, std::less<>>;

struct Step {
  std::string id;
  std::string note;
  std::string interface;  // where the frames go in
  std::vector<Bytes> input;
  FramesByInterface output;           // only interfaces with output
  NamedCounts linux_counters;         // how xfrm_stat, conntrack and SNMP counters changed
  NamedCounts drops;                  // the same as our drop reasons' names
  std::optional<std::string> config;  // text to apply before the step
};

struct Scenario {
  std::string name;  // "03-snat-ports"
  std::string title;
  std::string config;
  std::map<std::string, MacAddress, std::less<>> macs;
  KeyRing keys;
  std::vector<RandomValue> random;
  std::vector<Step> steps;
};

// The folders' names below `recordings`, sorted.
std::vector<std::string> scenario_names(const std::filesystem::path& recordings);
// Errors name the file.
Result<Scenario> load_scenario(const std::filesystem::path& folder);

// The names of the drop reasons that count lost packets (DropReasonInfo::drop), with counts; zeros left out.
NamedCounts named_drops(const DropCounts& before, const DropCounts& after);

}  // namespace espalier::test
