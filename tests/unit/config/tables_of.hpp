// Tables of a text that must be accepted.
#pragma once

#include <gtest/gtest.h>

#include "control/config/config.hpp"
#include "control/shared/record_check.hpp"

namespace espalier::config::testing {

inline CompileOutcome load_text(std::string_view text) {
  return load(Source{"test.conf", Secret(text), std::nullopt});
}

inline Tables tables_of(std::string_view text) {
  CompileOutcome outcome = load_text(text);
  EXPECT_TRUE(outcome.tables) << render_diagnostics(outcome.diagnostics);
  if (!outcome.tables) return {};
  for (const PolicyRecord& policy : outcome.tables->policies)
    EXPECT_EQ(record_check::check(policy), std::nullopt);
  return std::move(*outcome.tables);
}

}  // namespace espalier::config::testing
