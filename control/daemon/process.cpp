#include "control/daemon/process.hpp"

#include <sys/file.h>
#include <sys/wait.h>

#include <charconv>
#include <csignal>
#include <fstream>

namespace espalier::daemon {
namespace {

constexpr int kExecFailed = 127;

std::string lock_path(const std::string& runtime_dir, const std::string& name) {
  return fmt::format("{}/{}.lock", runtime_dir, name);
}

// Everything in the child after fork() is async-signal-safe.
void write_own_pid(const char* lock_path) {
  char text[16];
  const auto end = std::to_chars(text, text + sizeof text - 1, ::getpid()).ptr;
  *end = '\n';
  const int fd = ::open(lock_path, O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (fd < 0 || ::write(fd, text, static_cast<size_t>(end + 1 - text)) < 0) ::_exit(kExecFailed);
  ::close(fd);
}

[[noreturn]] void become_program(const char* program, char* const* arguments, const ProcessLock& lock) {
  ::setsid();  // a Ctrl-C for espalierd is not one for its children
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  write_own_pid(lock.path().c_str());
  const int null = ::open("/dev/null", O_RDONLY);
  if (null < 0 || ::dup2(null, STDIN_FILENO) < 0 || ::fcntl(lock.fd().get(), F_SETFD, 0) != 0)
    ::_exit(kExecFailed);
  ::execvp(program, arguments);
  ::_exit(kExecFailed);
}

std::vector<char*> argument_vector(const ProgramCommand& command) {
  std::vector<char*> words{const_cast<char*>(command.program.c_str())};
  for (const std::string& argument : command.arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  return words;
}

}  // namespace

Result<std::optional<ProcessLock>> ProcessLock::take(const std::string& runtime_dir,
                                                     const std::string& name) {
  std::string path = lock_path(runtime_dir, name);
  Fd fd(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return fail("{}: {}", path, errno_text());
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return ProcessLock(std::move(path), std::move(fd));
  if (errno == EWOULDBLOCK) return std::nullopt;
  return fail("{}: {}", path, errno_text());
}

std::optional<pid_t> ProcessLock::holder(const std::string& runtime_dir, const std::string& name) {
  std::ifstream file(lock_path(runtime_dir, name));
  pid_t pid = 0;
  if (!(file >> pid) || pid <= 1) return std::nullopt;
  return pid;
}

Result<Process> Process::spawn(const ProgramCommand& command, ProcessLock lock) {
  const auto arguments = argument_vector(command);
  const pid_t pid = ::fork();
  if (pid < 0) return fail("starting {}: {}", command.program, errno_text());
  if (pid == 0) become_program(command.program.c_str(), arguments.data(), lock);
  return Process(pid, TRY(open_pidfd(pid)), true);
}

Result<Process> Process::adopt(pid_t pid) {
  return Process(pid, TRY(open_pidfd(pid)), false);
}

std::chrono::milliseconds Process::age() const {
  if (!child_) return std::chrono::milliseconds::max();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started_);
}

std::string Process::reap() {
  if (!child_) return "ended";
  siginfo_t info{};
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG) != 0) return "ended";
  if (info.si_code == CLD_EXITED && info.si_status == kExecFailed) return "could not be executed";
  if (info.si_code == CLD_EXITED) return fmt::format("exited with status {}", info.si_status);
  return fmt::format("was killed by signal {}", info.si_status);
}

}  // namespace espalier::daemon
