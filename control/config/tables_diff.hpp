// What an `apply` would change, for the operator.
#pragma once

#include <string>
#include <vector>

#include "control/config/compiler.hpp"

namespace espalier::config {

// One line each: "+ interface eth2 ...", "- nat source rule 10 ...", "~ state in 0x1001 ...: key". "~" is a
// change in place and says of what. Keys are never shown. Empty: nothing changes. A change of what is fixed
// while the dataplane runs says so.
std::vector<std::string> diff(const Tables& running, const Tables& wanted);

}  // namespace espalier::config
