// Plays one translated scenario through our dataplane: with the flow cache cold, warm and constantly
// invalidated, by 1, 2 and 3 workers whose RX queues tear flows apart. tests/golden/run starts one of these
// for each scenario and reads the report, one JSON document on the standard output.
//
// usage: golden_player FOLDER
#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/golden/player.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

// Making a gateway takes sanitizers half a second; what they look for does not need every combination.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kEveryMode = false;
#else
constexpr bool kEveryMode = true;
#endif
constexpr std::string_view kDefaultRoute = "prefix = \"0.0.0.0/0\"";
constexpr std::string_view kGreLink = "type = \"gre\"";

struct Report {
  std::vector<std::string> failures;                      // in the order of their first occurrence
  std::map<std::string, std::vector<std::string>> modes;  // by failure: the runs that had it
  std::set<std::string> failed_steps;
  std::set<Deviation> deviations;
  size_t runs = 0;

  void fail_run(const Mode& mode, const std::string& text) {
    std::vector<std::string>& runs_with_it = modes[text];
    if (runs_with_it.empty()) failures.push_back(text);
    runs_with_it.push_back(describe(mode));
  }
};

// One packet of a flow that Linux forwarded, and we as well: run twice, the second one finds a flow entry.
bool fills_the_cache(const Scenario& scenario, const Step& step, const Playback& playback) {
  const bool forwarded =
      step.linux_counters.contains("IpForwDatagrams") || step.linux_counters.contains("Ip6OutForwDatagrams");
  if (!forwarded || step.skip || step.input.size() != 1 || !step.expected.drops.empty() ||
      step.expected.output.empty())
    return false;
  const auto is_special = [](const Field& field) {  // a fragment, or an ICMP error about another flow
    return field.path.contains(".fragment") || field.path.contains(".quote.");
  };
  const Fields fields = decode_frame(step.input.front(), scenario.keys);
  return std::none_of(fields.begin(), fields.end(),
                      [&](const Field& field) {
                        return is_special(field) && !field.path.ends_with(".fragment_offset");
                      }) &&
         std::none_of(playback.deviations.begin(), playback.deviations.end(),
                      [&](const Deviation& each) { return each.step == step.id; });
}

bool must_use_the_cache(const Scenario& scenario, const Mode& mode, const Playback& playback) {
  if (scenario.limited || mode.workers != 1) return false;  // several workers: each has a cache of its own
  return std::any_of(scenario.steps.begin(), scenario.steps.end(),
                     [&](const Step& step) { return fills_the_cache(scenario, step, playback); });
}

// The cache was in the state that the mode is named for. The bed invalidates flows by changing the default
// route, so without one they stay; and what a gre interface cuts becomes several packets of one GRE flow.
void check_cache(const Scenario& scenario, const Mode& mode, const FlowCounts& counts,
                 const Playback& playback, Report& report) {
  if (mode.cache == Cache::kWarm) {
    if (counts.hits == 0 && must_use_the_cache(scenario, mode, playback))
      report.fail_run(mode, "no flow entry was ever used");
    return;
  }
  const bool invalidates = scenario.config.contains(kDefaultRoute) && !scenario.config.contains(kGreLink);
  const bool must_miss = mode.cache == Cache::kCold || invalidates;
  if (must_miss && counts.hits != 0) report.fail_run(mode, "some flow entry was used unasked");
}

// The scenario could not be played to its end.
void fail_all_steps(const Scenario& scenario, const Mode& mode, const std::string& text, Report& report) {
  report.fail_run(mode, text);
  for (const Step& step : scenario.steps)
    if (!step.skip) report.failed_steps.insert(step.id);
}

void run(const Scenario& scenario, const Mode& mode, Report& report) {
  ++report.runs;
  auto bed = make_testbed(testbed_options(scenario, mode));
  if (!bed) return fail_all_steps(scenario, mode, bed.error().text, report);
  const auto playback = play(scenario, mode, **bed);
  if (!playback) return fail_all_steps(scenario, mode, playback.error().text, report);
  for (const Difference& each : playback->differences) {
    report.failed_steps.insert(each.step);
    report.fail_run(mode, describe(each));
  }
  report.deviations.insert(playback->deviations.begin(), playback->deviations.end());
  check_cache(scenario, mode, (*bed)->flow_counts(), *playback, report);
}

void run_guarded(const Scenario& scenario, const Mode& mode, Report& report) {
  try {
    run(scenario, mode, report);
  } catch (const std::exception& error) {
    fail_all_steps(scenario, mode, error.what(), report);
  }
}

constexpr Mode kChosen[] = {{Cache::kCold, 1, QueueOrder::kFirst},
                            {Cache::kWarm, 2, QueueOrder::kRoundRobin},
                            {Cache::kInvalidated, 3, QueueOrder::kPseudoRandom}};

// Not every mode: one that the scenario has for itself, so that all of them have each.
std::vector<Mode> modes(const Scenario& scenario) {
  if (!kEveryMode) return {kChosen[scenario.steps.size() % std::size(kChosen)]};
  std::vector<Mode> all;
  for (const Cache cache : {Cache::kCold, Cache::kWarm, Cache::kInvalidated}) {
    all.push_back({cache, 1, QueueOrder::kFirst});
    for (const uint16_t workers : {2, 3})
      for (const QueueOrder order : {QueueOrder::kRoundRobin, QueueOrder::kPseudoRandom})
        all.push_back({cache, workers, order});
  }
  return all;
}

Report run_all_modes(const Scenario& scenario) {
  Report report;
  for (const Mode& mode : modes(scenario)) run_guarded(scenario, mode, report);
  return report;
}

json to_json(const Scenario& scenario, const Report& report) {
  json deviations = json::array(), skipped = json::array(), failures = json::array();
  for (const std::string& text : report.failures)
    failures.push_back({{"text", text}, {"runs", report.modes.at(text)}});
  for (const Deviation& each : report.deviations)
    deviations.push_back({{"step", each.step}, {"reason", each.reason}});
  for (const Step& step : scenario.steps)
    if (step.skip) skipped.push_back({{"step", step.id}, {"reason", *step.skip}});
  return {{"steps", scenario.steps.size()},
          {"runs", report.runs},
          {"deviations", deviations},
          {"skipped", skipped},
          {"failed_steps", report.failed_steps},
          {"failures", failures}};
}

int run_program(const char* folder) {
  const auto scenario = load_scenario(folder);
  if (!scenario) {
    fmt::print(stderr, "golden_player: {}\n", scenario.error().text);
    return 1;
  }
  fmt::print("{}\n", to_json(*scenario, run_all_modes(*scenario)).dump());
  return 0;
}

}  // namespace
}  // namespace espalier::test

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: golden_player FOLDER\n");
    return 2;
  }
  return espalier::test::run_program(argv[1]);
}
