// How a program is started; the dataplane: for a configuration. What stands here is fixed while it runs; a change needs
// another process.
#pragma once

#include <string>
#include <vector>

#include "control/config/config.hpp"

namespace espalier::daemon {

struct ProgramCommand {
  std::string program;
  std::vector<std::string> arguments;  // without the program's name
};

// `cpus` are those that we may run on, in ascending order: the first is left to the main lcore when there are
// several, and workers share cores when there are more workers than cores.
ProgramCommand dataplane_command(const config::Tables& tables, const std::string& program,
                                   const std::string& runtime_dir, const std::vector<uint16_t>& cpus);

// What of that differs, each as "SETTING from A to B"; empty when a dataplane started by `before` serves
// `after`.
std::vector<std::string> differences(const ProgramCommand& before, const ProgramCommand& after);

// By sched_getaffinity.
std::vector<uint16_t> allowed_cpus();

// The arguments of a running process (/proc/PID/cmdline), without the program's name; empty when it is gone.
std::vector<std::string> arguments_of(pid_t pid);

}  // namespace espalier::daemon
