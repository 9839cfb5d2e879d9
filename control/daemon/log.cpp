#include "control/daemon/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>

namespace espalier::daemon::log {
namespace {

spdlog::logger make(const char* subsystem) {
  static const auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  spdlog::logger logger(subsystem, sink);
  logger.set_pattern("%Y-%m-%dT%H:%M:%S.%e %l process=espalierd subsystem=%n %v");
  logger.flush_on(spdlog::level::trace);
  return logger;
}

}  // namespace

spdlog::logger& cfg() {
  static spdlog::logger logger = make("cfg");
  return logger;
}

spdlog::logger& proc() {
  static spdlog::logger logger = make("proc");
  return logger;
}

spdlog::logger& ring() {
  static spdlog::logger logger = make("ring");
  return logger;
}

spdlog::logger& spd() {
  static spdlog::logger logger = make("spd");
  return logger;
}

spdlog::logger& esp() {
  static spdlog::logger logger = make("esp");
  return logger;
}

spdlog::logger& cli() {
  static spdlog::logger logger = make("cli");
  return logger;
}

}  // namespace espalier::daemon::log
