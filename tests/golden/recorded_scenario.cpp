#include "tests/golden/recorded_scenario.hpp"

#include <stdexcept>

namespace espalier::test {

Scenario load_recorded(const std::string& name) {
  auto scenario = load_scenario(std::filesystem::path(GOLDEN_TRANSLATED) / name);
  if (!scenario) throw std::runtime_error(scenario.error().text);
  return *std::move(scenario);
}

const Step& step_of(const Scenario& scenario, std::string_view id) {
  for (const Step& step : scenario.steps)
    if (step.id == id) return step;
  throw std::out_of_range("no step " + std::string(id));
}

}  // namespace espalier::test
