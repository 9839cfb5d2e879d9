#include "control/daemon/command_line.hpp"

#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <fstream>

namespace espalier::daemon {
namespace {

// "0000:3b:00.0" or "3b:00.0", perhaps with device arguments behind a comma.
bool is_pci_address(std::string_view device) {
  device = device.substr(0, device.find(','));
  const std::string_view shape = device.size() == 12 ? "xxxx:xx:xx.o" : "xx:xx.o";
  return std::equal(device.begin(), device.end(), shape.begin(), shape.end(), [](char c, char kind) {
    if (kind == 'x') return std::isxdigit(static_cast<unsigned char>(c)) != 0;
    return kind == 'o' ? '0' <= c && c <= '7' : c == kind;
  });
}

// The dataplane's options as the operator knows them.
struct Option {
  std::string_view option;
  std::string_view setting;
};
constexpr Option kOptions[] = {
    {"--workers", "dataplane.workers"},
    {"--cores", "the workers' CPUs (dataplane.cores)"},
    {"--memory", "dataplane.memory"},
    {"--session-capacity", "dataplane.sessions"},
    {"--largest-mtu", "the largest mtu of the interfaces, for which packet buffers are made at the start,"},
    {"--ports", "the number of ports, for which packet buffers are made at the start,"},
    {"--pci", "the devices with PCI addresses"},
};

std::string values_of(const ProgramCommand& command, std::string_view option) {
  std::vector<std::string> values;
  for (size_t i = 0; i + 1 < command.arguments.size(); i += 2)
    if (command.arguments[i] == option) values.push_back(command.arguments[i + 1]);
  return values.empty() ? "none" : fmt::format("{}", fmt::join(values, " "));
}

std::string_view memory_word(config::Memory memory) {
  switch (memory) {
    case config::Memory::kAuto:
      return "auto";
    case config::Memory::kHugepages:
      return "huge";
    case config::Memory::kOrdinary:
      return "plain";
  }
  return "auto";
}

// Packet buffers are made for so many: in powers of two, that a further port does not always need another
// dataplane.
size_t ports_with_buffers(const config::Tables& tables) {
  constexpr size_t kAtLeast = 4;
  const auto ports = std::ranges::count(tables.interfaces, InterfaceKind::kPort, &InterfaceRecord::kind);
  return std::bit_ceil(std::max(kAtLeast, static_cast<size_t>(ports)));
}

std::vector<uint16_t> worker_cores(const config::Startup& startup, const std::vector<uint16_t>& cpus) {
  if (!startup.cores.empty()) return startup.cores;
  const size_t skip = cpus.size() > 1 ? 1 : 0;
  std::vector<uint16_t> cores;
  for (size_t i = 0; i < startup.workers && !cpus.empty(); ++i)
    cores.push_back(cpus[skip + i % (cpus.size() - skip)]);
  return cores;
}

}  // namespace

ProgramCommand dataplane_command(const config::Tables& tables, const std::string& program,
                                   const std::string& runtime_dir, const std::vector<uint16_t>& cpus) {
  const config::Startup& startup = tables.startup;
  ProgramCommand command{program, {}};
  const auto add = [&command](std::string_view option, auto value) {
    command.arguments.emplace_back(option);
    command.arguments.push_back(fmt::format("{}", value));
  };
  add("--runtime-dir", runtime_dir);
  add("--workers", startup.workers);
  add("--cores", fmt::format("{}", fmt::join(worker_cores(startup, cpus), ",")));
  add("--memory", memory_word(startup.memory));
  add("--session-capacity", startup.session_capacity);
  uint32_t largest_mtu = 1500;
  for (const auto& interface : tables.interfaces) largest_mtu = std::max(largest_mtu, interface.mtu_bytes);
  add("--largest-mtu", largest_mtu);
  add("--ports", ports_with_buffers(tables));
  for (const auto& interface : tables.interfaces)
    if (interface.kind == InterfaceKind::kPort && is_pci_address(interface.device.view()))
      add("--pci", interface.device.view());
  return command;
}

std::vector<std::string> differences(const ProgramCommand& before, const ProgramCommand& after) {
  std::vector<std::string> list;
  for (const auto& [option, setting] : kOptions) {
    const std::string from = values_of(before, option), to = values_of(after, option);
    if (from != to) list.push_back(fmt::format("{} from {} to {}", setting, from, to));
  }
  if (list.empty() && before.arguments != after.arguments) list.emplace_back("options of another version");
  return list;
}

std::vector<uint16_t> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<uint16_t> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (uint16_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

std::vector<std::string> arguments_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/cmdline", pid));
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  if (!words.empty()) words.erase(words.begin());
  return words;
}

}  // namespace espalier::daemon
