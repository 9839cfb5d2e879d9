// check, apply and diff: a configuration file.
#include <cstdio>

#include "control/cli/command.hpp"
#include "control/config/config.hpp"

namespace espalier::cli {
namespace {

Json diagnostic_json(const config::Diagnostic& d) {
  return {{"severity", d.severity == config::Severity::kError ? "error" : "warning"},
          {"file", d.file},
          {"line", d.line},
          {"text", d.text}};
}

int print_check(const config::Source& source, const std::vector<config::Diagnostic>& diagnostics,
                size_t errors) {
  std::fputs(config::render_diagnostics(diagnostics).c_str(), stderr);
  const size_t warnings = diagnostics.size() - errors;
  std::puts(fmt::format("{}: {} {}, {} {}", source.file, errors, errors == 1 ? "error" : "errors", warnings,
                        warnings == 1 ? "warning" : "warnings")
                .c_str());
  return errors == 0 ? kDone : kRefused;
}

int print_check_json(const std::vector<config::Diagnostic>& diagnostics, size_t errors) {
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

void print_warnings(const Json& document) {
  for (const Json& d : document["diagnostics"])
    std::fputs(fmt::format("{}:{}: {}: {}\n", text_of(d, "file"), number_of(d, "line"),
                           text_of(d, "severity"), text_of(d, "text"))
                   .c_str(),
               stderr);
}

void print_changes(const Json& document) {
  print_warnings(document);
  for (const Json& change : document["changes"]) std::puts(change.get<std::string>().c_str());
}

// The whole document of a refusal is worth having as JSON.
int run_with_file(const Invocation& invocation, const Json& request, void (*print)(const Json&)) {
  auto client = Client::connect(invocation.socket);
  if (!client) return refuse(client.error());
  const auto answer = client->ask(request);
  if (!answer) return refuse(answer.error());
  if (invocation.json) print_json(*answer);
  if (!flag_of(*answer, "ok")) return refuse({text_of(*answer, "error")});
  if (!invocation.json) print(*answer);
  return kDone;
}

}  // namespace

int run_check(const Invocation& invocation) {
  const auto source = config::read_source(invocation.values["FILE"].as<std::string>());
  if (!source) return refuse(source.error());
  const auto diagnostics = config::check(*source);
  size_t errors = 0;
  for (const auto& d : diagnostics) errors += d.severity == config::Severity::kError;
  return invocation.json ? print_check_json(diagnostics, errors) : print_check(*source, diagnostics, errors);
}

void describe_apply(po::options_description& options) {
  options.add_options()("restart", po::bool_switch(),
                        "restart the dataplane if what is fixed while it runs has changed");
}

int run_apply(const Invocation& invocation) {
  auto request = request_with_file(invocation, "apply");
  if (!request) return refuse(request.error());
  (*request)["restart"] = invocation.values["restart"].as<bool>();
  return run_with_file(invocation, *request, [](const Json& document) {
    print_changes(document);
    std::puts(document["changes"].empty() ? "applied; nothing changed" : "applied");
  });
}

int run_diff(const Invocation& invocation) {
  const auto request = request_with_file(invocation, "diff");
  if (!request) return refuse(request.error());
  return run_with_file(invocation, *request, print_changes);
}

}  // namespace espalier::cli
