// "apply" and "diff": a configuration's text from the operator.
#include "control/daemon/commands/commands.hpp"

namespace espalier::daemon::commands {
namespace {

struct Loaded {
  config::Source source;
  config::CompileOutcome outcome;
};

Json diagnostic_row(const config::Diagnostic& d) {
  Json row{{"severity", d.severity == config::Severity::kError ? "error" : "warning"},
           {"file", d.file},
           {"line", d.line},
           {"text", d.text}};
  if (!d.lint.empty()) row["lint"] = d.lint;
  return row;
}

Json diagnostic_rows(const std::vector<config::Diagnostic>& diagnostics) {
  Json rows = Json::array();
  for (const auto& diagnostic : diagnostics) rows.push_back(diagnostic_row(diagnostic));
  return rows;
}

// "file" names the configuration in diagnostics, "text" is it, "mode" are the file's permissions.
Result<Loaded> load(Request& request) {
  Loaded loaded;
  loaded.source.file = TRY(request.text("file")).value_or("configuration");
  loaded.source.text = config::Secret(TRY(request.required_text("text")));
  if (const auto mode = TRY(request.number("mode", 0, 07777)))
    loaded.source.mode = static_cast<mode_t>(*mode);
  loaded.outcome = config::load(loaded.source);
  return loaded;
}

// The first error, and all that was found.
Json refusal(const Loaded& loaded) {
  const auto& list = loaded.outcome.diagnostics;
  const auto is_error = [](const auto& d) { return d.severity == config::Severity::kError; };
  const auto errors = std::count_if(list.begin(), list.end(), is_error);
  const auto first = std::find_if(list.begin(), list.end(), is_error);
  Json document = error_reply({first == list.end()
                                   ? "the configuration was refused"
                                   : fmt::format("{}:{}: error: {}", first->file, first->line, first->text)});
  if (errors > 1)
    document["error"] = fmt::format("{} (the first of {} errors)", std::string(document["error"]), errors);
  document["diagnostics"] = diagnostic_rows(list);
  return document;
}

Json changes_by(const Applier& applier, const Loaded& loaded) {
  const auto reasons = applier.restart_reasons(*loaded.outcome.tables);
  return {{"changes", config::diff(applier.running(), *loaded.outcome.tables)},
          {"needs_restart", !reasons.empty()},
          {"restart_reasons", reasons},
          {"diagnostics", diagnostic_rows(loaded.outcome.diagnostics)}};
}

}  // namespace

Result<Json> diff(Context& context, Request& request) {
  const Loaded loaded = TRY(load(request));
  TRY(request.no_others());
  if (!loaded.outcome.tables) return refusal(loaded);
  return changes_by(context.applier, loaded);
}

Result<void> apply(Context& context, Request& request, const Reply& reply) {
  Loaded loaded = TRY(load(request));
  Applier::Change change;
  change.restart = TRY(request.flag("restart"));
  TRY(request.no_others());
  if (!loaded.outcome.tables) {
    reply(refusal(loaded));
    return {};
  }
  const Json changes = changes_by(context.applier, loaded);
  change.tables = std::make_shared<const config::Tables>(std::move(*loaded.outcome.tables));
  change.text = loaded.source.text.text();
  context.applier.apply(std::move(change), [reply, changes, &ike = context.ike](const Result<void>& done) {
    if (!done) return reply(error_reply(done.error()));
    ike.when_configured([reply, changes, &ike] {
      Json document = changes;
      document["troubles"] = ike.troubles();
      reply(ok_reply(document));
    });
  });
  return {};
}

}  // namespace espalier::daemon::commands
