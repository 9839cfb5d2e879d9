// The dataplane as a process: started, found, signalled, and seen to die.
//
// A lock in RUNTIME_DIR is held by the dataplane for as long as it lives, through a descriptor that it
// inherits: whoever gets the lock knows that no dataplane is left, whichever espalierd started it and however
// that died. The child survives its espalierd on purpose (no parent-death signal), in a session of its own.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "control/daemon/command_line.hpp"
#include "control/shared/fd.hpp"

namespace espalier::daemon {

// RUNTIME_DIR/dataplane.lock; holds the pid of the dataplane that has it.
class DataplaneLock {
 public:
  // std::nullopt while a dataplane lives (or its memory is still being taken down).
  static Result<std::optional<DataplaneLock>> take(const std::string& runtime_dir);
  // Who has it; std::nullopt when that was never written.
  static std::optional<pid_t> holder(const std::string& runtime_dir);
  const Fd& fd() const { return fd_; }

 private:
  explicit DataplaneLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

class DataplaneProcess {
 public:
  // Forks and executes; the lock goes to the child.
  static Result<DataplaneProcess> spawn(const DataplaneCommand& command, DataplaneLock lock);
  // One that another espalierd started.
  static Result<DataplaneProcess> adopt(pid_t pid);

  pid_t pid() const { return pid_; }
  const Fd& pidfd() const { return pidfd_; }  // readable when it has ended
  bool is_child() const { return child_; }
  void signal(int number) const { send_signal(pidfd_, number); }
  // Since spawn(); an adopted one counts as old.
  std::chrono::milliseconds age() const;
  // To be called once pidfd() is readable: "exited with status 1", "was killed by signal 9".
  std::string reap();

 private:
  DataplaneProcess(pid_t pid, Fd pidfd, bool child)
      : pid_(pid), pidfd_(std::move(pidfd)), child_(child), started_(std::chrono::steady_clock::now()) {}
  pid_t pid_;
  Fd pidfd_;
  bool child_;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace espalier::daemon
