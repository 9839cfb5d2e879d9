// The test bed over the real dataplane: one Gateway with ring-backed ports, its workers polled in turn by the
// test's thread, so that a run is deterministic.
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "control/config/config.hpp"
#include "dataplane/eal.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/tap/tap_request.hpp"
#include "tests/support/testbed.hpp"
#include "tests/support/testbed/ring_port.hpp"

namespace espalier::test {
namespace {

using dataplane::Configuration;
using dataplane::Gateway;

constexpr uint32_t kCapacity = 64;  // SAs
constexpr uint32_t kWindowWords = 4096;
constexpr uint32_t kSessions = 4096;
constexpr int kIdleRounds = 4;  // in a row: a packet may pass from worker to worker to main lcore

// There is one EAL per process; tests share it.
Result<void> start_eal() {
  static const Result<dataplane::Eal> eal =
      dataplane::Eal::init({.main_core = static_cast<unsigned>(::sched_getcpu()),
                            .worker_cores = {},
                            .memory = dataplane::MemoryMode::kPlain,
                            .memory_mb = 512,
                            .pci = false,
                            .pci_devices = {}});
  if (!eal) return std::unexpected(eal.error());
  return {};
}

// In memory where there is such a file system: the SA cells' numbers are synced with every new key.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const std::filesystem::path memory = "/dev/shm";
    const auto base = std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path();
    std::string path = (base / "espalier-testbed-XXXXXX").string();
    if (::mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Result<config::Tables> compile(const std::string& text) {
  config::CompileOutcome outcome =
      config::load({.file = "testbed", .text = config::Secret(text), .mode = {}});
  if (outcome.tables) return *std::move(outcome.tables);
  return fail("the configuration is refused:\n{}", config::render_diagnostics(outcome.diagnostics));
}

template <class Record>
void append_records(std::vector<Record>& to, const std::vector<Record>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

Configuration configuration_of(const config::Tables& tables) {
  Configuration result;
  result.settings = tables.settings;
  result.settings.session_limit = std::min(result.settings.session_limit, kSessions);
  result.interfaces = tables.interfaces;
  result.addresses = tables.addresses;
  result.routes = tables.routes;
  result.neighbors = tables.neighbors;
  append_records(result.nat_rules, tables.source_rules);
  append_records(result.nat_rules, tables.destination_rules);
  result.policies = tables.policies;
  result.sas = tables.states;
  return result;
}

RouteRecord half_of(const Configuration& configuration, size_t route, bool upper) {
  RouteRecord half = configuration.routes[route];
  half.index = RouteIndex(static_cast<uint32_t>(configuration.routes.size()));
  const bool v4 = half.prefix.is_v4();
  if (upper)
    half.prefix.address = IpAddress::from_host(half.prefix.address.host() | uint128{1} << (v4 ? 31 : 127));
  ++half.prefix.length;
  return half;
}

// Two halves of the default routes, by the same next hop: every decision stays as it is, and every flow has
// to be decided anew.
void halve_default_route(Configuration& configuration) {
  const size_t count = configuration.routes.size();
  for (size_t i = 0; i < count; ++i) {
    if (configuration.routes[i].prefix.written_length() != 0) continue;
    for (const bool upper : {false, true}) configuration.routes.push_back(half_of(configuration, i, upper));
  }
}

class DataplaneTestbed : public Testbed {
 public:
  DataplaneTestbed(const TestbedOptions& options, Segment statistics, Vault vault)
      : options_(options), statistics_memory_(std::move(statistics)), vault_(std::move(vault)) {
    static unsigned devices = 0;
    for (const auto& [interface, mac] : options_.macs)
      slots_[interface] = {fmt::format("net_ring_bed{}", devices++), nullptr};
  }
  Result<void> start();

  Result<void> apply(const std::string& config_text) override;
  void inject(std::string_view interface, uint16_t queue, ByteView frame) override {
    port(interface).push(queue, frame);
  }
  void run_until_idle() override;
  void run_workers() override {
    for (uint16_t w = 0; w < gateway_->worker_count(); ++w) gateway_->worker(WorkerId(w)).poll();
  }
  void run_main_beside_workers() override;
  std::vector<Bytes> take_sent(std::string_view interface) override { return port(interface).pop(); }
  void inject_from_host(ByteView packet) override { gateway_->from_host(packet, kNoInterface); }
  std::vector<Bytes> take_to_host() override { return std::exchange(to_host_, {}); }
  std::vector<message::Acquire> take_acquires() override;
  void attach_ike(Channel channel) override { gateway_->attach_ike(std::move(channel)); }
  std::optional<Rehearsed> rehearse(std::string_view interface, const std::vector<Bytes>& frames,
                                    size_t untold) override;
  std::optional<Packets> packets() const override;
  DropCounts drops() const override;
  FlowCounts flow_counts() const override;
  void advance_time(std::chrono::milliseconds step) override;
  void invalidate_flows() override;
  Result<uint64_t> start_tap(message::TapStart start, const TapFilters& filters) override;
  std::optional<std::vector<TappedPacket>> read_tap(uint64_t id, uint64_t* lost) override;
  bool end_tap(uint64_t id) override { return gateway_->end_tap(id); }
  Bytes sa_state() const override;
  void restore_sa_state(const Bytes& state) override;

 private:
  Result<void> install(const std::string& config_text);
  Result<void> name_devices(Configuration& configuration) const;
  Result<dataplane::Port> open_port(std::string_view device, const dataplane::PortOptions& options);
  RingPort& port(std::string_view interface);
  InterfaceIndex index_of(std::string_view interface) const;
  std::string port_of(InterfaceIndex interface) const;
  std::vector<std::atomic<uint64_t>*> sa_numbers() const;
  statistics::Segment& statistics() const { return *statistics_memory_.as<statistics::Segment>(); }

  const TestbedOptions options_;
  TemporaryFolder folder_;
  Segment statistics_memory_;
  Vault vault_;
  std::optional<SaCells> cells_;
  struct Slot {
    std::string device;
    std::unique_ptr<RingPort> rings;  // once the port is open
  };
  std::map<std::string, Slot, std::less<>> slots_;  // by interface; they outlive the gateway
  std::unique_ptr<Gateway> gateway_;
  std::vector<Bytes> to_host_;
  std::string running_;
  uint64_t generation_ = 0;
  bool halved_ = false;
};

Result<void> DataplaneTestbed::start() {
  cells_ = TRY(SaCells::open(folder_.path(), folder_.path(), {kCapacity, kWindowWords}));
  const dataplane::GatewayOptions options{.workers = options_.workers,
                                          .session_capacity = kSessions,
                                          .flow_entries = 1024,
                                          .mbufs = 4096,
                                          .largest_mtu_bytes = options_.largest_mtu_bytes,
                                          .rx_queues = options_.queues};
  gateway_ = TRY(Gateway::create(
      options, {statistics(), vault_, *cells_},
      [this](std::string_view device, const dataplane::PortOptions& wanted) {
        return open_port(device, wanted);
      },
      [this](InterfaceIndex, ByteView packet) {
        to_host_.emplace_back(packet.begin(), packet.end());
        return DropReason::kUsedHost;
      }));
  for (uint16_t w = 0; w < options_.workers; ++w)
    gateway_->worker(WorkerId(w)).flows().set_enabled(options_.flow_cache);
  return {};
}

Result<dataplane::Port> DataplaneTestbed::open_port(std::string_view device,
                                                    const dataplane::PortOptions& options) {
  for (auto& [interface, slot] : slots_) {
    if (slot.device != device) continue;
    RingPort::Opened opened = TRY(RingPort::open(slot.device, options_.macs.at(interface), options));
    slot.rings = std::move(opened.rings);
    return std::move(opened.port);
  }
  return fail("{} is no device of the test bed", device);
}

// "net_testbed-lan0" becomes the device that was made for lan0.
Result<void> DataplaneTestbed::name_devices(Configuration& configuration) const {
  for (InterfaceRecord& record : configuration.interfaces) {
    if (record.kind != InterfaceKind::kPort) continue;
    const auto slot = slots_.find(record.name.view());
    if (slot == slots_.end() || record.device.view() != fmt::format("net_testbed-{}", record.name.view()))
      return fail(
          "{}: the device of a test bed's interface IF is net_testbed-IF, and IF has a given MAC address",
          record.name.view());
    record.device.assign(slot->second.device);
  }
  return {};
}

Result<void> DataplaneTestbed::install(const std::string& config_text) {
  Configuration configuration = configuration_of(TRY(compile(config_text)));
  TRY(name_devices(configuration));
  configuration.settings.ike = options_.ike;
  if (halved_) halve_default_route(configuration);
  return gateway_->apply(std::move(configuration), ++generation_);
}

Result<void> DataplaneTestbed::apply(const std::string& config_text) {
  TRY(install(config_text));
  running_ = config_text;
  return {};
}

void DataplaneTestbed::invalidate_flows() {
  halved_ = !halved_;
  if (const auto done = install(running_); !done) throw std::runtime_error(done.error().text);
}

void DataplaneTestbed::run_until_idle() {
  for (int idle = 0; idle < kIdleRounds; ++idle) {
    uint32_t handled = 0;
    for (uint16_t w = 0; w < gateway_->worker_count(); ++w) handled += gateway_->worker(WorkerId(w)).poll();
    handled += gateway_->poll_main();
    if (handled != 0) idle = -1;
  }
}

void DataplaneTestbed::run_main_beside_workers() {
  std::vector<std::jthread> threads;
  for (uint16_t w = 0; w < gateway_->worker_count(); ++w)
    threads.emplace_back([this, w] { gateway_->worker(WorkerId(w)).run(); });
  gateway_->poll_main();
  for (uint16_t w = 0; w < gateway_->worker_count(); ++w) gateway_->worker(WorkerId(w)).stop();
}

void DataplaneTestbed::advance_time(std::chrono::milliseconds step) {
  gateway_->clock().skip(static_cast<uint64_t>(step.count()));
  run_until_idle();
}

std::vector<message::Acquire> DataplaneTestbed::take_acquires() {
  std::vector<message::Acquire> acquires;
  for (const message::Slot& event : gateway_->take_events())
    if (message::Acquire acquire; message::read(event, acquire)) acquires.push_back(acquire);
  return acquires;
}

Result<uint64_t> DataplaneTestbed::start_tap(message::TapStart start, const TapFilters& filters) {
  start.ethernet_instructions = static_cast<uint16_t>(filters.ethernet.size());
  start.ip_instructions = static_cast<uint16_t>(filters.ip.size());
  dataplane::TapRequest request;
  constexpr uint64_t kRequest = 1;
  const auto add = [&](const auto& program, message::TapLink link) {
    for (size_t at = 0; at < program.size(); at += message::TapFilter::kMost) {
      message::TapFilter piece;
      piece.link = link;
      piece.first = static_cast<uint16_t>(at);
      piece.count = static_cast<uint16_t>(std::min<size_t>(program.size() - at, message::TapFilter::kMost));
      std::copy_n(program.begin() + static_cast<ptrdiff_t>(at), piece.count, piece.instructions);
      request.add(piece, kRequest);
    }
  };
  add(filters.ethernet, message::TapLink::kEthernet);
  add(filters.ip, message::TapLink::kIp);
  return gateway_->start_tap(TRY(request.finish(start, kRequest)));
}

std::optional<std::vector<TappedPacket>> DataplaneTestbed::read_tap(uint64_t id, uint64_t* lost) {
  dataplane::PacketTap* tap = gateway_->find_tap(id);
  if (!tap) return std::nullopt;
  std::vector<TappedPacket> packets;
  for (auto record = tap->front(); !record.empty(); record = tap->front()) {
    TappedPacket& packet = packets.emplace_back();
    std::memcpy(&packet.seen, record.data(), sizeof packet.seen);
    packet.bytes.assign(record.begin() + sizeof packet.seen, record.end());
    tap->pop();
  }
  if (lost) *lost = tap->lost();
  return packets;
}

InterfaceIndex DataplaneTestbed::index_of(std::string_view interface) const {
  for (const auto& each : *gateway_->tables().interfaces)
    if (each.name.view() == interface) return each.index;
  throw std::out_of_range("no interface " + std::string(interface));
}

// The name of the untagged interface of the same port.
std::string DataplaneTestbed::port_of(InterfaceIndex interface) const {
  const auto& interfaces = *gateway_->tables().interfaces;
  return std::string(interfaces[interfaces.by_wire(interfaces[interface].port, 0)].name.view());
}

std::optional<Rehearsed> DataplaneTestbed::rehearse(std::string_view interface,
                                                    const std::vector<Bytes>& frames, size_t untold) {
  std::vector<std::span<const uint8_t>> views(frames.begin(), frames.end());
  auto done = gateway_->rehearse(interface == "local" ? kNoInterface : index_of(interface), views, untold);
  if (!done) throw std::runtime_error(done.error().text);
  Rehearsed rehearsed{.output = {},
                      .ended = done->ended,
                      .to_host = std::move(done->to_host),
                      .waiting = done->waiting,
                      .lines = {}};
  for (auto& frame : done->frames) rehearsed.output[port_of(frame.out)].push_back(std::move(frame.bytes));
  for (const auto& line : done->lines) rehearsed.lines.push_back(line.stage + ": " + line.text);
  return rehearsed;
}

std::optional<Packets> DataplaneTestbed::packets() const {
  Packets sums{.made = 0, .waiting = gateway_->waiting()};
  for (const statistics::Block& block : statistics().blocks) sums.made += block.made.get();
  return sums;
}

DropCounts DataplaneTestbed::drops() const {
  DropCounts sums{};
  const auto add = [&sums](const statistics::Block& block) {
    for (const auto& of_interface : block.drops)
      for (size_t reason = 0; reason < kDropReasons; ++reason) sums[reason] += of_interface[reason].get();
  };
  const auto workers = std::span(statistics().blocks).first(options_.workers);  // the others are many, and 0
  std::for_each(workers.begin(), workers.end(), add);
  add(statistics().blocks[statistics::kBlocks - 1]);
  return sums;
}

FlowCounts DataplaneTestbed::flow_counts() const {
  FlowCounts sums;
  for (const statistics::Block& block : statistics().blocks) {
    sums.hits += block.flow_hits.get();
    sums.misses += block.flow_misses.get();
  }
  return sums;
}

RingPort& DataplaneTestbed::port(std::string_view interface) {
  const auto found = slots_.find(interface);
  if (found == slots_.end() || !found->second.rings)
    throw std::out_of_range("no port of " + std::string(interface));
  return *found->second.rings;
}

std::vector<std::atomic<uint64_t>*> DataplaneTestbed::sa_numbers() const {
  std::vector<std::atomic<uint64_t>*> numbers;
  for (uint32_t i = 0; i < cells_->capacity(); ++i) {
    SaCell& cell = cells_->cell(SaIndex(i));
    numbers.insert(numbers.end(), {&cell.outbound.next_sequence, &cell.window.top, &cell.window.floor});
  }
  for (std::atomic<uint64_t>& word : cells_->window_area()) numbers.push_back(&word);
  return numbers;
}

Bytes DataplaneTestbed::sa_state() const {
  Bytes state;
  for (const auto* number : sa_numbers()) {
    const uint64_t value = number->load();
    append32(state, static_cast<uint32_t>(value >> 32));
    append32(state, static_cast<uint32_t>(value));
  }
  return state;
}

void DataplaneTestbed::restore_sa_state(const Bytes& state) {
  size_t at = 0;
  for (auto* number : sa_numbers()) {
    number->store(static_cast<uint64_t>(get32(state, at)) << 32 | get32(state, at + 4));
    at += 8;
  }
}

}  // namespace

Result<std::unique_ptr<Testbed>> make_testbed(const TestbedOptions& options) {
  TRY(start_eal());
  auto bed = std::make_unique<DataplaneTestbed>(
      options, TRY(Segment::create("espalier-testbed-statistics", sizeof(statistics::Segment))),
      TRY(Vault::create(kCapacity)));
  TRY(bed->start());
  return bed;
}

}  // namespace espalier::test
