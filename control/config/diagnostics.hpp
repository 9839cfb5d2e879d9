// What `check`, `apply` and `diff` tell the operator about a configuration file: one line each, with file,
// line and severity, as a compiler does. Errors refuse the file, warnings do not; each warning is of a lint.
//
// Texts come from the file's own words, so they pass quoted() on their way: control characters cannot reach
// the operator's terminal. Secrets and keys are never passed in; who reads them uses texts without the value.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/config/lint_table.hpp"

namespace espalier::config {

enum class Severity : uint8_t { kError, kWarning };

struct Diagnostic {
  Severity severity = Severity::kError;
  std::string file;
  int line = 0;      // counted from 1; 0: the file as a whole
  std::string text;  // one line, without a final full stop
  std::string lint;  // a warning's lint by its name (lint_table.hpp)
  friend bool operator==(const Diagnostic&, const Diagnostic&) = default;
};

// Collects the diagnostics of one file, in the order in which they were found.
class Diagnostics {
 public:
  explicit Diagnostics(std::string file) : file_(std::move(file)) {}

  template <class... Args>
  void error(int line, fmt::format_string<Args...> format, Args&&... args) {
    add_error(line, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warning(Lint lint, int line, fmt::format_string<Args...> format, Args&&... args) {
    add_warning(lint, line, fmt::format(format, std::forward<Args>(args)...));
  }
  void add_error(int line, std::string text);
  void add_warning(Lint lint, int line, std::string text);

  bool has_errors() const { return errors_ != 0; }
  const std::string& file() const { return file_; }
  // Sorted by line; what was found first comes first within a line.
  std::vector<Diagnostic> take_sorted() &&;

 private:
  std::string file_;
  std::vector<Diagnostic> list_;
  size_t errors_ = 0;
};

bool has_errors(const std::vector<Diagnostic>& diagnostics);

// "FILE:LINE: error: text\n" or "FILE:LINE: warning: text [lint]\n" for each; the line number is left out
// where it is 0.
std::string render_diagnostics(const std::vector<Diagnostic>& diagnostics);

// `text` in double quotes, at most 64 bytes of it, with everything but printable ASCII written as \xNN.
std::string quoted(std::string_view text);

}  // namespace espalier::config
