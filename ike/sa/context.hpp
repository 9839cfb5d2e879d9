// What everything in the core shares while one input is worked on: the time, what comes out, randomness,
// counters. Owner: the core's thread.
#pragma once

#include <fmt/format.h>

#include "ike/core.hpp"

namespace espalier::ike {

class Context {
 public:
  explicit Context(CoreOptions given);

  const CoreOptions options;  // `retransmissions` never empty
  Time now{};                 // of the input
  std::vector<Output> outputs;
  std::vector<LogLine> lines;
  CoreCounters counters;

  void emit(Output output) { outputs.push_back(std::move(output)); }
  template <class... Args>
  void log(LogLevel level, Subsystem subsystem, const std::string& connection, const std::string& child,
           fmt::format_string<Args...> format, Args&&... args) {
    lines.push_back({level, subsystem, connection, child, fmt::format(format, std::forward<Args>(args)...)});
  }
  // Of what anybody can cause who is not authenticated: some lines in ten seconds, then only their number.
  bool may_log_stranger();
  template <class... Args>
  void log_stranger(LogLevel level, Subsystem subsystem, fmt::format_string<Args...> format, Args&&... args) {
    if (may_log_stranger()) log(level, subsystem, "", "", format, std::forward<Args>(args)...);
  }
  uint64_t random() { return options.random(); }
  // Uniform in 0..whole.
  milliseconds spread(milliseconds whole);

 private:
  Time strangers_since_{};
  uint32_t strangers_ = 0;
};

// 32 bytes from OpenSSL, enough for every prf (RFC 7296 section 2.10).
Result<Bytes> make_nonce();

// "192.0.2.1[500]"
std::string to_text(const Endpoint& endpoint);

// Never, as a deadline.
inline constexpr Time kNever = Time::max();

}  // namespace espalier::ike
