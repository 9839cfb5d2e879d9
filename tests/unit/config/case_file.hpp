// Cases of the configuration as data: a file holds "=== NAME [+ PRELUDE...]", then a configuration, then
// "---", then the exact diagnostics that it must give, "LINE: severity: text", in order. Preludes (sections
// that a case does not care about) follow the case's own text, so that its line numbers stay as they are
// written. A prelude "readable by others" or "not readable by others" is no text: it makes the case a file
// with such permissions.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::config::testing {

struct Case {
  std::string name;
  std::string text;  // with its preludes
  std::optional<mode_t> mode;
  std::vector<std::string> expected;
};

// Throws std::runtime_error if the file is not readable or malformed.
std::vector<Case> read_cases(const std::string& path);

// The files that the program was started with (diagnostics_test.cpp).
std::vector<std::string>& case_files();

// A prelude by its name: "interfaces", "interfaces and vti", "routes", "tunnel".
std::string prelude(std::string_view name);

}  // namespace espalier::config::testing
