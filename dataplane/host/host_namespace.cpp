#include "dataplane/host/host_namespace.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <system_error>
#include <thread>

namespace espalier::dataplane {
namespace {

constexpr const char* kNamedNamespaces = "/run/netns/";  // where `ip netns add` binds them

}  // namespace

Result<HostNamespace> HostNamespace::open(const std::string& name) {
  const std::string path = name.empty() ? "/proc/thread-self/ns/net" : kNamedNamespaces + name;
  HostNamespace result(name, Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)));
  struct stat status {};
  if (!result.fd_ || ::fstat(result.fd_.get(), &status) != 0) {
    if (name.empty()) return fail("{}: {}", path, errno_text());
    return fail("host namespace {}: {}; `ip netns add {}` makes it", name, errno_text(), name);
  }
  result.device_ = status.st_dev;
  result.inode_ = status.st_ino;
  return result;
}

Result<void> HostNamespace::run(const std::function<Result<void>()>& work) const {
  if (name_.empty()) return work();
  Result<void> result;
  const auto run_inside = [&] {
    if (::setns(fd_.get(), CLONE_NEWNET) != 0)
      result = fail("host namespace {}: cannot be entered: {}", name_, errno_text());
    else
      result = work();
  };
  try {
    std::thread(run_inside).join();
  } catch (const std::system_error& error) {
    return fail("host namespace {}: no thread to enter it: {}", name_, error.what());
  }
  return result;
}

}  // namespace espalier::dataplane
