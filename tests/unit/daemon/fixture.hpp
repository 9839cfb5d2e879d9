// A runtime and a state directory, an event loop, and the fake dataplane's program.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "control/shared/event_loop.hpp"

namespace espalier::daemon {

// The value of what must not fail here.
template <class T>
T must(Result<T> result) {
  EXPECT_TRUE(result) << result.error().text;
  return std::move(result).value();
}

class DaemonTest : public ::testing::Test {
 protected:
  DaemonTest() : loop_(must(EventLoop::create())) {
    char name[] = "/tmp/espalier-daemon-XXXXXX";
    directory_ = ::mkdtemp(name);
    std::filesystem::create_directory(runtime_dir());
    std::filesystem::create_directory(state_dir());
    ::unsetenv("FAKE_DATAPLANE");
  }
  ~DaemonTest() override { std::filesystem::remove_all(directory_); }

  std::string runtime_dir() const { return directory_ + "/run"; }
  std::string state_dir() const { return directory_ + "/state"; }
  // It is built beside the tests.
  static std::string fake_dataplane() {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "fake_dataplane";
  }

  // Runs the loop until `done`; false if that takes longer than `limit`.
  template <class Done>
  bool run_until(Done done, milliseconds limit = milliseconds(10'000)) {
    const auto end = Clock::now() + limit;
    while (!done()) {
      if (Clock::now() > end) return false;
      loop_.run_once(milliseconds(10));
    }
    return true;
  }

  std::string directory_;
  EventLoop loop_;
};

}  // namespace espalier::daemon
