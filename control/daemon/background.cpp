#include "control/daemon/background.hpp"

#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>

namespace espalier::daemon {
namespace {

// The parent's part ends here; exit handlers belong to the child.
Result<void> fork_and_leave() {
  const pid_t pid = ::fork();
  if (pid < 0) return fail("fork: {}", errno_text());
  if (pid > 0) ::_exit(0);
  return {};
}

}  // namespace

Result<Fd> take_instance_lock(const std::string& runtime_dir) {
  const std::string path = runtime_dir + "/espalierd.lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) return fail("{}: {}", path, errno_text());
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK) return fail("another espalierd runs with {}", runtime_dir);
  return fail("{}: {}", path, errno_text());
}

Result<void> write_pid(const Fd& lock) {
  const std::string text = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), text.data(), text.size(), 0) < 0)
    return fail("writing the pid: {}", errno_text());
  return {};
}

Result<void> make_directory(const std::string& path, mode_t mode) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(path, error);
  if (error) return fail("{}: {}", path, error.message());
  if (made && ::chmod(path.c_str(), mode) != 0) return fail("{}: {}", path, errno_text());
  return {};
}

Result<void> go_to_background() {
  TRY(fork_and_leave());
  if (::setsid() < 0) return fail("setsid: {}", errno_text());
  TRY(fork_and_leave());
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null || ::dup2(null.get(), STDIN_FILENO) < 0 || ::chdir("/") != 0)
    return fail("leaving the foreground: {}", errno_text());
  return {};
}

}  // namespace espalier::daemon
