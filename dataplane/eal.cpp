#include "dataplane/eal.hpp"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>

#include <cstdio>
#include <fstream>
#include <string_view>

namespace espalier::dataplane {
namespace {

// Of the default size of huge pages, in MiB.
uint64_t free_huge_mb() {
  std::ifstream meminfo("/proc/meminfo");
  uint64_t pages = 0, page_kb = 0;
  for (std::string key, rest; meminfo >> key; std::getline(meminfo, rest)) {
    if (key == "HugePages_Free:") meminfo >> pages;
    if (key == "Hugepagesize:") meminfo >> page_kb;
  }
  return pages * page_kb / 1024;
}

Result<bool> choose_huge_pages(const EalOptions& options) {
  if (options.memory == MemoryMode::kPlain) return false;
  const uint64_t free_mb = free_huge_mb();
  if (free_mb >= options.memory_mb) return true;
  if (options.memory == MemoryMode::kAuto) return false;
  return fail("{} MiB of huge pages are wanted and {} MiB are free; reserve more by vm.nr_hugepages",
              options.memory_mb, free_mb);
}

// "0@3,1@4,2@4": lcore by lcore, so that several may share a CPU.
std::string lcore_map(const EalOptions& options) {
  std::string map = fmt::format("0@{}", options.main_core);
  for (size_t i = 0; i < options.worker_cores.size(); ++i)
    map += fmt::format(",{}@{}", i + 1, options.worker_cores[i]);
  return map;
}

std::vector<std::string> arguments(const EalOptions& options, bool huge_pages) {
  std::vector<std::string> args = {"espalier-dataplane",
                                   "--lcores",
                                   lcore_map(options),
                                   "--main-lcore",
                                   "0",
                                   "-m",
                                   fmt::format("{}", options.memory_mb),
                                   "--no-telemetry",
                                   "--log-level",
                                   "error"};
  const auto add = [&](std::initializer_list<std::string> more) { args.insert(args.end(), more); };
  // Nothing is left behind in the file system: neither configuration files nor huge page files. DPDK refuses
  // --in-memory together with --no-huge.
  if (huge_pages)
    add({"--in-memory"});
  else
    add({"--no-huge", "--no-shconf"});
  if (!options.pci) {
    add({"--no-pci"});
    return args;
  }
  // Without an allow list the EAL probes every device with a user-space driver; an address that does not
  // exist makes a list of nothing.
  if (options.pci_devices.empty()) add({"-a", "ffff:ff:1f.7"});
  for (const std::string& device : options.pci_devices) add({"-a", device});
  return args;
}

}  // namespace

Result<Eal> Eal::init(const EalOptions& options) {
  if (options.worker_cores.size() >= RTE_MAX_LCORE)
    return fail("{} workers are wanted, DPDK has at most {}", options.worker_cores.size(), RTE_MAX_LCORE - 1);
  const bool huge_pages = TRY(choose_huge_pages(options));
  std::vector<std::string> args = arguments(options, huge_pages);
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  rte_openlog_stream(stderr);  // and not to syslog as well
  DpdkLogCapture log;
  if (rte_eal_init(static_cast<int>(args.size()), argv.data()) < 0)
    return fail("DPDK does not start: {} ({})", rte_strerror(rte_errno), log.text());
  return Eal(huge_pages);
}

Eal::Eal(Eal&& other) noexcept : huge_pages_(other.huge_pages_), owner_(std::exchange(other.owner_, false)) {}

Eal::~Eal() {
  if (owner_) rte_eal_cleanup();
}

DpdkLogCapture::DpdkLogCapture()
    : previous_(rte_log_get_stream()), stream_(open_memstream(&buffer_, &size_)) {
  if (stream_ != nullptr) rte_openlog_stream(stream_);
}

DpdkLogCapture::~DpdkLogCapture() {
  rte_openlog_stream(previous_);
  if (stream_ != nullptr) std::fclose(stream_);
  std::free(buffer_);
}

std::string DpdkLogCapture::text() {
  if (stream_ != nullptr) std::fflush(stream_);
  std::string_view rest(buffer_ == nullptr ? "" : buffer_, buffer_ == nullptr ? 0 : size_);
  std::string text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.empty()) continue;
    if (!text.empty()) text += "; ";
    text += line;
  }
  return text.empty() ? "no reason given" : text;
}

}  // namespace espalier::dataplane
