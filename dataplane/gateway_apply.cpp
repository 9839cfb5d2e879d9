// Installing a configuration. Everything that can fail comes first, in plan(); carry_out() then brings the
// new tables to the workers in an order in which no packet meets half of a change:
//
//   new SAs are findable -> snapshot published, workers have it -> old SAs, ports and tables are freed
#include <spdlog/spdlog.h>

#include <algorithm>

#include "dataplane/consequences.hpp"
#include "dataplane/gateway.hpp"

namespace espalier::dataplane {
namespace {

// With a disk that is slower than this the first packets of a new static key are dropped; the main lcore has
// ARP to answer.
constexpr std::chrono::milliseconds kReservePatience{250};

const LinkState& always_up() {
  static LinkState* const link = [] {
    auto* state = new LinkState;  // as long as the process; referenced by dummies of any snapshot
    state->up.store(true);
    return state;
  }();
  return *link;
}

}  // namespace

struct Gateway::Plan {
  std::unique_ptr<Snapshot> tables;
  SaStore::Change sas;
  MtuChanges mtus;
  std::vector<RouteRecord> imported;  // as the interfaces stand now
  std::optional<HostPath::Plan> host;
};

Result<std::shared_ptr<SharedPort>> Gateway::plan_port(const InterfaceRecord& record, MtuChanges& mtus) {
  const std::string_view device = record.device.view();
  for (const auto& port : tables_->ports->ports) {
    if (port->port.device() != device) continue;
    TRY(mtus.set(port, record.mtu_bytes));
    return port;
  }
  rte_mempool* pools[] = {pool_.get()};
  PortOptions options{.rx_queues = options_.rx_queues,
                      .tx_queues = static_cast<uint16_t>(options_.workers + 1),
                      .mtu_bytes = record.mtu_bytes,
                      .pools = pools};
  return std::make_shared<SharedPort>(TRY(open_port_(device, options)));
}

Result<std::shared_ptr<const PortSet>> Gateway::plan_ports(const Configuration& wanted, MtuChanges& mtus) {
  std::vector<std::shared_ptr<SharedPort>> ports;
  for (const InterfaceRecord& record : wanted.interfaces) {
    if (record.kind != InterfaceKind::kPort) continue;
    auto port = plan_port(record, mtus);
    if (!port) return std::unexpected(std::move(port).error().with_context(std::string(record.name.view())));
    (*port)->link.up.store((*port)->port.is_link_up(), std::memory_order_relaxed);
    ports.push_back(std::move(*port));
  }
  if (ports == tables_->ports->ports) return tables_->ports;
  return std::make_shared<const PortSet>(std::move(ports), options_.workers);
}

// A vti has a link while it has SAs (follow_vtis), a gre interface always.
const LinkState& Gateway::tunnel_link(const InterfaceRecord& record) {
  LinkState& link = tunnel_links_[std::string(record.name.view())];
  if (record.kind == InterfaceKind::kGre) link.up.store(true, std::memory_order_relaxed);
  return link;
}

Result<std::shared_ptr<const InterfaceTable>> Gateway::plan_interfaces(const Configuration& wanted,
                                                                       const PortSet& ports) {
  std::vector<Interface> interfaces;
  size_t next_port = 0;
  for (const InterfaceRecord& record : wanted.interfaces) {
    Interface made;
    made.index = record.index;
    made.kind = record.kind;
    made.enabled = record.enabled != 0;
    made.protect = record.protect != 0;
    made.dad = record.dad != 0;
    made.name = record.name;
    made.mtu_bytes = record.mtu_bytes;
    made.mss_clamp_bytes = record.mss_clamp_bytes;
    made.link = &always_up();
    if (record.kind == InterfaceKind::kPort) {
      const SharedPort& port = *ports.ports[next_port++];
      made.port = port.port.id();
      made.mac = port.port.mac();
      made.link = &port.link;
    } else if (record.kind == InterfaceKind::kVlan) {
      if (record.parent.value >= interfaces.size())
        return fail("{} comes before its port", record.name.view());
      const Interface& parent = interfaces[record.parent.value];
      made.port = parent.port;
      made.mac = parent.mac;
      made.link = parent.link;
      made.vlan_id = record.vlan_id;
      made.enabled = made.enabled && parent.enabled;
    } else if (record.kind != InterfaceKind::kDummy) {
      made.link = &tunnel_link(record);
    }
    interfaces.push_back(std::move(made));
  }
  for (const AddressRecord& record : wanted.addresses)
    interfaces[record.interface.value].addresses.push_back(record.prefix);
  return std::make_shared<const InterfaceTable>(std::move(interfaces), tables_->interfaces.get());
}

Result<Gateway::Plan> Gateway::plan(const Configuration& wanted, uint64_t generation) {
  TRY(check_positions(wanted));
  if (wanted.settings.session_limit > sessions_->capacity())
    return fail("nat.limits.sessions is {}, and the dataplane was started with room for {}: start it anew",
                wanted.settings.session_limit, sessions_->capacity());
  Plan plan{.tables = std::make_unique<Snapshot>(), .sas = {}, .mtus = {}, .imported = {}, .host = {}};
  Snapshot& next = *plan.tables;
  next.generation = generation;
  next.settings = wanted.settings;
  next.ports = TRY(plan_ports(wanted, plan.mtus));
  next.interfaces = TRY(plan_interfaces(wanted, *next.ports));
  plan.imported = moved_routes(imported_routes_, running_.interfaces, wanted.interfaces);
  next.fib = TRY(Fib::build(all_routes(wanted, plan.imported), *next.interfaces));
  next.tunnels = std::make_shared<const TunnelTable>(wanted.interfaces);
  next.encap_ports = TRY(encap_ports(wanted));
  next.rules = std::make_shared<const nat::RuleSet>(wanted.nat_rules);
  const bool always = wanted.settings.sessions == SettingsRecord::Sessions::kAlways;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const auto f = static_cast<size_t>(family);
    next.track_sessions[f] = always || next.rules->needs_sessions(family);
  }
  next.esp_through_nat = nat_touches_esp(wanted);
  sas_->for_each_ike(
      [&](SaIndex, const SaRecord& sa) { next.esp_through_nat |= nat_touches_sa(wanted.nat_rules, sa); });
  next.fits_everywhere_bytes = fits_everywhere(wanted, *next.interfaces);
  next.host_path = wanted.settings.host_path != 0;
  next.spd = same_bytes(running_.policies, wanted.policies) ? tables_->spd
                                                            : std::make_shared<const Spd>(wanted.policies);
  next.policy_sas = std::make_shared<PolicySas>(wanted.policies.size());
  next.observers = tables_->observers;
  plan.sas = TRY(sas_->plan(wanted.sas));
  if (auto kept = keep_ike_sas(wanted, plan.sas); !kept) {
    sas_->abandon(plan.sas);
    return std::unexpected(std::move(kept).error());
  }
  if (!give_to_host_ && (next.host_path || host_path_)) plan.host = TRY(plan_host(wanted, *next.interfaces));
  const std::vector<ChangedRegion> everything{kEverything};
  next.changes = tables_->changes.with(
      may_decide_otherwise(plan.sas, wanted) ? everything : changed_regions(running_, wanted));
  return plan;
}

void Gateway::publish(std::unique_ptr<const Snapshot> next) {
  published_.store(next.get(), std::memory_order_release);
  const std::unique_ptr<const Snapshot> before = std::exchange(tables_, std::move(next));
  rcu_.synchronize();
  memory_.statistics.generation.store(tables_->generation, std::memory_order_release);
  if (before) retire_ports(*before->ports, *tables_->ports);
}

// Ports that are gone are kept until no worker sleeps on them: follow_links() closes them.
void Gateway::retire_ports(const PortSet& before, const PortSet& after) {
  for (const auto& port : before.ports)
    if (std::find(after.ports.begin(), after.ports.end(), port) == after.ports.end())
      retired_ports_.push_back(port);
  for (Mailbox* mailbox : mailbox_pointers_) mailbox->wake();
}

// Where the ESP packets of each SA go, by the routes of `tables`.
void Gateway::route_sas(Snapshot& tables) const {
  tables.outer_routes.resize(sas_->sad().capacity());
  sas_->sad().for_each([&](const Sa& sa) { route_sa(sa, tables); });
}

void Gateway::route_sa(const Sa& sa, Snapshot& tables) {
  OuterRoute& outer = tables.outer_routes[sa.index().value];
  outer.route = tables.fib->lookup(sa.destination());
  if (outer.route.verdict == RouteVerdict::kForward)
    outer.mtu_bytes = (*tables.interfaces)[outer.route.interface].mtu_bytes;
}

void Gateway::carry_out(Plan plan) {
  plan.mtus.keep();
  tell_ike_of_removal(plan.sas);
  const SaStore::Retired replaced = sas_->install(plan.sas);
  sas_->sad().intern_chains(plan.tables->spd->policies());
  route_sas(*plan.tables);
  // SAs that are on their way out are no longer chosen, but can be found until every worker has the new
  // tables.
  sas_->sad().assign_policies(plan.tables->spd->policies(), *plan.tables->policy_sas, plan.sas.removed);
  publish(std::move(plan.tables));
  sas_->sad().reclaim_paths();
  taps_->follow_sas();
  imported_routes_ = std::move(plan.imported);
  if (plan.host) host_path_->carry_out(std::move(*plan.host));
  const SaStore::Retired removed = sas_->remove(plan.sas);
  sa_watch_.forget(plan.sas.removed);
  rcu_.synchronize();
  sas_->release(plan.sas);
  sas_->release_left_behind(SaStore::Owner::kConfiguration);
  if (!tables_->settings.ike) sas_->release_left_behind(SaStore::Owner::kIke);
}

std::vector<RouteRecord> Gateway::all_routes(const Configuration& configuration,
                                             const std::vector<RouteRecord>& imported) {
  std::vector<RouteRecord> routes = configuration.routes;
  routes.insert(routes.end(), imported.begin(), imported.end());
  return routes;
}

Result<void> Gateway::apply(Configuration wanted, uint64_t generation) {
  add_vti_policies(wanted);
  Plan next = TRY(plan(wanted, generation));
  const bool timeouts_fit = sessions_->apply(wanted.settings);
  if (!timeouts_fit) {
    sas_->abandon(next.sas);
    return fail("nat.limits.sessions is out of range");
  }
  const uint32_t epoch_before = tables_->changes.epoch();
  carry_out(std::move(next));
  drop_waiting(epoch_before, !same_bytes(running_.interfaces, wanted.interfaces));
  NeighborOutput output;
  const size_t refused =
      resolver_.reconfigure(tables_->interfaces, wanted.neighbors, clock_.now_ms(), output);
  if (refused) spdlog::warn("subsystem=net {} static neighbours do not fit into the table", refused);
  carry_out(output);
  wanted.wipe_keys();
  running_ = std::move(wanted);
  if (follow_vtis()) decide_anew();
  sequence_service_->reserve_now(kReservePatience);  // new static keys have no numbers yet
  return {};
}

}  // namespace espalier::dataplane
