#include "control/config/diagnostics.hpp"

#include <algorithm>

namespace espalier::config {

void Diagnostics::add_error(int line, std::string text) {
  ++errors_;
  list_.push_back({Severity::kError, file_, line, std::move(text), {}});
}

void Diagnostics::add_warning(Lint lint, int line, std::string text) {
  list_.push_back({Severity::kWarning, file_, line, std::move(text), std::string(name_of(lint))});
}

std::vector<Diagnostic> Diagnostics::take_sorted() && {
  std::stable_sort(list_.begin(), list_.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.line < b.line; });
  return std::move(list_);
}

bool has_errors(const std::vector<Diagnostic>& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& d) { return d.severity == Severity::kError; });
}

std::string render_diagnostics(const std::vector<Diagnostic>& diagnostics) {
  std::string out;
  for (const Diagnostic& d : diagnostics) {
    const char* severity = d.severity == Severity::kError ? "error" : "warning";
    const std::string where = d.line > 0 ? fmt::format("{}:{}", d.file, d.line) : d.file;
    const std::string lint = d.lint.empty() ? "" : fmt::format(" [{}]", d.lint);
    out += fmt::format("{}: {}: {}{}\n", where, severity, d.text, lint);
  }
  return out;
}

std::string quoted(std::string_view text) {
  constexpr size_t kShown = 64;
  std::string out = "\"";
  for (const char c : text.substr(0, kShown)) {
    if (c >= 0x20 && c < 0x7f)
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  }
  return out + (text.size() > kShown ? "...\"" : "\"");
}

}  // namespace espalier::config
