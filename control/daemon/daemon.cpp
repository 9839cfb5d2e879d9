#include "control/daemon/daemon.hpp"

#include <sys/signalfd.h>

#include <csignal>
#include <filesystem>

#include "control/daemon/log.hpp"

namespace espalier::daemon {
namespace {

constexpr uint32_t kIkeChannelSlots = 4096;

void log_diagnostics(const std::vector<config::Diagnostic>& diagnostics) {
  for (const auto& d : diagnostics) {
    const bool error = d.severity == config::Severity::kError;
    log::cfg().log(error ? spdlog::level::err : spdlog::level::warn, "{}:{}: {}", d.file, d.line, d.text);
  }
}

Result<Applier::Tables> load_tables(const config::Source& source) {
  auto outcome = config::load(source);
  log_diagnostics(outcome.diagnostics);
  if (!outcome.tables) return fail("{} has errors", source.file);
  return std::make_shared<const config::Tables>(std::move(*outcome.tables));
}

}  // namespace

Result<Applier::Tables> load_initial(const ConfigStore& store) {
  const auto choice = TRY(store.choose());
  log::cfg().info("configuration {}: {}", choice.source.file, choice.why);
  return load_tables(choice.source);
}

Daemon::Daemon(EventLoop& loop, const Options& options, ConfigStore store)
    : loop_(loop),
      options_(options),
      store_(std::move(store)),
      events_([this]() -> const config::Tables& { return applier_.running(); }),
      supervisor_(loop, {options.runtime_dir, options.state_dir},
                  {[this] { applier_.on_ready(); }, [this](const std::string& how) { applier_.on_lost(how); },
                   [this](const message::FromDataplane& event) { events_.take(event); },
                   [this] {
                     dataplane_needs_channel_ = true;
                     connect_ike();
                   }}),
      ike_(loop,
           {options.runtime_dir, options.ike_program, options.ike_user,
            std::filesystem::path(options.config_file).parent_path()},
           [this] { connect_ike(); }),
      applier_(supervisor_, store_,
               [this](const config::Tables& tables) {
                 return dataplane_command(tables, options_.dataplane_program, options_.runtime_dir,
                                          allowed_cpus());
               },
               {[this](const config::Tables& tables) { return ike_.check(tables.ike); },
                [this](const Applier::Tables& tables) { on_acknowledged(tables); }}),
      context_{supervisor_, ike_, applier_, store_, events_, [this] { return socket_->refused(); }} {}

Daemon::~Daemon() {
  if (signals_) loop_.forget(signals_.get());
}

Result<std::unique_ptr<Daemon>> Daemon::create(EventLoop& loop, const Options& options,
                                               Applier::Tables initial, ConfigStore store) {
  std::unique_ptr<Daemon> daemon(new Daemon(loop, options, std::move(store)));
  daemon->applier_.set_initial(std::move(initial));
  TRY(daemon->watch_signals());
  const auto handle = [context = &daemon->context_](Request request, OperatorSocket::Reply reply) {
    commands::dispatch(*context, std::move(request), reply);
  };
  daemon->socket_ = TRY(OperatorSocket::listen(loop, options.runtime_dir + "/control.sock", {}, handle));
  return daemon;
}

void Daemon::start() {
  supervisor_.start(applier_.command());
  configure_ike(applier_.running_tables());
}

// Policies first: they keep what IKE has no SA for yet from leaving in clear.
void Daemon::on_acknowledged(const Applier::Tables& tables) {
  configure_ike(tables);
  if (dataplane_needs_channel_) connect_ike();
}

void Daemon::configure_ike(const Applier::Tables& tables) {
  if (std::exchange(ike_tables_, tables) == tables) return;
  ike_.configure(std::shared_ptr<const config::IkeDocument>(tables, &tables->ike));
}

// A channel belongs to one pair of processes; whenever one of them is another, both get a new one.
void Daemon::connect_ike() {
  if (!applier_.acknowledged() || !supervisor_.ready() || !ike_.ready()) return;
  const auto pass_on = [this]() -> Result<bool> {
    const auto channel = TRY(Channel::create(kIkeChannelSlots));
    if (!TRY(supervisor_.pass_on(channel))) return false;
    return ike_.pass_on(channel);
  };
  const auto done = pass_on();
  if (!done) log::ring().error("espalier-ike and the dataplane get no channel: {}", done.error().text);
  dataplane_needs_channel_ = !done || !*done;
}

Result<void> Daemon::watch_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return fail("signalfd: {}", errno_text());
  return loop_.watch(signals_.get(), [this](uint32_t) { on_signal(); });
}

void Daemon::on_signal() {
  signalfd_siginfo info;
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
  if (info.ssi_signo == SIGHUP) return reload();
  shut_down();
}

// SIGHUP: the operator edited the file and means it; what was applied in between no longer counts.
void Daemon::reload() {
  log::cfg().info("SIGHUP: applying {} again", store_.config_file());
  const auto source = store_.read_config_file();
  auto tables = source ? load_tables(*source) : Result<Applier::Tables>(std::unexpected(source.error()));
  if (!tables) return log::cfg().error("{}; the running configuration stays", tables.error().text);
  Applier::Change change{.tables = std::move(*tables), .text = {}, .restart = false};
  change.persist = Applier::Persist::kAsConfigFile;
  applier_.apply(std::move(change), [](const Result<void>& done) {
    if (!done) log::cfg().error("{}; the running configuration stays", done.error().text);
  });
}

void Daemon::shut_down() {
  log::proc().info("stopping");
  ike_.stop(
      [this] { supervisor_.stop([this] { loop_.stop(); }); });  // its farewells leave through the dataplane
}

}  // namespace espalier::daemon
