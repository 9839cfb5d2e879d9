// Keeps one dataplane running and connected (keeper.hpp): hands over the shared memory, a channel for
// requests and, while espalier-ike runs, the one to it; notices where it hangs.
//
// The memory survives every turn of this; the configuration is sent again by whoever gets on_ready.
// Owner: espalierd's thread.
#pragma once

#include "control/daemon/dataplane_link.hpp"
#include "control/daemon/heartbeat.hpp"
#include "control/daemon/keeper.hpp"
#include "control/daemon/shared_memory.hpp"

namespace espalier::daemon {

class Supervisor : private Keeper::Ward {
 public:
  struct Directories {
    std::string runtime;
    std::string state;
  };
  struct Events {
    std::function<void()> on_ready;                       // connected: the configuration can be sent
    std::function<void(const std::string& how)> on_lost;  // the dataplane ended
    DataplaneLink::OnEvent on_event = [](const message::FromDataplane&) {};
    std::function<void()> on_connected = [] {
    };  // to a process that may be the same: it has no IKE channel of ours
  };

  Supervisor(EventLoop& loop, Directories directories, Events events);
  ~Supervisor() override;

  void start(ProgramCommand command) { keeper_.start(std::move(command)); }
  void restart(ProgramCommand command) { keeper_.restart(std::move(command)); }
  void stop(std::function<void()> done) { keeper_.stop(std::move(done)); }

  // The dataplane's end of a new channel to espalier-ike; false when no dataplane is connected.
  Result<bool> pass_on(const Channel& ike_channel);

  DataplaneLink& link() { return link_; }
  // Null before the first dataplane was found or started.
  const SharedMemory* memory() const { return memory_ ? &*memory_ : nullptr; }
  bool ready() const { return keeper_.running(); }
  std::optional<pid_t> dataplane_pid() const { return keeper_.pid(); }
  uint64_t starts() const { return keeper_.starts(); }
  // Of the configuration that an adopted dataplane said it runs.
  uint64_t adopted_generation() const { return adopted_generation_; }

 private:
  Result<void> prepare() override;
  Result<std::optional<pid_t>> connect() override;
  void disconnect() override;
  void on_running() override { events_.on_ready(); }
  void on_end(const std::string& how) override { events_.on_lost(how); }
  std::optional<std::string> find_hung() override;

  void on_connection_readable();
  Result<void> hand_over(handover::DaemonConnection::Offer offer);
  Result<void> take_memory(std::optional<handover::SegmentFds> theirs);

  EventLoop& loop_;
  Directories directories_;
  Events events_;
  Keeper keeper_;
  DataplaneLink link_;
  std::optional<SharedMemory> memory_;
  std::optional<handover::DaemonConnection> connection_;
  bool greeted_ = false;  // over this connection
  HeartbeatWatch heartbeat_;
  uint64_t adopted_generation_ = 0;
};

}  // namespace espalier::daemon
