// The network namespace that the TAPs of the host path live in.
//
// The main lcore never enters it: DPDK ports of kernel interfaces belong to the namespace that the process
// was started in. A namespace belongs to a thread, and what a thread opens (a TAP, a socket) stays in its
// namespace whoever uses it later. So what must happen inside runs on a thread of its own that ends with it.
//
// Owner: main lcore.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "control/shared/fd.hpp"

namespace espalier::dataplane {

class HostNamespace {
 public:
  // `name` as `ip netns add NAME` makes it; empty: that of the calling thread. Errors: there is none.
  static Result<HostNamespace> open(const std::string& name);

  // Whether they are one namespace; one that was deleted and made again under its name is another.
  bool is_same(const HostNamespace& other) const {
    return device_ == other.device_ && inode_ == other.inode_;
  }
  // Returns when `work` has run inside. Errors: the namespace cannot be entered; those of `work`.
  Result<void> run(const std::function<Result<void>()>& work) const;

 private:
  HostNamespace(std::string name, Fd fd) : name_(std::move(name)), fd_(std::move(fd)) {}
  std::string name_;
  Fd fd_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace espalier::dataplane
