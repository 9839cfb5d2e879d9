// espalier-ike's log: one line on stderr for each event, as the other programs write it, and which lines are
// wanted.
//
//   2026-08-01T12:00:00.123 info process=espalier-ike subsystem=ike peer=OFFICE-B IKE SA established
//
// Levels can be set at run time: of all, of a subsystem, of a peer; the most talkative that fits a line
// counts. Owner: espalier-ike's thread. Secrets are never passed in.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "control/shared/error.hpp"
#include "ike/report.hpp"

namespace espalier::ike {

// "error", "warning", "info", "debug"; and "ike", "child", "cfg", "net", "crypto".
std::optional<LogLevel> log_level_named(std::string_view name);
std::optional<Subsystem> subsystem_named(std::string_view name);
const char* name_of(LogLevel level);
const char* name_of(Subsystem subsystem);

class LogFilter {
 public:
  // What the configuration says: VyOS's level 0 (errors, warnings and what was established), 1 and 2
  // (everything), of the named subsystems or, without any, of all. What was set by set() is forgotten.
  void configure(uint32_t level, std::span<const Subsystem> subsystems);
  // Nothing: of all subsystems; empty: of all peers.
  void set(LogLevel level, std::optional<Subsystem> subsystem, const std::string& peer);
  bool wants(LogLevel level, Subsystem subsystem, std::string_view peer) const;

 private:
  static constexpr size_t kSubsystems = 5;
  using Levels = std::array<LogLevel, kSubsystems>;
  static Levels all(LogLevel level);

  Levels general_ = all(LogLevel::kInfo);
  std::map<std::string, Levels, std::less<>> of_peer_;
};

// Writes a line unless the filter does not want it. At most some hundred a second; how many were left out is
// told.
class Log {
 public:
  LogFilter& filter() { return filter_; }
  void write(const LogLine& line);
  template <class... Args>
  void error(Subsystem subsystem, fmt::format_string<Args...> format, Args&&... args) {
    write({LogLevel::kError, subsystem, {}, {}, fmt::format(format, std::forward<Args>(args)...)});
  }
  template <class... Args>
  void warning(Subsystem subsystem, fmt::format_string<Args...> format, Args&&... args) {
    write({LogLevel::kWarning, subsystem, {}, {}, fmt::format(format, std::forward<Args>(args)...)});
  }
  template <class... Args>
  void info(Subsystem subsystem, fmt::format_string<Args...> format, Args&&... args) {
    write({LogLevel::kInfo, subsystem, {}, {}, fmt::format(format, std::forward<Args>(args)...)});
  }

 private:
  bool take_turn();

  LogFilter filter_;
  std::chrono::steady_clock::time_point second_began_{};
  uint32_t lines_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace espalier::ike
