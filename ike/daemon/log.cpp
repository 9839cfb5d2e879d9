#include "ike/daemon/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace espalier::ike {
namespace {

constexpr uint32_t kLinesPerSecond = 500;
constexpr const char* kLevels[] = {"error", "warning", "info", "debug"};
constexpr const char* kSubsystemNames[] = {"ike", "child", "cfg", "net", "crypto"};

template <class Enum, size_t N>
std::optional<Enum> find(const char* const (&names)[N], std::string_view name) {
  const auto found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) return std::nullopt;
  return static_cast<Enum>(found - std::begin(names));
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kDebug:
      return spdlog::level::debug;
  }
  return spdlog::level::err;
}

// Filled before seccomp closes the door: time zone and locale are read at the first line.
spdlog::logger& output() {
  static spdlog::logger logger = [] {
    spdlog::logger made("ike", std::make_shared<spdlog::sinks::stderr_sink_st>());
    made.set_pattern("%Y-%m-%dT%H:%M:%S.%e %l process=espalier-ike %v");
    made.set_level(spdlog::level::trace);
    made.flush_on(spdlog::level::trace);
    return made;
  }();
  return logger;
}

// Peers' bytes reach the log only as printable text.
std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

}  // namespace

std::optional<LogLevel> log_level_named(std::string_view name) {
  return find<LogLevel>(kLevels, name);
}
std::optional<Subsystem> subsystem_named(std::string_view name) {
  return find<Subsystem>(kSubsystemNames, name);
}
const char* name_of(LogLevel level) {
  return kLevels[static_cast<size_t>(level)];
}
const char* name_of(Subsystem subsystem) {
  return kSubsystemNames[static_cast<size_t>(subsystem)];
}

LogFilter::Levels LogFilter::all(LogLevel level) {
  Levels levels;
  levels.fill(level);
  return levels;
}

void LogFilter::configure(uint32_t level, std::span<const Subsystem> subsystems) {
  const LogLevel wanted = level == 0 ? LogLevel::kInfo : LogLevel::kDebug;
  general_ = all(subsystems.empty() ? wanted : LogLevel::kInfo);
  for (const Subsystem subsystem : subsystems) general_[static_cast<size_t>(subsystem)] = wanted;
  of_peer_.clear();
}

void LogFilter::set(LogLevel level, std::optional<Subsystem> subsystem, const std::string& peer) {
  Levels& levels = peer.empty() ? general_ : of_peer_.try_emplace(peer, all(LogLevel::kError)).first->second;
  if (subsystem)
    levels[static_cast<size_t>(*subsystem)] = level;
  else
    levels = all(level);
}

bool LogFilter::wants(LogLevel level, Subsystem subsystem, std::string_view peer) const {
  const auto index = static_cast<size_t>(subsystem);
  if (level <= general_[index]) return true;
  const auto found = of_peer_.find(peer);
  return found != of_peer_.end() && level <= found->second[index];
}

bool Log::take_turn() {
  const auto now = std::chrono::steady_clock::now();
  if (now - second_began_ >= std::chrono::seconds(1)) second_began_ = now, lines_ = 0;
  if (lines_ < kLinesPerSecond) return ++lines_, true;
  ++left_out_;
  return false;
}

void Log::write(const LogLine& line) {
  if (!filter_.wants(line.level, line.subsystem, line.connection) || !take_turn()) return;
  std::string text = fmt::format("subsystem={} ", name_of(line.subsystem));
  if (!line.connection.empty()) text += fmt::format("peer={} ", line.connection);
  if (!line.child.empty()) text += fmt::format("tunnel={} ", line.child);
  text += line.text;
  if (const uint64_t count = std::exchange(left_out_, 0); count != 0)
    text += fmt::format(" ({} lines before it were not written)", count);
  output().log(spdlog_level(line.level), "{}", printable(std::move(text)));
}

}  // namespace espalier::ike
