#include "control/daemon/keeper.hpp"

#include <fmt/ranges.h>

#include <csignal>

#include "control/daemon/log.hpp"

namespace espalier::daemon {
namespace {

constexpr milliseconds kLookAfterError{100};
constexpr milliseconds kStartLimit{30'000};  // from fork to listening; device probing takes its time
constexpr milliseconds kHelloLimit{10'000};
constexpr milliseconds kGraceOfSigterm{3'000};
constexpr milliseconds kHeartbeatInterval{500};

}  // namespace

Keeper::Keeper(EventLoop& loop, Names names, Ward& ward)
    : loop_(loop), names_(std::move(names)), ward_(ward) {}

Keeper::~Keeper() {
  for (const auto timer : {look_timer_, kill_timer_, heartbeat_timer_}) loop_.cancel(timer);
  if (process_) loop_.forget(process_->pidfd().get());
}

void Keeper::start(ProgramCommand command) {
  command_ = std::move(command);
  stopped_ = nullptr;
  if (phase_ != Phase::kIdle) return;  // one that is being stopped is followed by another
  enter(Phase::kLooking);
  loop_.cancel(heartbeat_timer_);
  check_heartbeat();
  look();
}

void Keeper::restart(ProgramCommand command) {
  command_ = std::move(command);
  if (process_) terminate();
}

void Keeper::stop(std::function<void()> done) {
  if (auto found = process_ ? Result<void>() : find_left_behind(); !found) report(found.error());
  if (!process_) {
    enter(Phase::kIdle);
    return done();
  }
  stopped_ = std::move(done);
  terminate();
}

void Keeper::enter(Phase phase) {
  phase_ = phase;
  phase_began_ = Clock::now();
  loop_.cancel(look_timer_);
}

std::optional<pid_t> Keeper::pid() const {
  if (!process_) return std::nullopt;
  return process_->pid();
}

// Looking.

void Keeper::look_again(milliseconds delay) {
  loop_.cancel(look_timer_);
  look_timer_ = loop_.after(delay, [this] { look(); });
}

void Keeper::look() {
  if (auto found = try_to_find(); !found) {
    report(found.error());
    look_again(kLookAfterError);
  } else if (phase_ == Phase::kLooking) {
    look_again(kLookInterval);
  }
}

// The same error again and again is told once.
void Keeper::report(const Error& error) {
  if (error.text != last_error_) log::proc().error("{}", error.text);
  last_error_ = error.text;
}

Result<void> Keeper::try_to_find() {
  if (const auto pid = TRY(ward_.connect())) return greet(*pid);
  if (!process_) return spawn_if_none_lives();
  if (Clock::now() - phase_began_ > kStartLimit) {
    log::proc().error("{} (pid {}) does not listen {} s after its start; killing it", names_.title,
                      process_->pid(), kStartLimit.count() / 1000);
    enter(Phase::kStopping);
    process_->signal(SIGKILL);
  }
  return {};
}

Result<void> Keeper::spawn_if_none_lives() {
  auto lock = TRY(ProcessLock::take(names_.runtime_dir, names_.lock));
  if (!lock) return take_over_silent_holder();
  TRY(ward_.prepare());
  log::proc().info("starting {} {}", command_.program, fmt::join(command_.arguments, " "));
  ++starts_;
  enter(Phase::kLooking);
  return watch_process(TRY(Process::spawn(command_, std::move(*lock))));
}

// One that another espalierd started and that does not listen yet: it gets its time, then it is killed.
Result<void> Keeper::take_over_silent_holder() {
  if (Clock::now() - phase_began_ < kStartLimit) return {};
  TRY(watch_process(TRY(find_holder())));
  log::proc().error("{} (pid {}) that this espalierd did not start does not listen; killing it", names_.title,
                    process_->pid());
  enter(Phase::kStopping);
  process_->signal(SIGKILL);
  return {};
}

// One that another espalierd started, and that nobody wants now.
Result<void> Keeper::find_left_behind() {
  if (TRY(ProcessLock::take(names_.runtime_dir, names_.lock))) return {};
  return watch_process(TRY(find_holder()));
}

Result<Process> Keeper::find_holder() const {
  if (const auto pid = ProcessLock::holder(names_.runtime_dir, names_.lock)) return Process::adopt(*pid);
  return fail("{}/{}.lock is locked by a process that did not write its pid", names_.runtime_dir,
              names_.lock);
}

// Greeting.

Result<void> Keeper::identify(pid_t pid) {
  if (!process_) return watch_process(TRY(Process::adopt(pid)));
  if (process_->pid() == pid) return {};
  return fail("process {} listens on the socket of {} instead of {}", pid, names_.title, process_->pid());
}

Result<void> Keeper::greet(pid_t pid) {
  if (auto known = identify(pid); !known) {
    ward_.disconnect();
    return known;
  }
  enter(Phase::kGreeting);
  look_timer_ = loop_.after(kHelloLimit, [this] {
    log::proc().error("{} (pid {}) does not say hello; stopping it", names_.title, process_->pid());
    terminate();
  });
  return {};
}

void Keeper::greeted(const std::string& how_it_is) {
  enter(Phase::kRunning);
  last_error_.clear();
  const ProgramCommand theirs{command_.program, arguments_of(process_->pid())};
  if (!process_->is_child() && theirs.arguments != command_.arguments) {
    log::proc().warn("{} (pid {}) was started with other options, starting another: {}", names_.title,
                     process_->pid(), fmt::join(differences(theirs, command_), "; "));
    return terminate();
  }
  log::proc().info("{} {} (pid {}{})", process_->is_child() ? "connected to" : "adopted", names_.title,
                   process_->pid(), how_it_is);
  if (!std::exchange(announced_, true)) ward_.on_running();
}

void Keeper::give_up(const Error& why) {
  log::proc().error("cannot go on with {} (pid {}), starting afresh: {}", names_.title, process_->pid(),
                    why.text);
  terminate();
}

void Keeper::connection_lost(milliseconds before_the_next) {
  log::proc().info("{} (pid {}) is not connected any more", names_.title, process_ ? process_->pid() : 0);
  ward_.disconnect();
  if (phase_ != Phase::kRunning && phase_ != Phase::kGreeting) return;
  enter(Phase::kLooking);
  look_again(before_the_next);
}

// Running.

void Keeper::check_heartbeat() {
  heartbeat_timer_ = loop_.after(kHeartbeatInterval, [this] { check_heartbeat(); });
  if (phase_ != Phase::kRunning) return;
  const auto hung = ward_.find_hung();
  if (!hung) return;
  log::proc().error("{} (pid {}) hangs: {}; killing it", names_.title, process_->pid(), *hung);
  enter(Phase::kStopping);
  process_->signal(SIGKILL);
}

// The process.

Result<void> Keeper::watch_process(Process process) {
  TRY(loop_.watch(process.pidfd().get(), [this](uint32_t) { on_process_end(); }));
  process_ = std::move(process);
  announced_ = false;
  return {};
}

void Keeper::terminate() {
  enter(Phase::kStopping);
  ward_.disconnect();
  process_->signal(SIGTERM);
  loop_.cancel(kill_timer_);
  kill_timer_ = loop_.after(kGraceOfSigterm, [this] {
    log::proc().warn("{} (pid {}) did not end {} s after SIGTERM; killing it", names_.title, process_->pid(),
                     kGraceOfSigterm.count() / 1000);
    process_->signal(SIGKILL);
  });
}

void Keeper::on_process_end() {
  const bool wanted = phase_ == Phase::kStopping;
  const std::string how = process_->reap();
  log::proc().log(wanted ? spdlog::level::info : spdlog::level::err, "{} (pid {}) {}", names_.title,
                  process_->pid(), how);
  const auto delay = wanted ? milliseconds(0) : back_off_.delay_after(process_->age());
  loop_.cancel(kill_timer_);
  loop_.forget(process_->pidfd().get());
  process_.reset();
  ward_.disconnect();
  const auto stopped = std::exchange(stopped_, nullptr);
  enter(stopped ? Phase::kIdle : Phase::kLooking);
  ward_.on_end(how);
  if (stopped) return stopped();
  look_again(delay);
}

}  // namespace espalier::daemon
