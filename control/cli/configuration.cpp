// check, apply and diff: a configuration file.
#include <cstdio>

#include "control/cli/command.hpp"
#include "control/config/config.hpp"

namespace espalier::cli {
namespace {

Json diagnostic_json(const config::Diagnostic& d) {
  Json row{{"severity", d.severity == config::Severity::kError ? "error" : "warning"},
           {"file", d.file},
           {"line", d.line},
           {"text", d.text}};
  if (!d.lint.empty()) row["lint"] = d.lint;
  return row;
}

// The same from espalierd's answer.
std::vector<config::Diagnostic> diagnostics_of(const Json& document) {
  std::vector<config::Diagnostic> diagnostics;
  for (const Json& row : rows_of(document, "diagnostics")) {
    const bool error = text_of(row, "severity") == "error";
    diagnostics.push_back({error ? config::Severity::kError : config::Severity::kWarning,
                           text_of(row, "file"), static_cast<int>(number_of(row, "line")),
                           text_of(row, "text"), row.contains("lint") ? text_of(row, "lint") : ""});
  }
  return diagnostics;
}

size_t count_errors(const std::vector<config::Diagnostic>& diagnostics) {
  size_t errors = 0;
  for (const auto& d : diagnostics) errors += d.severity == config::Severity::kError;
  return errors;
}

// "2 errors, 1 warning"
std::string counts_of(const std::vector<config::Diagnostic>& diagnostics) {
  const size_t errors = count_errors(diagnostics), warnings = diagnostics.size() - errors;
  return fmt::format("{} {}, {} {}", errors, errors == 1 ? "error" : "errors", warnings,
                     warnings == 1 ? "warning" : "warnings");
}

void print_diagnostics(const std::vector<config::Diagnostic>& diagnostics) {
  std::fputs(config::render_diagnostics(diagnostics).c_str(), stderr);
}

int print_check(const config::Source& source, const std::vector<config::Diagnostic>& diagnostics) {
  print_diagnostics(diagnostics);
  std::puts(fmt::format("{}: {}", source.file, counts_of(diagnostics)).c_str());
  return has_errors(diagnostics) ? kRefused : kDone;
}

int print_check_json(const std::vector<config::Diagnostic>& diagnostics) {
  const size_t errors = count_errors(diagnostics);
  Json rows = Json::array();
  for (const auto& diagnostic : diagnostics) rows.push_back(diagnostic_json(diagnostic));
  print_json({{"ok", errors == 0},
              {"errors", errors},
              {"warnings", diagnostics.size() - errors},
              {"diagnostics", std::move(rows)}});
  return errors == 0 ? kDone : kRefused;
}

// The text travels to espalierd, not the name: the daemon may see other files than we do.
Result<Json> request_with_file(const Invocation& invocation, const char* command) {
  const auto source = TRY(config::read_source(invocation.values["FILE"].as<std::string>()));
  Json request{{"command", command}, {"file", source.file}, {"text", source.text.text()}};
  if (source.mode) request["mode"] = *source.mode & 07777;
  return request;
}

void print_changes(const Json& document) {
  for (const Json& change : rows_of(document, "changes")) std::puts(text_of(change).c_str());
}

void print_diff(const Json& document) {
  print_changes(document);
  for (const Json& reason : rows_of(document, "restart_reasons"))
    std::puts(fmt::format("needs apply --restart: {}", text_of(reason)).c_str());
}

void print_applied(const Json& document) {
  print_changes(document);
  std::puts(rows_of(document, "changes").empty() ? "applied; nothing changed" : "applied");
  for (const Json& trouble : rows_of(document, "troubles"))
    std::fputs(fmt::format("warning: {}\n", text_of(trouble)).c_str(), stderr);
}

// Errors in the file have been printed with their lines; else espalierd's own words say why.
int refuse_file(const Json& answer, const std::vector<config::Diagnostic>& diagnostics) {
  if (!has_errors(diagnostics)) return refuse({text_of(answer, "error")});
  return refuse({fmt::format("{} was refused: {}", diagnostics.front().file, counts_of(diagnostics))});
}

// The whole document of a refusal is worth having as JSON.
int run_with_file(const Invocation& invocation, const Json& request, void (*print)(const Json&)) {
  auto client = Client::connect(invocation.socket);
  if (!client) return refuse(invocation, client.error());
  const auto answer = client->ask(request);
  if (!answer) return refuse(invocation, answer.error());
  if (invocation.json) {
    print_json(*answer);
    return flag_of(*answer, "ok") ? kDone : refuse({text_of(*answer, "error")});
  }
  const auto diagnostics = diagnostics_of(*answer);
  print_diagnostics(diagnostics);
  if (!flag_of(*answer, "ok")) return refuse_file(*answer, diagnostics);
  print(*answer);
  return kDone;
}

}  // namespace

int run_check(const Invocation& invocation) {
  const auto source = config::read_source(invocation.values["FILE"].as<std::string>());
  if (!source) return refuse(invocation, source.error());
  const auto diagnostics = config::check(*source);
  return invocation.json ? print_check_json(diagnostics) : print_check(*source, diagnostics);
}

void describe_apply(po::options_description& options) {
  options.add_options()("restart", po::bool_switch(),
                        "restart the dataplane if what is fixed while it runs has changed");
}

int run_apply(const Invocation& invocation) {
  auto request = request_with_file(invocation, "apply");
  if (!request) return refuse(invocation, request.error());
  (*request)["restart"] = invocation.values["restart"].as<bool>();
  return run_with_file(invocation, *request, print_applied);
}

int run_diff(const Invocation& invocation) {
  const auto request = request_with_file(invocation, "diff");
  if (!request) return refuse(invocation, request.error());
  return run_with_file(invocation, *request, print_diff);
}

}  // namespace espalier::cli
