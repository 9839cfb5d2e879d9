// espalier-dataplane: the DPDK process. Started by espalierd, which brings everything else through the
// handover socket; not meant to be started by hand.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <boost/program_options.hpp>
#include <charconv>
#include <iostream>
#include <sstream>

#include "dataplane/eal.hpp"
#include "dataplane/main_lcore.hpp"

namespace espalier::dataplane {
namespace {

namespace po = boost::program_options;

volatile std::sig_atomic_t g_stop = 0;
void on_signal(int) {
  g_stop = 1;
}

struct Arguments {
  std::string runtime_dir;
  EalOptions eal;
  GatewayOptions gateway;
};

Result<std::vector<unsigned>> parse_cores(const std::string& list) {
  std::vector<unsigned> cores;
  std::istringstream words(list);
  for (std::string word; std::getline(words, word, ',');) {
    unsigned core = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), core);
    if (error != std::errc{} || end != word.data() + word.size())
      return fail("--cores {}: '{}' is no CPU", list, word);
    cores.push_back(core);
  }
  return cores;
}

Result<MemoryMode> parse_memory(const std::string& word) {
  if (word == "auto") return MemoryMode::kAuto;
  if (word == "huge") return MemoryMode::kHugePages;
  if (word == "plain") return MemoryMode::kPlain;
  return fail("--memory {}: auto, huge or plain", word);
}

// Packet buffers, and what queues and rings take beside them.
unsigned memory_mb(const GatewayOptions& options) {
  constexpr unsigned kBesideMb = 128;
  return kBesideMb + static_cast<unsigned>(PoolSizes::of(options).bytes() >> 20);
}

Result<Arguments> parse_arguments(int argc, char** argv) {
  Arguments a;
  std::string cores, memory;
  po::options_description options("espalier-dataplane (started by espalierd)");
  auto add = options.add_options();
  add("runtime-dir", po::value(&a.runtime_dir)->required(), "where the handover socket is made");
  add("workers", po::value(&a.gateway.workers)->required(), "worker lcores");
  add("cores", po::value(&cores)->required(),
      "CPU of each worker, with commas; the main lcore takes the first other one");
  add("memory", po::value(&memory)->default_value("auto"), "auto, huge or plain pages");
  add("session-capacity", po::value(&a.gateway.session_capacity)->default_value(a.gateway.session_capacity),
      "NAT sessions");
  add("largest-mtu", po::value(&a.gateway.largest_mtu_bytes)->default_value(a.gateway.largest_mtu_bytes),
      "bytes");
  add("ports", po::value(&a.gateway.ports)->default_value(a.gateway.ports),
      "that there are packet buffers for");
  add("pci", po::value(&a.eal.pci_devices), "address of a PCI device that will be opened; may be repeated");
  try {
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, options), values);
    po::notify(values);
  } catch (const po::error& error) {
    return fail("{}", error.what());
  }
  a.eal.worker_cores = TRY(parse_cores(cores));
  if (a.eal.worker_cores.size() != a.gateway.workers)
    return fail("--cores names {} CPUs for {} workers", a.eal.worker_cores.size(), a.gateway.workers);
  a.eal.memory = TRY(parse_memory(memory));
  a.eal.pci = !a.eal.pci_devices.empty();
  a.eal.memory_mb = std::max(a.eal.memory_mb, memory_mb(a.gateway));
  return a;
}

// The first CPU that we may use and no worker has, else CPU of the first worker.
unsigned choose_main_core(const std::vector<unsigned>& workers) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return workers.front();
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && std::find(workers.begin(), workers.end(), cpu) == workers.end())
      return cpu;
  return workers.front();
}

// Keys shall not get into core files, nor into the memory of a debugger that is not root's.
void protect_memory() {
  ::prctl(PR_SET_DUMPABLE, 0);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
}

void set_up_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

Result<void> run(int argc, char** argv) {
  Arguments arguments = TRY(parse_arguments(argc, argv));
  protect_memory();
  set_up_signals();
  arguments.eal.main_core = choose_main_core(arguments.eal.worker_cores);
  const Eal eal = TRY(Eal::init(arguments.eal));
  set_up_signals();  // the EAL has some of its own
  MainLcore main = TRY(MainLcore::create(arguments.runtime_dir, arguments.gateway, g_stop));
  return main.run();
}

}  // namespace
}  // namespace espalier::dataplane

int main(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("dataplane"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l process=dataplane %v");
  const auto result = espalier::dataplane::run(argc, argv);
  if (result) return 0;
  spdlog::critical("subsystem=cfg {}", result.error().text);
  return 1;
}
