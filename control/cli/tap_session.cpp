#include "control/cli/tap_session.hpp"

#include <csignal>
#include <ctime>

namespace espalier::cli {
namespace {

constexpr timespec kBetweenReads{0, 30'000'000};
constexpr int kMostLastReads = 64;  // after Ctrl-C: under full load there is always more

volatile std::sig_atomic_t g_interrupted = 0;
void on_signal(int) {
  g_interrupted = 1;
}

// Without SA_RESTART: the pause between two reads ends at once. Who reads our output may go before we do.
void catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

Result<TapSession> TapSession::start(const Invocation& invocation, Json request, const Filter& filter) {
  if (!filter.ethernet.empty()) request["ethernet_filter"] = filter.ethernet;
  if (!filter.ip.empty()) request["ip_filter"] = filter.ip;
  auto client = TRY(Client::connect(invocation.socket));
  const Json answer = TRY(client.ask(request));
  if (!flag_of(answer, "ok")) return fail("{}", text_of(answer, "error"));
  catch_signals();
  return TapSession(std::move(client), number_of(answer, "id"));
}

Result<Json> TapSession::read() {
  Json batch = TRY(client_.ask({{"command", "capture read"}, {"id", id_}}));
  if (!flag_of(batch, "ok")) return fail("{}", text_of(batch, "error"));
  lost_ = number_of(batch, "lost");
  return batch;
}

Result<void> TapSession::read_on(const std::function<Result<bool>(const Json&)>& take) {
  for (int last_reads = 0; last_reads < kMostLastReads;) {
    const bool ending = g_interrupted;
    const Json batch = TRY(read());
    if (!TRY(take(batch))) return {};
    const bool more = flag_of(batch, "more");
    if (ending && !more) return {};
    if (ending) ++last_reads;
    if (!more) ::nanosleep(&kBetweenReads, nullptr);
  }
  return {};
}

Result<void> TapSession::run(const std::function<Result<bool>(const Json&)>& take) {
  auto done = read_on(take);
  // Where espalierd has gone the tap ends by itself; why reading ended says more than this.
  const auto stopped = client_.ask({{"command", "capture stop"}, {"id", id_}});
  if (done && !stopped) return std::unexpected(stopped.error());
  return done;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace espalier::cli
