// Keeps one dataplane running and connected: finds a living one or starts one, hands over the shared memory,
// notices death (pidfd) and hang (heartbeat), and starts another at once.
//
//   looking --connect--> greeting --Welcome--> running
//      ^  \--spawn (if the lock says that none lives)--^           | death, hang, stop
//      +----------------------- back-off (0 unless it died young) -+
//
// The memory survives every turn of this; the configuration is sent again by whoever gets on_ready.
// Owner: espalierd's thread.
#pragma once

#include "control/daemon/back_off.hpp"
#include "control/daemon/dataplane_link.hpp"
#include "control/daemon/heartbeat.hpp"
#include "control/daemon/process.hpp"
#include "control/daemon/shared_memory.hpp"

namespace espalier::daemon {

class Supervisor {
 public:
  struct Directories {
    std::string runtime;
    std::string state;
  };
  struct Events {
    std::function<void()> on_ready;                       // connected: the configuration can be sent
    std::function<void(const std::string& how)> on_lost;  // the dataplane ended
    DataplaneLink::OnEvent on_event = [](const message::FromDataplane&) {};
  };

  Supervisor(EventLoop& loop, Directories directories, Events events);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Begins to look for, or start, a dataplane that runs as `command` says.
  void start(DataplaneCommand command);
  // Stops the dataplane and starts one as `command` says. The memory is kept.
  void restart(DataplaneCommand command);
  // SIGTERM, after three seconds SIGKILL; `done` when it has ended.
  void stop(std::function<void()> done);

  DataplaneLink& link() { return link_; }
  // Null before the first dataplane was found or started.
  const SharedMemory* memory() const { return memory_ ? &*memory_ : nullptr; }
  bool ready() const { return phase_ == Phase::kRunning; }
  std::optional<pid_t> dataplane_pid() const;
  uint64_t starts() const { return starts_; }
  // Of the configuration that an adopted dataplane said it runs.
  uint64_t adopted_generation() const { return adopted_generation_; }

 private:
  enum class Phase { kIdle, kLooking, kGreeting, kRunning, kStopping };

  void enter(Phase phase);
  void report(const Error& error);

  void look();
  void look_again(milliseconds delay);
  Result<void> try_to_find();
  Result<void> spawn_if_none_lives();
  Result<void> take_over_silent_holder();
  Result<void> make_memory();

  Result<void> greet(handover::DaemonConnection connection);
  void on_connection_readable();
  void read_hello();
  Result<void> hand_over(handover::DaemonConnection::Offer offer);
  Result<void> take_memory(std::optional<handover::SegmentFds> theirs);
  void become_ready(const handover::Hello& hello);

  void replace_channel();
  void check_heartbeat();

  Result<void> watch_process(DataplaneProcess process);
  void disconnect();
  void terminate();
  void on_process_end();

  EventLoop& loop_;
  Directories directories_;
  Events events_;
  DataplaneCommand command_;
  DataplaneLink link_;
  std::optional<SharedMemory> memory_;
  std::optional<handover::DaemonConnection> connection_;
  std::optional<DataplaneProcess> process_;
  HeartbeatWatch heartbeat_;
  BackOff back_off_;
  Phase phase_ = Phase::kIdle;
  Clock::time_point phase_began_{};
  EventLoop::TimerId look_timer_ = 0;
  EventLoop::TimerId kill_timer_ = 0;
  EventLoop::TimerId heartbeat_timer_ = 0;
  std::function<void()> stopped_;
  std::string last_error_;
  bool announced_ = false;  // on_ready was called for this process
  uint64_t starts_ = 0;
  uint64_t adopted_generation_ = 0;
};

}  // namespace espalier::daemon
