// What the configuration language knows and this version's dataplane does not run yet. `check` warns of it
// and `apply` refuses it, by name and line. The tables in capabilities.cpp are the only place that says so:
// when the dataplane learns something, its line is deleted there and its record is filled in compiler.cpp.
#pragma once

#include "control/config/diagnostics.hpp"
#include "control/config/model.hpp"

namespace espalier::config {

// Adds a diagnostic of this severity for every element that cannot be applied.
void report_limitations(const Model& model, Severity severity, Diagnostics& diagnostics);

}  // namespace espalier::config
