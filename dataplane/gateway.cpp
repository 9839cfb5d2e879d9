// Making a gateway: pools, tables, workers. What it does while it lives is in gateway_apply.cpp
// (configurations) and gateway_main.cpp (the main lcore's rounds).
#include "dataplane/gateway.hpp"

#include <rte_errno.h>
#include <rte_mempool.h>

#include <algorithm>
#include <atomic>
#include <bit>

#include "crypto/random.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint32_t kPoolCache = 250;  // per lcore: few packets circulate, in LIFO order
constexpr uint32_t kMailboxPackets = 1024;
constexpr uint32_t kIkeMailboxPackets = 256;

std::string unique_name(std::string_view kind) {
  static std::atomic<uint32_t> counter{0};
  return fmt::format("{}_{}", kind, counter.fetch_add(1));
}

Result<rte_mempool*> make_pool(std::string_view kind, uint32_t mbufs, uint32_t cache, uint16_t data_room) {
  rte_mempool* pool = rte_pktmbuf_pool_create(unique_name(kind).c_str(), mbufs, cache, sizeof(Packet),
                                              data_room, static_cast<int>(rte_socket_id()));
  if (!pool) return fail("{} packet buffers of {} bytes: {}", mbufs, data_room, rte_strerror(rte_errno));
  return pool;
}

template <class T>
Result<T> random_value() {
  T value{};
  const auto filled = crypto::fill_random({reinterpret_cast<uint8_t*>(&value), sizeof value});
  if (!filled) return fail("random numbers: {}", filled.error());
  return value;
}

struct Seeds {
  uint64_t flow[4];
  uint64_t nat;
};

}  // namespace

PoolSizes PoolSizes::of(const GatewayOptions& options) {
  const uint32_t threads = options.workers + 1u;  // each has a transmit queue of every port
  const uint32_t rx_queues = options.rx_queues ? options.rx_queues : options.workers;
  const uint32_t in_devices = options.ports * (rx_queues + threads) * PortOptions::kDescriptors;
  const uint32_t in_mailboxes = (options.workers + 2u) * kMailboxPackets + kIkeMailboxPackets;
  const uint32_t in_caches = threads * kPoolCache * 3 / 2;  // the EAL lets them grow by a half
  const uint32_t in_bursts = threads * (options.ports + 4u) * kBurst;
  PoolSizes sizes;
  sizes.mbufs = options.mbufs;
  if (sizes.mbufs == 0)
    sizes.mbufs = in_devices + in_mailboxes + in_caches + in_bursts + NeighborResolver::kQueuedPacketsTotal;
  sizes.room_bytes = std::max<uint16_t>(RTE_MBUF_DEFAULT_BUF_SIZE, mbuf_data_room(options.largest_mtu_bytes));
  sizes.jumbos = Reassembler::kDefaultContexts * 2u * options.workers;
  return sizes;
}

uint64_t PoolSizes::bytes() const {
  constexpr uint64_t kBeside =
      sizeof(rte_mbuf) + sizeof(Packet) + 2 * RTE_CACHE_LINE_SIZE;  // and the mempool's
  return mbufs * (room_bytes + kBeside) + jumbos * (Reassembler::kJumboRoom + kBeside);
}

void Gateway::FreePool::operator()(rte_mempool* pool) const {
  rte_mempool_free(pool);
}

Gateway::Gateway(const GatewayOptions& options, const SharedMemory& memory, OpenPort open_port,
                 GiveToHost give_to_host)
    : options_(options),
      memory_(memory),
      open_port_(std::move(open_port)),
      give_to_host_(std::move(give_to_host)),
      rcu_(options.workers),
      resolver_(neighbors_),
      transmitter_(main_statistics()) {
  if (options_.rx_queues == 0) options_.rx_queues = options_.workers;
}

Result<std::unique_ptr<Gateway>> Gateway::create(const GatewayOptions& options, const SharedMemory& memory,
                                                 OpenPort open_port, GiveToHost give_to_host) {
  if (options.workers == 0 || options.workers > statistics::kMaxWorkers)
    return fail("{} workers: 1 to {} are possible", options.workers, statistics::kMaxWorkers);
  if (!std::has_single_bit(options.flow_entries) || options.flow_entries < FlowCache::kWays)
    return fail("{} flow entries: must be a power of two", options.flow_entries);
  std::unique_ptr<Gateway> gateway(
      new Gateway(options, memory, std::move(open_port), std::move(give_to_host)));
  TRY(gateway->make_pools());
  TRY(gateway->make_sessions());
  gateway->sas_ = TRY(SaStore::open(memory.vault, memory.cells, options.workers));
  gateway->taps_ = std::make_unique<Taps>(gateway->sas_->sad(), static_cast<uint16_t>(options.workers + 1));
  gateway->sequence_service_ = std::make_unique<SequenceService>(gateway->sas_->reserver());
  gateway->name_stages();
  TRY(gateway->make_workers());
  return gateway;
}

Gateway::~Gateway() {
  workers_.clear();
}

Result<void> Gateway::make_pools() {
  const PoolSizes sizes = PoolSizes::of(options_);
  pool_.reset(TRY(make_pool("packets", sizes.mbufs, kPoolCache, sizes.room_bytes)));
  jumbo_pool_.reset(TRY(make_pool("reassembled", sizes.jumbos, 0, Reassembler::kJumboRoom)));
  return {};
}

Result<void> Gateway::make_sessions() {
  nat::SessionTable::Config config{
      .capacity = options_.session_capacity, .workers = options_.workers, .key = {}};
  config.key = TRY(random_value<nat::HashKey>());
  sessions_ = TRY(nat::SessionTable::create(config));
  return {};
}

Context Gateway::context_for(WorkerId id) {
  const bool is_main = id.value == options_.workers;
  Context context;
  context.worker = id;
  context.workers = options_.workers;
  context.stats = &memory_.statistics.blocks[is_main ? statistics::kBlocks - 1 : id.value];
  context.sessions = sessions_.get();
  context.sad = &sas_->sad();
  context.neighbors = &neighbors_;
  context.pool = pool_.get();
  context.arp = arp_mailbox_.get();
  context.ike = ike_mailbox_.get();
  context.main = main_mailbox_.get();
  context.handover = mailbox_pointers_;
  return context;
}

Result<std::unique_ptr<Worker>> Gateway::make_worker(WorkerId id) {
  const Seeds seeds = TRY(random_value<Seeds>());
  auto engine = crypto::EspEngine::create();
  if (!engine) return fail("{}", engine.error());
  Context context = context_for(id);
  context.random = nat::Random(seeds.nat);
  // A start of its own and the common stride keep the workers' identifications apart.
  context.ip_id = static_cast<uint16_t>(id.value);
  Worker::Parts parts{.flows = std::make_unique<FlowCache>(options_.flow_entries, seeds.flow),
                      .reassembler = std::make_unique<Reassembler>(jumbo_pool_.get()),
                      .esp = std::move(*engine),
                      .mailbox = mailbox_pointers_[id.value]};
  return std::make_unique<Worker>(context, std::move(parts), WorkerShared{clock_, rcu_, published_});
}

Result<void> Gateway::make_workers() {
  const auto mailbox = [](std::string_view kind, uint32_t packets = kMailboxPackets) {
    return Mailbox::create(unique_name(kind), packets, static_cast<int>(rte_socket_id()));
  };
  arp_mailbox_ = TRY(mailbox("arp"));
  ike_mailbox_ = TRY(mailbox("ike", kIkeMailboxPackets));
  main_mailbox_ = TRY(mailbox("main"));
  for (uint16_t w = 0; w < options_.workers; ++w) {
    mailboxes_.push_back(TRY(mailbox("worker")));
    mailbox_pointers_.push_back(mailboxes_.back().get());
  }
  context_ = context_for(WorkerId{options_.workers});
  TRY(publish_empty());
  for (uint16_t w = 0; w < options_.workers; ++w) workers_.push_back(TRY(make_worker(WorkerId{w})));
  return {};
}

// Before the first configuration there are tables too, without an interface.
Result<void> Gateway::publish_empty() {
  auto tables = std::make_unique<Snapshot>();
  tables->ports =
      std::make_shared<const PortSet>(std::vector<std::shared_ptr<SharedPort>>{}, options_.workers);
  tables->interfaces = std::make_shared<const InterfaceTable>(std::vector<Interface>{});
  tables->fib = TRY(Fib::build({}, *tables->interfaces));
  tables->spd = std::make_shared<const Spd>(std::span<const PolicyRecord>{});
  tables->policy_sas = std::make_shared<PolicySas>(0);
  tables->rules = std::make_shared<const nat::RuleSet>();
  tables->tunnels = std::make_shared<const TunnelTable>(std::span<const InterfaceRecord>{});
  publish(std::move(tables));
  return {};
}

void Gateway::name_stages() {
  statistics::Segment& segment = memory_.statistics;
  uint32_t count = 0;
  for (const EveryPacketStage& stage : kEveryPacket)
    std::snprintf(segment.stage_names[count++], sizeof segment.stage_names[0], "%s", stage.name);
  for (const FirstPacketStage& stage : kFirstPacket)
    std::snprintf(segment.stage_names[count++], sizeof segment.stage_names[0], "%s", stage.name);
  segment.stage_count.store(count, std::memory_order_release);
  segment.workers = options_.workers;
  segment.tsc_hz.store(rte_get_tsc_hz(), std::memory_order_release);
}

}  // namespace espalier::dataplane
