// The running configuration, and the way from one to the next.
//
// A configuration becomes the running one when the dataplane has acknowledged it; until then, and when it
// refuses, the earlier one stays. One that differs in what is IKE's alone becomes so at once. Whenever a dataplane becomes ready the running configuration is sent to it.
// One change at a time. Owner: espalierd's thread.
#pragma once

#include "control/daemon/config_request.hpp"
#include "control/daemon/config_store.hpp"
#include "control/daemon/supervisor.hpp"

namespace espalier::daemon {

class Applier {
 public:
  using Tables = std::shared_ptr<const config::Tables>;
  using CommandFor = std::function<ProgramCommand(const config::Tables&)>;
  enum class Persist { kAsApplied, kAsConfigFile };
  struct Change {
    Tables tables;
    std::string_view text;  // of the file; used before apply() returns
    bool restart = false;   // the dataplane may be restarted for it
    Persist persist = Persist::kAsApplied;
  };
  using Done = std::function<void(Result<void>)>;

  struct Hooks {
    // Whether what a configuration names beside itself is there; an error refuses it.
    std::function<Result<void>(const config::Tables&)> check = [](const config::Tables&) { return Result<void>(); };
    // The dataplane acknowledged `tables`, which run now: another configuration, or another dataplane.
    std::function<void(const Tables& tables)> on_acknowledged = [](const Tables&) {};
  };

  Applier(Supervisor& supervisor, const ConfigStore& store, CommandFor command_for)
      : Applier(supervisor, store, std::move(command_for), Hooks{}) {}
  Applier(Supervisor& supervisor, const ConfigStore& store, CommandFor command_for, Hooks hooks)
      : supervisor_(supervisor), store_(store), command_for_(std::move(command_for)), hooks_(std::move(hooks)) {}

  // The configuration to start with; nothing is sent before on_ready().
  void set_initial(Tables tables) { running_ = std::move(tables); }
  // `done` is called once, at once or later.
  void apply(Change change, Done done);

  // From the supervisor.
  void on_ready();
  void on_lost(const std::string& how);

  const config::Tables& running() const { return *running_; }
  const Tables& running_tables() const { return running_; }
  // How a dataplane for the running configuration is started.
  ProgramCommand command() const { return command_for_(*running_); }
  // Why `wanted` needs a dataplane that is started in another way, "SETTING from A to B" each; empty: it does
  // not.
  std::vector<std::string> restart_reasons(const config::Tables& wanted) const {
    return differences(command(), command_for_(wanted));
  }
  // The dataplane acknowledged the running configuration.
  bool acknowledged() const { return acknowledged_; }
  uint64_t generation() const { return generation_; }
  const std::string& last_refusal() const { return last_refusal_; }

 private:
  struct Candidate {
    Tables tables;
    bool restart = false;
    Persist persist = Persist::kAsApplied;
    Done done;
    uint64_t generation = 0;
    int deaths = 0;        // of dataplanes meanwhile; with restart the first is the old one's
    uint64_t request = 0;  // 0: not sent yet
  };

  Result<void> prepare(const Change& change, const std::vector<std::string>& reasons);
  void send_running();
  void send_candidate();
  void on_candidate_answer(Result<DataplaneLink::Answer> answer);
  void accept_candidate();
  void reject_candidate(Error error);
  uint64_t next_generation();
  void cancel(uint64_t& request);

  Supervisor& supervisor_;
  const ConfigStore& store_;
  CommandFor command_for_;
  Hooks hooks_;
  Tables running_;
  std::optional<Candidate> candidate_;
  bool acknowledged_ = false;
  uint64_t running_request_ = 0;  // unanswered; 0: none
  uint64_t generation_ = 0;       // of running_, 0: not sent yet
  uint64_t last_generation_ = 0;
  std::string last_refusal_;
};

}  // namespace espalier::daemon
