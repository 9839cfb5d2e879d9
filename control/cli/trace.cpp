// trace: what happens to the next packets of the running gateway, stage by stage.
#include <algorithm>
#include <cstdio>
#include <ctime>

#include "control/cli/tap_session.hpp"

namespace espalier::cli {
namespace {

// "12:34:56.789012", local time.
std::string clock_text(const Json& story) {
  const auto seconds = static_cast<time_t>(number_of(story, "time_s"));
  tm parts{};
  ::localtime_r(&seconds, &parts);
  return fmt::format("{:02}:{:02}:{:02}.{:06}", parts.tm_hour, parts.tm_min, parts.tm_sec,
                     number_of(story, "time_ns") / 1000);
}

void print_story(const Json& story, uint64_t number) {
  std::puts(fmt::format("{}#{} {} {}", number == 1 ? "" : "\n", number, clock_text(story),
                        text_of(story, "interface"))
                .c_str());
  size_t width = 0;
  for (const Json& line : rows_of(story, "lines")) width = std::max(width, text_of(line, "stage").size());
  for (const Json& line : rows_of(story, "lines"))
    std::puts(fmt::format("{:<{}}  {}", text_of(line, "stage"), width, text_of(line, "text")).c_str());
}

// With --json the stories are one document, at the end.
Result<void> tell(TapSession& session, uint64_t count, bool json, Json& stories) {
  uint64_t told = 0;
  return session.run([&](const Json& batch) -> Result<bool> {
    for (const Json& story : rows_of(batch, "stories")) {
      if (told == count) break;
      ++told;
      if (json)
        stories.push_back(story);
      else
        print_story(story, told);
    }
    if (std::fflush(stdout) != 0) return fail("writing the output failed");
    return told < count;
  });
}

}  // namespace

void describe_trace(po::options_description& options) {
  options.add_options()("count", po::value<uint64_t>()->value_name("N")->default_value(10),
                        "end after N packets");
}

int run_trace(const Invocation& invocation) {
  const auto words = invocation.values["words"].as<std::vector<std::string>>();
  const uint64_t count = invocation.values["count"].as<uint64_t>();
  const auto filter = compile_filter(joined(words));
  if (!filter) return refuse(invocation, filter.error());
  auto session = TapSession::start(invocation, {{"command", "trace start"}}, *filter);
  if (!session) return refuse(invocation, session.error());
  Json stories = Json::array();
  const auto done = tell(*session, count, invocation.json, stories);
  if (!done) return refuse(invocation, Error(done.error()).with_context("the trace ended"));
  if (session->lost() != 0)
    std::fputs(
        fmt::format("{} packets were not traced: more came than are followed\n", session->lost()).c_str(),
        stderr);
  if (!invocation.json) return kDone;
  return print_json({{"ok", true}, {"stories", std::move(stories)}, {"not_traced", session->lost()}});
}

}  // namespace espalier::cli
