// Ownership of a file descriptor, and the two system calls on process descriptors that C++ has no name for.
//
// An Fd closes what it holds. A pidfd names a process without the race of a reused pid: it becomes readable
// when the process has ended.
#pragma once

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "control/shared/error.hpp"

namespace espalier {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  // Another descriptor of the same open file; an empty Fd when there are no more descriptors.
  Fd duplicate() const { return Fd(::fcntl(fd_, F_DUPFD_CLOEXEC, 0)); }

 private:
  int fd_ = -1;
};

// What errno says, for an Error's text.
inline const char* errno_text() {
  return ::strerrordesc_np(errno);
}

// By number, because glibc 2.36's <sys/pidfd.h> cannot be used from C++ (it lacks extern "C").
inline Result<Fd> open_pidfd(pid_t pid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return fail("pidfd_open of process {}: {}", pid, errno_text());
  return fd;
}

// False when the process is gone already.
inline bool send_signal(const Fd& pidfd, int signal) {
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0;
}

}  // namespace espalier
