// Named places where a test can make the process die, as if kill -9 had struck exactly there.
//
// KILL_POINT("ring.send.before_publish") is nothing unless the build defines ESPALIER_KILL_POINTS (meson
// option kill_points). Then ESPALIER_KILL_AT="name" or "name:3" in the environment makes the process send
// itself SIGKILL when it comes to that place for the first (third) time.
#pragma once

#ifdef ESPALIER_KILL_POINTS

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string_view>

namespace espalier {

// Reads the environment every time, so that a forked test child can be given its own place to die.
inline void reach_kill_point(std::string_view name) {
  static std::atomic<unsigned long> passed{0};
  const char* wanted = std::getenv("ESPALIER_KILL_AT");
  if (wanted == nullptr) return;
  const std::string_view text(wanted);
  const size_t colon = text.find(':');
  if (text.substr(0, colon) != name) return;
  const unsigned long count = colon == text.npos ? 1 : std::strtoul(wanted + colon + 1, nullptr, 10);
  if (++passed >= count) ::kill(::getpid(), SIGKILL);
}

}  // namespace espalier

#define KILL_POINT(name) ::espalier::reach_kill_point(name)
#else
#define KILL_POINT(name) static_cast<void>(0)
#endif
