#include "control/daemon/supervisor.hpp"

#include <fmt/ranges.h>

#include <csignal>

#include "control/daemon/log.hpp"

namespace espalier::daemon {
namespace {

constexpr milliseconds kLookInterval{10};
constexpr milliseconds kLookAfterError{100};
constexpr milliseconds kStartLimit{30'000};  // from fork to listening; device probing takes its time
constexpr milliseconds kHelloLimit{10'000};
constexpr milliseconds kGraceOfSigterm{3'000};
constexpr milliseconds kHeartbeatInterval{500};
constexpr uint32_t kChannelSlots = 1024;

}  // namespace

Supervisor::Supervisor(EventLoop& loop, Directories directories, Events events)
    : loop_(loop),
      directories_(std::move(directories)),
      events_(std::move(events)),
      link_(loop, events_.on_event, [this] { replace_channel(); }) {}

Supervisor::~Supervisor() {
  for (const auto timer : {look_timer_, kill_timer_, heartbeat_timer_}) loop_.cancel(timer);
  disconnect();
  if (process_) loop_.forget(process_->pidfd().get());
}

void Supervisor::start(DataplaneCommand command) {
  command_ = std::move(command);
  enter(Phase::kLooking);
  check_heartbeat();
  look();
}

void Supervisor::restart(DataplaneCommand command) {
  command_ = std::move(command);
  if (process_) terminate();
}

void Supervisor::stop(std::function<void()> done) {
  stopped_ = std::move(done);
  if (process_) return terminate();
  enter(Phase::kIdle);
  stopped_();
}

void Supervisor::enter(Phase phase) {
  phase_ = phase;
  phase_began_ = Clock::now();
  loop_.cancel(look_timer_);
}

std::optional<pid_t> Supervisor::dataplane_pid() const {
  if (!process_) return std::nullopt;
  return process_->pid();
}

// Looking.

void Supervisor::look_again(milliseconds delay) {
  loop_.cancel(look_timer_);
  look_timer_ = loop_.after(delay, [this] { look(); });
}

void Supervisor::look() {
  if (auto found = try_to_find(); !found) {
    report(found.error());
    look_again(kLookAfterError);
  } else if (phase_ == Phase::kLooking) {
    look_again(kLookInterval);
  }
}

// The same error again and again is told once.
void Supervisor::report(const Error& error) {
  if (error.text != last_error_) log::proc().error("{}", error.text);
  last_error_ = error.text;
}

Result<void> Supervisor::try_to_find() {
  auto connection = TRY(handover::DaemonConnection::connect(directories_.runtime));
  if (connection) return greet(std::move(*connection));
  if (!process_) return spawn_if_none_lives();
  if (Clock::now() - phase_began_ > kStartLimit) {
    log::proc().error("the dataplane (pid {}) does not listen after {} s; killing it", process_->pid(),
                      kStartLimit.count() / 1000);
    enter(Phase::kStopping);
    process_->signal(SIGKILL);
  }
  return {};
}

Result<void> Supervisor::spawn_if_none_lives() {
  auto lock = TRY(DataplaneLock::take(directories_.runtime));
  if (!lock) return take_over_silent_holder();
  TRY(make_memory());
  log::proc().info("starting {} {}", command_.program, fmt::join(command_.arguments, " "));
  ++starts_;
  enter(Phase::kLooking);
  return watch_process(TRY(DataplaneProcess::spawn(command_, std::move(*lock))));
}

// A dataplane that another espalierd started and that does not listen yet: it gets its time, then it is
// killed.
Result<void> Supervisor::take_over_silent_holder() {
  if (Clock::now() - phase_began_ < kStartLimit) return {};
  const auto pid = DataplaneLock::holder(directories_.runtime);
  if (!pid)
    return fail("{}/dataplane.lock is locked by a process that did not write its pid", directories_.runtime);
  log::proc().error("a dataplane (pid {}) that this espalierd did not start does not listen; killing it",
                    *pid);
  TRY(watch_process(TRY(DataplaneProcess::adopt(*pid))));
  enter(Phase::kStopping);
  process_->signal(SIGKILL);
  return {};
}

Result<void> Supervisor::make_memory() {
  if (memory_) return {};
  memory_ = TRY(SharedMemory::create(directories_.runtime, directories_.state));
  return {};
}

// Greeting.

Result<void> Supervisor::greet(handover::DaemonConnection connection) {
  const pid_t pid = connection.dataplane_pid();
  if (process_ && process_->pid() != pid)
    return fail("process {} listens on the dataplane's socket instead of {}", pid, process_->pid());
  if (!process_) TRY(watch_process(TRY(DataplaneProcess::adopt(pid))));
  TRY(loop_.watch(connection.socket().get(), [this](uint32_t) { on_connection_readable(); }));
  connection_ = std::move(connection);
  enter(Phase::kGreeting);
  look_timer_ = loop_.after(kHelloLimit, [this] {
    log::proc().error("the dataplane (pid {}) does not say hello; stopping it", process_->pid());
    terminate();
  });
  return {};
}

void Supervisor::on_connection_readable() {
  if (phase_ == Phase::kGreeting) return read_hello();
  log::proc().info("the dataplane (pid {}) closed its connection", process_ ? process_->pid() : 0);
  disconnect();
  if (phase_ != Phase::kRunning) return;
  enter(Phase::kLooking);
  look_again(kLookInterval);
}

void Supervisor::read_hello() {
  auto offer = connection_->receive_hello();
  if (offer && !*offer) return;
  auto done = offer ? hand_over(std::move(**offer)) : Result<void>(std::unexpected(offer.error()));
  if (done) return;
  log::proc().error("cannot go on with the dataplane (pid {}), starting afresh: {}", process_->pid(),
                    done.error().text);
  terminate();
}

Result<void> Supervisor::hand_over(handover::DaemonConnection::Offer offer) {
  const auto layouts = SharedMemory::layouts();
  if (offer.hello.layouts != layouts)
    return fail("{}", handover::describe_difference(layouts, offer.hello.layouts));
  const bool has_segments = offer.segments.has_value();
  TRY(take_memory(std::move(offer.segments)));
  auto channel = TRY(Channel::create(kChannelSlots));
  const auto descriptors = memory_->descriptors();
  TRY(connection_->send_welcome(layouts, has_segments ? nullptr : &descriptors, channel));
  TRY(link_.attach(std::move(channel)));
  become_ready(offer.hello);
  return {};
}

Result<void> Supervisor::take_memory(std::optional<handover::SegmentFds> theirs) {
  if (!theirs) return make_memory();
  if (memory_ && memory_->is_same(*theirs)) return {};
  if (memory_) return fail("it has other shared memory than we have");
  memory_ = TRY(SharedMemory::attach(std::move(*theirs)));
  return {};
}

void Supervisor::become_ready(const handover::Hello& hello) {
  enter(Phase::kRunning);
  last_error_.clear();
  adopted_generation_ = std::max(adopted_generation_, hello.generation);
  heartbeat_.start(memory_->statistics(), Clock::now());
  const DataplaneCommand theirs{command_.program, arguments_of(process_->pid())};
  if (!process_->is_child() && theirs.arguments != command_.arguments) {
    log::proc().warn("the dataplane (pid {}) was started with other options, starting another: {}",
                     process_->pid(), fmt::join(differences(theirs, command_), "; "));
    return terminate();
  }
  log::proc().info("{} the dataplane (pid {}, configuration {})",
                   process_->is_child() ? "connected to" : "adopted", process_->pid(), hello.generation);
  if (!std::exchange(announced_, true)) events_.on_ready();
}

// Running.

void Supervisor::replace_channel() {
  disconnect();
  if (phase_ != Phase::kRunning) return;
  enter(Phase::kLooking);
  look_again(kLookAfterError);
}

void Supervisor::check_heartbeat() {
  heartbeat_timer_ = loop_.after(kHeartbeatInterval, [this] { check_heartbeat(); });
  if (phase_ != Phase::kRunning) return;
  const auto hung = heartbeat_.find_hung(memory_->statistics(), Clock::now());
  if (!hung) return;
  log::proc().error("the dataplane (pid {}) hangs: {} has not moved for {} s; killing it", process_->pid(),
                    *hung, HeartbeatWatch::kLimit.count());
  enter(Phase::kStopping);
  process_->signal(SIGKILL);
}

// The process.

Result<void> Supervisor::watch_process(DataplaneProcess process) {
  TRY(loop_.watch(process.pidfd().get(), [this](uint32_t) { on_process_end(); }));
  process_ = std::move(process);
  announced_ = false;
  return {};
}

void Supervisor::disconnect() {
  link_.detach();
  if (connection_) loop_.forget(connection_->socket().get());
  connection_.reset();
}

void Supervisor::terminate() {
  enter(Phase::kStopping);
  disconnect();
  process_->signal(SIGTERM);
  loop_.cancel(kill_timer_);
  kill_timer_ = loop_.after(kGraceOfSigterm, [this] {
    log::proc().warn("the dataplane (pid {}) did not end {} s after SIGTERM; killing it", process_->pid(),
                     kGraceOfSigterm.count() / 1000);
    process_->signal(SIGKILL);
  });
}

void Supervisor::on_process_end() {
  const bool wanted = phase_ == Phase::kStopping;
  const std::string how = process_->reap();
  log::proc().log(wanted ? spdlog::level::info : spdlog::level::err, "the dataplane (pid {}) {}",
                  process_->pid(), how);
  const auto delay = wanted ? milliseconds(0) : back_off_.delay_after(process_->age());
  loop_.cancel(kill_timer_);
  loop_.forget(process_->pidfd().get());
  process_.reset();
  disconnect();
  enter(stopped_ ? Phase::kIdle : Phase::kLooking);
  events_.on_lost(how);
  if (stopped_) return stopped_();
  look_again(delay);
}

}  // namespace espalier::daemon
