// The project's recordings, for tests of what compares with them. Throws: without them there is nothing to
// test.
#pragma once

#include "tests/golden/scenario.hpp"

namespace espalier::test {

Scenario load_recorded(const std::string& name);
const Step& step_of(const Scenario& scenario, std::string_view id);

}  // namespace espalier::test
