// The dataplane or espalier-ike as a process: started, found, signalled, and seen to die.
//
// A lock in RUNTIME_DIR is held by the process for as long as it lives, through a descriptor that it
// inherits: whoever gets the lock knows that no such process is left, whichever espalierd started it and
// however that died. The child survives its espalierd on purpose (no parent-death signal), in a session of
// its own.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "control/daemon/command_line.hpp"
#include "control/shared/fd.hpp"

namespace espalier::daemon {

// RUNTIME_DIR/NAME.lock; holds the pid of the process that has it. We kill whom it names, so the descriptor
// that the process inherits is for reading only: one that was taken over names nobody else.
class ProcessLock {
 public:
  // std::nullopt while such a process lives (or its memory is still being taken down).
  static Result<std::optional<ProcessLock>> take(const std::string& runtime_dir, const std::string& name);
  // Who has it; std::nullopt when that was never written.
  static std::optional<pid_t> holder(const std::string& runtime_dir, const std::string& name);
  const Fd& fd() const { return fd_; }
  const std::string& path() const { return path_; }

 private:
  ProcessLock(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  Fd fd_;
};

class Process {
 public:
  // Forks and executes; the lock goes to the child.
  static Result<Process> spawn(const ProgramCommand& command, ProcessLock lock);
  // One that another espalierd started.
  static Result<Process> adopt(pid_t pid);

  pid_t pid() const { return pid_; }
  const Fd& pidfd() const { return pidfd_; }  // readable when it has ended
  bool is_child() const { return child_; }
  void signal(int number) const { send_signal(pidfd_, number); }
  // Since spawn(); an adopted one counts as old.
  std::chrono::milliseconds age() const;
  // To be called once pidfd() is readable: "exited with status 1", "was killed by signal 9".
  std::string reap();

 private:
  Process(pid_t pid, Fd pidfd, bool child)
      : pid_(pid), pidfd_(std::move(pidfd)), child_(child), started_(std::chrono::steady_clock::now()) {}
  pid_t pid_;
  Fd pidfd_;
  bool child_;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace espalier::daemon
