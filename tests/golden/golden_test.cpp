// Our dataplane against the recorded Linux: every scenario with the flow cache cold, warm and constantly
// invalidated, by 1, 2 and 3 workers whose RX queues tear flows apart. Closes with a table.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/golden/deviations.hpp"
#include "tests/golden/player.hpp"

namespace espalier::test {
namespace {

const std::filesystem::path kRecordings = GOLDEN_RECORDINGS;

struct Row {
  size_t steps = 0;
  size_t runs = 0;
  std::set<std::string> failed_steps;  // in any run
  size_t deviations = 0;               // in every run
};
std::map<std::string, Row> table;

class PrintTable : public ::testing::Environment {
 public:
  void TearDown() override {
    fmt::print("{:<40}{:>6}{:>8}{:>12}{:>6}\n", "scenario", "steps", "passed", "deviations", "runs");
    Row sum;
    size_t passed = 0;
    for (const auto& [name, row] : table) {
      const size_t good = row.steps - row.failed_steps.size();
      fmt::print("{:<40}{:>6}{:>8}{:>12}{:>6}\n", name, row.steps, good, row.deviations, row.runs);
      sum.steps += row.steps, sum.runs += row.runs, sum.deviations += row.deviations, passed += good;
    }
    fmt::print("{:<40}{:>6}{:>8}{:>12}{:>6}\n", fmt::format("{} scenarios", table.size()), sum.steps, passed,
               sum.deviations, sum.runs);
  }
};
[[maybe_unused]] const auto* const kPrintTable = ::testing::AddGlobalTestEnvironment(new PrintTable);

std::vector<Deviation> all_deviations() {
  auto entries = load_deviations(GOLDEN_DEVIATIONS);
  if (!entries) throw std::runtime_error(entries.error().text);
  return *std::move(entries);
}

using Parameters = std::tuple<std::string, Cache, uint16_t>;

class Golden : public ::testing::TestWithParam<Parameters> {};

// The cache was in the state that the mode is named for.
void expect_mode(const Mode& mode, const FlowCounts& counts, bool forwards) {
  switch (mode.cache) {
    case Cache::kCold:
      EXPECT_EQ(counts.hits, 0u);
      break;
    case Cache::kWarm:
      EXPECT_EQ(counts.hits != 0, forwards);
      break;
    case Cache::kInvalidated:
      EXPECT_EQ(counts.hits, 0u) << "some entry was used unasked";
      break;
  }
}

// Steps whose packets Linux forwarded; where only these deviate, nothing of ours is ever cached.
size_t forwarded_steps(const Scenario& scenario) {
  return static_cast<size_t>(
      std::count_if(scenario.steps.begin(), scenario.steps.end(),
                    [](const Step& step) { return step.linux_counters.contains("IpForwDatagrams"); }));
}

void run(const Scenario& scenario, const Mode& mode) {
  SCOPED_TRACE(describe(mode));
  Row& row = table[scenario.name];
  row.steps = scenario.steps.size();
  ++row.runs;
  auto bed = make_testbed(testbed_options(scenario, mode));
  ASSERT_TRUE(bed) << bed.error().text;
  const auto differences = play(scenario, mode, **bed);
  if (!differences)
    for (const Step& step : scenario.steps) row.failed_steps.insert(step.id);
  ASSERT_TRUE(differences) << differences.error().text;
  const Judgement judgement = judge(*differences, deviations_of(all_deviations(), scenario.name));
  row.deviations = judgement.explained;
  expect_mode(mode, (*bed)->flow_counts(), forwarded_steps(scenario) > judgement.explained);
  for (const Difference& each : judgement.unexplained) {
    row.failed_steps.insert(each.step);
    ADD_FAILURE() << describe(each);
  }
  for (const Deviation& each : judgement.unused) {
    row.failed_steps.insert(each.step);
    ADD_FAILURE() << "unused: " << describe(each);
  }
}

TEST_P(Golden, DoesWhatLinuxDid) {
  const auto& [name, cache, workers] = GetParam();
  const auto scenario = load_scenario(kRecordings / name);
  ASSERT_TRUE(scenario) << scenario.error().text;
  if (workers == 1) return run(*scenario, {cache, 1, QueueOrder::kFirst});
  run(*scenario, {cache, workers, QueueOrder::kRoundRobin});
  run(*scenario, {cache, workers, QueueOrder::kPseudoRandom});
}

std::string test_name(const ::testing::TestParamInfo<Parameters>& info) {
  static constexpr std::string_view kCaches[] = {"cold", "warm", "invalidated"};
  const auto& [name, cache, workers] = info.param;
  std::string text = fmt::format("{}_{}_{}", name, kCaches[static_cast<size_t>(cache)], workers);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

INSTANTIATE_TEST_SUITE_P(Recorded, Golden,
                         ::testing::Combine(::testing::ValuesIn(scenario_names(kRecordings)),
                                            ::testing::Values(Cache::kCold, Cache::kWarm,
                                                              Cache::kInvalidated),
                                            ::testing::Values(uint16_t{1}, uint16_t{2}, uint16_t{3})),
                         test_name);

}  // namespace
}  // namespace espalier::test
