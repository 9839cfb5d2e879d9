// Keeps one process of a program running and connected: finds a living one or starts one, notices death
// (pidfd) and hang, and starts another at once.
//
//   looking --connect--> greeting --Ward says so--> running
//      ^  \--spawn (if the lock says that none lives)--^           | death, hang, stop
//      +----------------------- back-off (0 unless it died young) -+
//
// What is said over the connection is the Ward's: the dataplane's (Supervisor) or espalier-ike's
// (IkeSupervisor). Owner: espalierd's thread.
#pragma once

#include "control/daemon/back_off.hpp"
#include "control/daemon/process.hpp"
#include "control/shared/event_loop.hpp"

namespace espalier::daemon {

class Keeper {
 public:
  // The keeper's other half. Its functions are called by the keeper only.
  class Ward {
   public:
    virtual ~Ward() = default;
    // Makes what the process needs before it is started.
    virtual Result<void> prepare() = 0;
    // Connects to a process that listens and begins to talk to it; its pid. Nothing: none listens.
    virtual Result<std::optional<pid_t>> connect() = 0;
    virtual void disconnect() = 0;
    // It runs, and is one that was not announced before.
    virtual void on_running() = 0;
    // It ended, how.
    virtual void on_end(const std::string& how) = 0;
    // What has not moved for too long, for people; to be called about twice a second.
    virtual std::optional<std::string> find_hung() = 0;
  };
  struct Names {
    std::string title;  // "the dataplane"
    std::string lock;   // "dataplane": RUNTIME_DIR/dataplane.lock
    std::string runtime_dir;
  };

  Keeper(EventLoop& loop, Names names, Ward& ward);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Begins to look for, or start, a process that runs as `command` says.
  void start(ProgramCommand command);
  // Stops the process and starts one as `command` says.
  void restart(ProgramCommand command);
  // SIGTERM, after three seconds SIGKILL; `done` when it has ended. One that an earlier espalierd started is
  // stopped as well. start() begins anew.
  void stop(std::function<void()> done);

  bool started() const { return phase_ != Phase::kIdle; }
  bool running() const { return phase_ == Phase::kRunning; }
  std::optional<pid_t> pid() const;
  uint64_t starts() const { return starts_; }

  // From the ward. The greeting is over:
  void greeted(const std::string& how_it_is);
  // Another process has to be started, for what it said:
  void give_up(const Error& why);
  // The connection ended, or is of no use; the process may live.
  void connection_lost(milliseconds before_the_next = kLookInterval);

 private:
  enum class Phase { kIdle, kLooking, kGreeting, kRunning, kStopping };
  static constexpr milliseconds kLookInterval{10};

  void enter(Phase phase);
  void report(const Error& error);
  void look();
  void look_again(milliseconds delay);
  Result<void> try_to_find();
  Result<void> spawn_if_none_lives();
  Result<void> take_over_silent_holder();
  Result<void> find_left_behind();
  Result<Process> find_holder() const;
  Result<void> identify(pid_t pid);
  Result<void> greet(pid_t pid);
  Result<void> watch_process(Process process);
  void check_heartbeat();
  void terminate();
  void on_process_end();

  EventLoop& loop_;
  Names names_;
  Ward& ward_;
  ProgramCommand command_;
  std::optional<Process> process_;
  BackOff back_off_;
  Phase phase_ = Phase::kIdle;
  Clock::time_point phase_began_{};
  EventLoop::TimerId look_timer_ = 0;
  EventLoop::TimerId kill_timer_ = 0;
  EventLoop::TimerId heartbeat_timer_ = 0;
  std::function<void()> stopped_;
  std::string last_error_;
  bool announced_ = false;  // on_running was called for this process
  uint64_t starts_ = 0;
};

}  // namespace espalier::daemon
