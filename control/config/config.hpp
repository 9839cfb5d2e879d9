// The configuration of Espalier from text to tables; what espalierd and the CLI call.
//
//   check FILE   read_source, check                    errors and warnings, no daemon needed
//   apply FILE   read_source, load, then the Tables    refuses what check refuses and what cannot run yet
//   diff FILE    load, then diff(running, new)
//
// Stages: scanner.hpp (libconfig's traps), tree.hpp (libconfig), parse.hpp (keywords and ranges ->
// model.hpp), validate.hpp (references), lint.hpp (warnings), compiler.hpp (records). All functions are pure
// but read_source and the permission lint; no thread is assumed.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/config/compiler.hpp"
#include "control/config/diagnostics.hpp"
#include "control/config/model.hpp"
#include "control/config/tables_diff.hpp"

namespace espalier::config {

// A file's text, wiped when freed.
struct Source {
  std::string file;  // as the operator wrote it; stands in front of each diagnostic
  Secret text;
  std::optional<mode_t> mode;  // permissions, where it is a file
};

// Reads `path`. Errors: not readable, not a regular file, too large.
Result<Source> read_source(const std::string& path);

struct ParseOutcome {
  std::optional<Model> model;           // nothing if there is an error
  std::vector<Diagnostic> diagnostics;  // sorted by line
};

// Scans, parses and validates.
ParseOutcome parse(std::string_view text, const std::string& file);

// As parse, with all warnings: lints, and what this version cannot apply. What `espalier check` prints.
std::vector<Diagnostic> check(const Source& source);

// As check, but what cannot be applied is an error. The tables are there if no diagnostic is an error.
CompileOutcome load(const Source& source);

}  // namespace espalier::config
