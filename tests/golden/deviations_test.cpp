// The list of intended differences cannot hide others: an entry allows one value of one field of one step,
// and has to be used. And the recordings' own bookkeeping is right.
#include "tests/golden/deviations.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

namespace espalier::test {
namespace {

const std::filesystem::path kRecordings = GOLDEN_RECORDINGS;

const Difference kDifference{"tcp-rst-unknown", "output", NamedCounts{}, NamedCounts{{"session_invalid", 1}}};
const Deviation kEntry{"02-snat", "tcp-rst-unknown", "output", NamedCounts{{"session_invalid", 1}}, 1};

TEST(Deviations, AnEntryAllowsItsDifference) {
  const Judgement judgement = judge({kDifference}, {kEntry});
  EXPECT_TRUE(judgement.unexplained.empty());
  EXPECT_TRUE(judgement.unused.empty());
  EXPECT_EQ(judgement.explained, 1u);
}

TEST(Deviations, AnEntryAllowsNothingElse) {
  Difference other_step = kDifference, other_field = kDifference, other_value = kDifference;
  other_step.step = "tcp";
  other_field.field = "drops";
  other_value.ours = NamedCounts{{"session_invalid", 2}};
  for (const Difference& each : {other_step, other_field, other_value}) {
    const Judgement judgement = judge({each}, {kEntry});
    EXPECT_EQ(judgement.unexplained.size(), 1u) << describe(each);
    EXPECT_EQ(judgement.unused.size(), 1u) << describe(each);
  }
}

TEST(Deviations, AnUnusedEntryIsTold) {
  const Judgement judgement = judge({}, {kEntry});
  ASSERT_EQ(judgement.unused.size(), 1u);
  EXPECT_EQ(judgement.unused.front().step, "tcp-rst-unknown");
}

Result<std::vector<Deviation>> load_text(const std::string& text) {
  const std::filesystem::path file =
      std::filesystem::path(::testing::TempDir()) / "deviations_under_test.json";
  std::ofstream(file) << text;
  auto loaded = load_deviations(file);
  std::filesystem::remove(file);
  return loaded;
}

TEST(Deviations, RefusesUnknownReasonsAndDoubleEntries) {
  const std::string good = R"({"scenario": "s", "step": "t", "field": "f", "ours": 1, "reason": 1})";
  EXPECT_TRUE(load_text("[" + good + "]"));
  EXPECT_FALSE(load_text("[" + good + "," + good + "]"));
  EXPECT_FALSE(load_text(R"([{"scenario": "s", "step": "t", "field": "f", "ours": 1, "reason": 8}])"));
  EXPECT_FALSE(load_text(R"([{"scenario": "s", "step": "t", "field": "f", "ours": 1}])"));
  EXPECT_FALSE(load_text("nonsense"));
}

TEST(Deviations, TheCommittedListNamesExistingSteps) {
  const auto entries = load_deviations(GOLDEN_DEVIATIONS);
  ASSERT_TRUE(entries) << entries.error().text;
  for (const Deviation& entry : *entries) {
    const auto scenario = load_scenario(kRecordings / entry.scenario);
    ASSERT_TRUE(scenario) << scenario.error().text;
    const bool exists = std::any_of(scenario->steps.begin(), scenario->steps.end(),
                                    [&](const Step& step) { return step.id == entry.step; });
    EXPECT_TRUE(exists) << describe(entry);
  }
}

// Linux's counters and the drop reasons that say the same. ProtoError is any failure inside of the
// transformation: a wrong ICV, or no room for IV and ICV.
const std::map<std::string, std::set<std::string>> kReasonsOfCounter = {
    {"XfrmInNoStates", {"esp_no_state"}},
    {"XfrmInStateSeqError", {"esp_replay"}},
    {"XfrmInStateProtoError", {"esp_icv", "esp_malformed"}},
    {"XfrmInHdrError", {"esp_truncated"}},
    {"XfrmInTmplMismatch", {"in_template_mismatch"}},
    {"XfrmInNoPols", {"in_no_policy"}},
    {"XfrmInPolBlock", {"in_policy_block"}},
    {"XfrmInStateMismatch", {"in_state_mismatch"}},
    {"XfrmOutPolBlock", {"out_policy_block"}},
    {"XfrmOutNoStates", {"out_no_state"}},
    {"XfrmOutStateModeError", {"too_big"}},
    {"IpFragFails", {"too_big"}},
    {"IcmpOutTimeExcds", {"ttl_exceeded"}},
    {"UdpNoPorts", {"local_no_service"}},
    {"Ct.drop", {"nat_ports_exhausted"}},
};

bool is_drop_reason(const std::string& name) {
  return std::any_of(kDropReasonTable.begin(), kDropReasonTable.end(),
                     [&](const DropReasonInfo& each) { return each.drop && each.name == name; });
}

TEST(Recordings, ExpectedDropsSayWhatLinuxCounted) {
  for (const std::string& name : scenario_names(kRecordings)) {
    const auto scenario = load_scenario(kRecordings / name);
    ASSERT_TRUE(scenario) << scenario.error().text;
    for (const Step& step : scenario->steps) {
      std::set<std::string> told;
      for (const auto& [counter, count] : step.linux_counters) {
        const auto known = kReasonsOfCounter.find(counter);
        if (known == kReasonsOfCounter.end()) {
          EXPECT_FALSE(counter.starts_with("Xfrm")) << name << " " << step.id << ": " << counter;
          continue;
        }
        for (const auto& [reason, drops] : step.drops)
          if (known->second.contains(reason) && drops == count) told.insert(reason);
        EXPECT_FALSE(told.empty()) << name << " " << step.id << ": " << counter;
      }
      for (const auto& [reason, drops] : step.drops) EXPECT_TRUE(is_drop_reason(reason)) << reason;
      for (const auto& [reason, drops] : step.drops)
        EXPECT_TRUE(told.contains(reason) || reason.starts_with("route_"))
            << name << " " << step.id << ": " << reason << " without a counter of Linux";
    }
  }
}

TEST(Recordings, AreComplete) {
  const std::vector<std::string> names = scenario_names(kRecordings);
  EXPECT_EQ(names.size(), 15u);
  size_t steps = 0, frames = 0;
  for (const std::string& name : names) {
    const auto scenario = load_scenario(kRecordings / name);
    ASSERT_TRUE(scenario) << scenario.error().text;
    steps += scenario->steps.size();
    for (const Step& step : scenario->steps)
      for (const auto& [interface, output] : step.output) frames += output.size();
  }
  EXPECT_EQ(steps, 146u);
  EXPECT_GT(frames, 100u);
}

}  // namespace
}  // namespace espalier::test
