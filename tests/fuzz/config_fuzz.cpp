// Any text as a configuration. Beyond not crashing, hanging or leaking: without a model there is an error,
// every diagnostic is one clean line that belongs to the text, what compiles is what the dataplane accepts,
// and the same text compiles to the same tables twice.
//
// Build: this file with the library `config`; seeds in corpus/config/. Runs with libFuzzer's -max_len up to
// 64 KiB.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "control/config/config.hpp"
#include "control/shared/record_check.hpp"

namespace {

using namespace espalier;
using namespace espalier::config;

// Not assert(): release builds have to notice, too.
void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "config_fuzz: %s\n", what);
  std::abort();
}

void check_diagnostics(const std::vector<Diagnostic>& diagnostics, std::string_view text) {
  const auto lines = 1 + std::count(text.begin(), text.end(), '\n');
  for (const Diagnostic& d : diagnostics) {
    require(d.line >= 0 && d.line <= lines, "a diagnostic for a line that is not there");
    require(!d.text.empty(), "an empty diagnostic");
    for (const char c : d.text) require(c >= 0x20 && c != 0x7f, "a control character in a diagnostic");
  }
}

template <class Record>
void check_records(const std::vector<Record>& records) {
  for (const Record& record : records)
    require(!record_check::check(record), "a record that the dataplane refuses");
}

void check_tables(const Tables& tables) {
  require(!record_check::check(tables.settings), "settings that the dataplane refuses");
  check_records(tables.interfaces);
  check_records(tables.addresses);
  check_records(tables.routes);
  check_records(tables.neighbors);
  check_records(tables.source_rules);
  check_records(tables.destination_rules);
  check_records(tables.policies);
  check_records(tables.states);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const ParseOutcome parsed = parse(text, "fuzz.conf");
  require(parsed.model.has_value() != has_errors(parsed.diagnostics),
          "neither a model nor an error, or both");
  check_diagnostics(parsed.diagnostics, text);

  // No file: lints ask no disk for permissions.
  const Source source{"fuzz.conf", Secret(text), std::nullopt};
  check_diagnostics(check(source), text);
  const CompileOutcome first = load(source), second = load(source);
  require(first.tables.has_value() != has_errors(first.diagnostics), "neither tables nor an error, or both");
  if (!first.tables) return 0;
  check_tables(*first.tables);
  require(diff(*first.tables, *second.tables).empty(), "the same text compiles to other tables");
  require(diff(Tables(), *first.tables).size() >= first.tables->policies.size(),
          "the difference loses policies");
  return 0;
}
