// The rules of intended differences explain what they are made for and nothing beside it.
#include "tests/golden/deviations.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/golden/player.hpp"
#include "tests/golden/recorded_scenario.hpp"
#include "tests/golden/replay_bed.hpp"

namespace espalier::test {
namespace {

std::vector<int> reasons_for(const Scenario& scenario, const Step& step) {
  std::vector<int> reasons;
  for (const Alternative& each : intended_differences(scenario, step)) reasons.push_back(each.reason);
  return reasons;
}

// What the rule says that a step does, as an observation.
Observation following(const Scenario& scenario, const Step& step, int reason) {
  for (const Alternative& each : intended_differences(scenario, step)) {
    if (each.reason != reason) continue;
    Step other = step;
    other.expected = each.expected;
    return {each.expected.output, expected_drops(other), each.expected.to_host};
  }
  throw std::logic_error("the rule does not apply");
}

Judgement judged(const Scenario& scenario, const Step& step, const Observation& observed) {
  Labels labels(scenario.random);
  return judge(scenario, step, observed, FrameOrder::kRecorded, labels);
}

struct Case {
  const char* scenario;
  const char* step;
  int reason;
  const char* drop;
};
constexpr Case kCases[] = {{"02-snat", "tcp-rst-unknown", 1, "session_invalid"},
                           {"02-snat", "icmp-error-unknown", 1, "session_invalid"},
                           {"20-header-copy", "in-outer-ce-inner-notect", 2, "esp_ce_not_ect"},
                           {"28-vti", "in-clear", 3, "clear_from_tunnel"},
                           {"13-in-no-policies", "outer-source-other", 6, "esp_wrong_peer"},
                           {"23-natt", "in-other-address", 6, "esp_wrong_peer"},
                           {"05-tunnel", "in-inner-ttl1", 7, "icmp_error_clear"}};

TEST(Deviations, EachRuleExplainsItsSteps) {
  for (const Case& each : kCases) {
    const Scenario scenario = load_recorded(each.scenario);
    const Step& step = step_of(scenario, each.step);
    const Observation observed = following(scenario, step, each.reason);
    EXPECT_EQ(observed.drops.count(each.drop), 1u) << each.step;
    EXPECT_TRUE(observed.output.empty()) << each.step;
    const Judgement judgement = judged(scenario, step, observed);
    ASSERT_TRUE(judgement.deviation) << each.step;
    EXPECT_EQ(judgement.deviation->reason, each.reason) << each.step;
    EXPECT_TRUE(judgement.differences.empty()) << each.step;
  }
}

TEST(Deviations, ARuleAllowsNothingBesideIt) {
  for (const Case& each : kCases) {
    const Scenario scenario = load_recorded(each.scenario);
    const Step& step = step_of(scenario, each.step);
    Observation more = following(scenario, step, each.reason), leaking = more;
    ++more.drops["no_mbuf"];
    leaking.output["lan0"].push_back(step.input.front());
    Observation silent = following(scenario, step, each.reason);
    silent.drops.clear();
    for (const Observation& observed : {more, leaking, silent})
      EXPECT_FALSE(judged(scenario, step, observed).differences.empty()) << each.scenario << " " << each.step;
  }
}

TEST(Deviations, DoingWhatLinuxDoesIsNoDeviation) {
  for (const Case& each : kCases) {
    const Scenario scenario = load_recorded(each.scenario);
    const Step& step = step_of(scenario, each.step);
    const Judgement judgement = judged(scenario, step, {step.expected.output, expected_drops(step)});
    EXPECT_TRUE(judgement.differences.empty());
    EXPECT_FALSE(judgement.deviation);
  }
}

TEST(Deviations, OrdinaryStepsHaveNone) {
  for (const auto& [name, id] : {std::pair{"02-snat", "udp"},
                                 {"05-tunnel", "in-reply"},
                                 {"05-tunnel", "out-ttl1"},
                                 {"20-header-copy", "in-outer-ce-inner-ect0"},
                                 {"23-natt", "in-other-port"},
                                 {"30-ipv6-tunnels", "6in6-in"}}) {
    const Scenario scenario = load_recorded(name);
    EXPECT_TRUE(reasons_for(scenario, step_of(scenario, id)).empty()) << name << " " << id;
  }
}

TEST(Deviations, RedirectsMayBeMissing) {
  Scenario scenario = load_recorded("01-forward");
  Step step = step_of(scenario, "out");
  const FramesByInterface without = step.expected.output;
  const Bytes redirect = ethernet(
      parse_mac("02:00:00:00:ff:01"), scenario.macs.at("lan0"),
      icmp(5, 1, 0xc0a80a02, "192.168.10.1", "192.168.10.45", udp("192.168.10.45:1", "192.0.2.1:2").bytes())
          .bytes());
  step.expected.output["lan0"].push_back(redirect);
  const Judgement judgement = judged(scenario, step, {without, {}});
  ASSERT_TRUE(judgement.deviation);
  EXPECT_EQ(judgement.deviation->reason, 5);
  EXPECT_FALSE(judged(scenario, step, {{}, {}}).differences.empty())
      << "the packet itself may not be missing";
}

}  // namespace
}  // namespace espalier::test
