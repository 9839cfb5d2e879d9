#include "tests/stage/stage_bench.hpp"

#include <rte_mempool.h>

#include "dataplane/eal.hpp"

namespace espalier::dataplane {
namespace {

// One per process, never freed: mbufs of all tests come from them.
struct Pools {
  Eal eal;
  rte_mempool* packets;
  rte_mempool* jumbos;
};

const Pools& pools() {
  static const Pools all = [] {
    auto eal = Eal::init({.worker_cores = {},
                          .memory = MemoryMode::kPlain,
                          .memory_mb = 128,
                          .pci = false,
                          .pci_devices = {}});
    if (!eal) throw std::runtime_error(eal.error().text);
    return Pools{std::move(*eal),
                 rte_pktmbuf_pool_create("stage", 1023, 0, sizeof(Packet), RTE_MBUF_DEFAULT_BUF_SIZE, 0),
                 rte_pktmbuf_pool_create("stage_jumbo", 63, 0, sizeof(Packet), Reassembler::kJumboRoom, 0)};
  }();
  return all;
}

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text);
  return *std::move(result);
}

IpPrefix prefix(std::string_view address, uint8_t length) {
  return IpPrefix::of(test::parse_address(address), length);
}

Interface interface(InterfaceIndex index, std::string_view name, const MacAddress& mac, IpPrefix address,
                    const LinkState& link) {
  Interface made;
  made.index = index;
  made.port = index.value;
  made.mac = mac;
  made.name.assign(name);
  made.addresses = {address};
  made.link = &link;
  return made;
}

SaRecord sa_record(const test::EspKey& key, Direction direction) {
  SaRecord r;
  r.spi = Spi{key.spi};
  r.direction = direction;
  r.reqid = Reqid{1};
  r.source = test::parse_address(direction == Direction::kOut ? "203.0.113.1" : "203.0.113.2");
  r.destination = test::parse_address(direction == Direction::kOut ? "203.0.113.2" : "203.0.113.1");
  std::copy_n(key.key.begin(), 16, r.key);
  std::copy_n(key.key.begin() + 16, 4, r.salt);
  return r;
}

}  // namespace

void StageBench::SetUp() {
  pools();
  sessions_ = must(nat::SessionTable::create({.capacity = 1024, .workers = 1, .key = {}}));
  neighbors_ = std::make_unique<NeighborTable>();
  const uint64_t seed[4] = {1, 2, 3, 4};
  flows_ = std::make_unique<FlowCache>(1024, seed);
  reassembler_ = std::make_unique<Reassembler>(pools().jumbos, 8);
  esp_.emplace(crypto::EspEngine::create().value());
  static int counter = 0;
  mailbox_ = must(Mailbox::create(fmt::format("stage{}", counter++), 64, 0));
  mailboxes_[0] = mailbox_.get();
  transmitter_ = std::make_unique<Transmitter>(*stats_);
  make_tables();
  make_sas();
  ctx.stats = stats_.get();
  ctx.sessions = sessions_.get();
  ctx.sad = &sas_->sad();
  ctx.neighbors = neighbors_.get();
  ctx.flows = flows_.get();
  ctx.reassembler = reassembler_.get();
  ctx.esp = &*esp_;
  ctx.pool = pools().packets;
  ctx.transmitter = transmitter_.get();
  ctx.arp = ctx.main = mailbox_.get();
  ctx.handover = mailboxes_;
  ctx.tables = &tables_;
  ctx.now_ms = 1;
  transmitter_->use(tables_.ports->transmit[0]);
}

void StageBench::TearDown() {
  for (rte_mbuf* mbuf : burst) rte_pktmbuf_free(mbuf);
  std::filesystem::remove_all(folder_);
}

void StageBench::make_tables() {
  link_.up.store(true);
  tables_.ports = std::make_shared<const PortSet>(std::vector<std::shared_ptr<SharedPort>>{}, 1);
  tables_.interfaces = std::make_shared<const InterfaceTable>(
      std::vector<Interface>{interface(kLan, "lan0", kLanMac, prefix("192.168.10.1", 24), link_),
                             interface(kWan, "wan0", kWanMac, prefix("203.0.113.1", 24), link_)});
  RouteRecord all;
  all.index = RouteIndex{0};
  all.prefix = IpPrefix::any(Family::kIpv4);
  all.next_hop_count = 1;
  all.next_hops[0] = {.via = test::parse_address("203.0.113.254"), .interface = kWan};
  tables_.fib = must(Fib::build({&all, 1}, *tables_.interfaces));
  const PolicyRecord policies[] = {tunnel_policy(0, Direction::kOut), tunnel_policy(1, Direction::kFwd)};
  tables_.spd = std::make_shared<const Spd>(policies);
  tables_.policy_sas = std::make_shared<PolicySas>(2);
  tables_.rules = std::make_shared<const nat::RuleSet>();
  const std::array<InterfaceRecord, 2> none_a_tunnel{};
  tables_.tunnels = std::make_shared<const TunnelTable>(none_a_tunnel);
}

void StageBench::make_sas() {
  std::string folder = (std::filesystem::temp_directory_path() / "espalier-stage-XXXXXX").string();
  folder_ = ::mkdtemp(folder.data());
  vault_ = must(Vault::create(8));
  cells_ = must(SaCells::open(folder_, folder_, {.capacity = 8, .window_words = 64}));
  sas_ = must(SaStore::open(*vault_, *cells_, 1));
  const SaRecord records[] = {sa_record(kOutKey, Direction::kOut), sa_record(kInKey, Direction::kIn)};
  auto change = must(sas_->plan(records));
  sas_->install(change);
  sas_->sad().assign_policies(tables_.spd->policies(), *tables_.policy_sas);
  tables_.outer_routes.resize(sas_->sad().capacity());
  const Sa& out = *sas_->sad().find(Spi{kOutKey.spi}, test::parse_address("203.0.113.2"));
  tables_.outer_routes[out.index().value] = {.route = tables_.fib->lookup(out.destination())};
}

const Sa& StageBench::sa(Direction direction) const {
  const auto& key = direction == Direction::kOut ? kOutKey : kInKey;
  return *ctx.sad->find(Spi{key.spi},
                        test::parse_address(direction == Direction::kOut ? "203.0.113.2" : "203.0.113.1"));
}

rte_mbuf* StageBench::frame(InterfaceIndex in, test::ByteView content) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pools().packets);
  mbuf->port = in.value;
  std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(content.size())), content.data(),
              content.size());
  burst.push_back(mbuf);
  return mbuf;
}

rte_mbuf* StageBench::parsed(InterfaceIndex in, test::ByteView ip_packet) {
  rte_mbuf* mbuf = frame(in, test::ethernet(in == kLan ? kLanMac : kWanMac, kHostMac, ip_packet));
  EXPECT_EQ(parse(ctx, MbufSpan(&mbuf, 1)), 1);
  return mbuf;
}

rte_mbuf* StageBench::from_peer(uint64_t sequence, test::ByteView inner, const test::SealOptions& options,
                                std::string_view peer) {
  return parsed(kWan, test::esp_tunnel(kInKey, sequence, peer, "203.0.113.1", inner, options).bytes());
}

PolicyRecord StageBench::tunnel_policy(uint32_t index, Direction direction) {
  PolicyRecord r;
  r.index = PolicyIndex{index};
  r.direction = direction;
  r.templates = 1;
  r.selector.source = prefix("192.168.10.0", 24);
  r.selector.destination = prefix("10.10.10.0", 24);
  r.tmpl[0] = {.source = test::parse_address("203.0.113.1"),
               .destination = test::parse_address("203.0.113.2"),
               .reqid = Reqid{1},
               .spi = {}};
  if (direction == Direction::kOut) return r;
  std::swap(r.selector.source, r.selector.destination);
  std::swap(r.tmpl[0].source, r.tmpl[0].destination);
  return r;
}

void StageBench::set_policies(const std::vector<PolicyRecord>& policies) {
  tables_.spd = std::make_shared<const Spd>(policies);
  tables_.policy_sas = std::make_shared<PolicySas>(policies.size());
  sas_->sad().assign_policies(policies, *tables_.policy_sas);
}

void StageBench::forget_policy_sas() {
  tables_.policy_sas = std::make_shared<PolicySas>(tables_.spd->policies().size());
}

void StageBench::route_outer(RouteVerdict verdict) {
  tables_.outer_routes[sa(Direction::kOut).index().value].route.verdict = verdict;
}

void StageBench::send_outer_by_lan(uint32_t mtu_bytes) {
  std::vector<Interface> interfaces(tables_.interfaces->begin(), tables_.interfaces->end());
  interfaces[kLan.value].mtu_bytes = mtu_bytes;
  tables_.interfaces = std::make_shared<const InterfaceTable>(std::move(interfaces));
  OuterRoute& outer = tables_.outer_routes[sa(Direction::kOut).index().value];
  outer.route.interface = kLan;
  outer.mtu_bytes = mtu_bytes;
}

uint64_t StageBench::drops(DropReason reason) const {
  uint64_t sum = 0;
  for (const auto& interface : stats_->drops) sum += interface[static_cast<size_t>(reason)].get();
  return sum;
}

}  // namespace espalier::dataplane
