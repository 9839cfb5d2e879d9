// espalierd as a whole: which part knows which.
//
//   signals ──► Daemon ──► Applier ──► Supervisor ──► DataplaneLink ──► the dataplane
//   operator socket ──► commands ──┤        └──► SharedMemory
//                                  └──► IkeSupervisor ──► espalier-ike
//
// Owner: espalierd's only thread.
#pragma once

#include <memory>

#include "control/daemon/commands/commands.hpp"
#include "control/daemon/options.hpp"

namespace espalier::daemon {

class Daemon {
 public:
  // A loaded configuration, with its warnings logged.
  static Result<std::unique_ptr<Daemon>> create(EventLoop& loop, const Options& options,
                                                Applier::Tables initial, ConfigStore store);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Adopts or starts the dataplane and serves until the loop is stopped.
  void start();

 private:
  Daemon(EventLoop& loop, const Options& options, ConfigStore store);
  Result<void> watch_signals();
  void on_signal();
  void reload();
  void on_acknowledged(const Applier::Tables& tables);
  void configure_ike(const Applier::Tables& tables);
  void connect_ike();
  void shut_down();

  EventLoop& loop_;
  Options options_;
  ConfigStore store_;
  DataplaneEvents events_;
  Supervisor supervisor_;
  IkeSupervisor ike_;
  Applier::Tables ike_tables_;           // those that it was configured by
  bool dataplane_needs_channel_ = true;  // to espalier-ike
  Applier applier_;
  commands::Context context_;
  std::unique_ptr<OperatorSocket> socket_;
  Fd signals_;
};

// Loads the configuration that ConfigStore chooses and logs its diagnostics; an error if it has errors.
Result<Applier::Tables> load_initial(const ConfigStore& store);

}  // namespace espalier::daemon
