// Installing a configuration. Everything that can fail comes first, in plan(); carry_out() then brings the
// new tables to the workers in an order in which no packet meets half of a change:
//
//   new SAs are findable -> snapshot published, workers have it -> old SAs, ports and tables are freed
#include <spdlog/spdlog.h>

#include <algorithm>

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

template <class Record>
bool same_bytes(const std::vector<Record>& a, const std::vector<Record>& b) {
  static_assert(std::is_trivially_copyable_v<Record>);
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](const Record& x, const Record& y) {
           return std::memcmp(&x, &y, sizeof(Record)) == 0;
         });
}

// What a change of routes can touch: the prefixes that came or went.
void add_changed_routes(const std::vector<RouteRecord>& before, const std::vector<RouteRecord>& after,
                        std::vector<ChangedRegion>& regions) {
  const auto same = [](const RouteRecord& a, const RouteRecord& b) {
    return a.kind == b.kind && a.prefix == b.prefix && a.via == b.via && a.interface == b.interface;
  };
  const auto add_missing = [&](const auto& these, const auto& those) {
    for (const RouteRecord& route : these)
      if (std::none_of(those.begin(), those.end(),
                       [&](const RouteRecord& other) { return same(route, other); }))
        regions.push_back({.source = {}, .destination = route.prefix});
  };
  add_missing(before, after);
  add_missing(after, before);
}

// What a change of policies can touch. Flows remember positions in the list: if these move, everything.
void add_changed_policies(const std::vector<PolicyRecord>& before, const std::vector<PolicyRecord>& after,
                          std::vector<ChangedRegion>& regions) {
  const size_t common = std::min(before.size(), after.size());
  for (size_t i = 0; i < common; ++i) {
    if (std::memcmp(&before[i], &after[i], sizeof(PolicyRecord)) == 0) continue;
    for (const Selector& s : {before[i].selector, after[i].selector})
      regions.push_back({s.source, s.destination});
  }
  for (const auto* list : {&before, &after})
    for (size_t i = common; i < list->size(); ++i)
      regions.push_back({(*list)[i].selector.source, (*list)[i].selector.destination});
}

std::vector<ChangedRegion> changed_regions(const Configuration& before, const Configuration& after) {
  if (!same_bytes(before.interfaces, after.interfaces) || !same_bytes(before.addresses, after.addresses) ||
      !same_bytes(before.nat_rules, after.nat_rules) || before.settings.sessions != after.settings.sessions)
    return {kEverything};
  std::vector<ChangedRegion> regions;
  add_changed_routes(before.routes, after.routes, regions);
  add_changed_policies(before.policies, after.policies, regions);
  if (regions.size() > ChangeLog::kRegions / 2) return {kEverything};
  return regions;
}

// Flows remember their policy and not its SA, and an SA's selector is asked about their first packet only.
bool may_cover_less(const SaStore::Change& change, const std::vector<SaRecord>& wanted) {
  if (change.added.size() != change.claimed.size()) return true;  // an SA changes in its slot
  const bool come_or_go = !change.added.empty() || !change.removed.empty();
  return come_or_go && std::any_of(wanted.begin(), wanted.end(), [](const SaRecord& sa) {
           return sa.direction == Direction::kOut && (sa.flags & kSaHasSelector);
         });
}

// Fragments have no ports to compare: a policy that names some could be passed by in clear.
bool name_ports(const std::vector<PolicyRecord>& policies) {
  return std::any_of(policies.begin(), policies.end(), [](const PolicyRecord& p) {
    return !p.selector.source_port.is_any() || !p.selector.destination_port.is_any();
  });
}

Result<void> check_positions(const Configuration& wanted) {
  for (size_t i = 0; i < wanted.interfaces.size(); ++i)
    if (wanted.interfaces[i].index.value != i) return fail("interface {} is not at its place", i);
  for (size_t i = 0; i < wanted.policies.size(); ++i)
    if (wanted.policies[i].index.value != i) return fail("policy {} is not at its place", i);
  const auto known = [&](InterfaceIndex i) { return i.value < wanted.interfaces.size(); };
  for (const AddressRecord& r : wanted.addresses)
    if (!known(r.interface)) return fail("an address names interface {}", r.interface.value);
  for (const NeighborRecord& r : wanted.neighbors)
    if (!known(r.interface)) return fail("a neighbour names interface {}", r.interface.value);
  for (const RouteRecord& r : wanted.routes)
    if ((r.kind == RouteKind::kNextHop || r.kind == RouteKind::kInterface) && !known(r.interface))
      return fail("route {} names interface {}", r.index.value, r.interface.value);
  for (const NatRuleRecord& r : wanted.nat_rules)
    if (r.interface != kNoInterface && !known(r.interface))
      return fail("NAT rule {} names interface {}", r.number, r.interface.value);
  return {};
}

}  // namespace

struct Gateway::Plan {
  std::unique_ptr<Snapshot> tables;
  SaStore::Change sas;
  MtuChanges mtus;
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

Result<std::shared_ptr<const InterfaceTable>> Gateway::plan_interfaces(const Configuration& wanted,
                                                                       const PortSet& ports) {
  std::vector<Interface> interfaces;
  size_t next_port = 0;
  for (const InterfaceRecord& record : wanted.interfaces) {
    Interface made;
    made.index = record.index;
    made.kind = record.kind;
    made.enabled = record.enabled != 0;
    made.name = record.name;
    made.mtu_bytes = record.mtu_bytes;
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
    }
    interfaces.push_back(std::move(made));
  }
  for (const AddressRecord& record : wanted.addresses)
    interfaces[record.interface.value].addresses.push_back(record.prefix);
  return std::make_shared<const InterfaceTable>(std::move(interfaces));
}

Result<Gateway::Plan> Gateway::plan(const Configuration& wanted, uint64_t generation) {
  TRY(check_positions(wanted));
  if (wanted.settings.session_limit > sessions_->capacity())
    return fail("nat.limits.sessions is {}, and the dataplane was started with room for {}: start it anew",
                wanted.settings.session_limit, sessions_->capacity());
  Plan plan{.tables = std::make_unique<Snapshot>(), .sas = {}, .mtus = {}};
  Snapshot& next = *plan.tables;
  next.generation = generation;
  next.settings = wanted.settings;
  next.ports = TRY(plan_ports(wanted, plan.mtus));
  next.interfaces = TRY(plan_interfaces(wanted, *next.ports));
  next.fib = TRY(Fib::build(wanted.routes, *next.interfaces));
  next.rules = std::make_shared<const nat::RuleSet>(wanted.nat_rules);
  next.track_sessions =
      wanted.settings.sessions == SettingsRecord::Sessions::kAlways || next.rules->needs_sessions();
  next.spd = same_bytes(running_.policies, wanted.policies) ? tables_->spd
                                                            : std::make_shared<const Spd>(wanted.policies);
  next.policy_sas = std::make_shared<PolicySas>(wanted.policies.size());
  next.whole_packets = next.track_sessions || name_ports(wanted.policies);
  plan.sas = TRY(sas_->plan(wanted.sas));
  const std::vector<ChangedRegion> everything{kEverything};
  next.changes = tables_->changes.with(
      may_cover_less(plan.sas, wanted.sas) ? everything : changed_regions(running_, wanted));
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
  sas_->sad().for_each([&](const Sa& sa) {
    OuterRoute& outer = tables.outer_routes[sa.index().value];
    outer.route = tables.fib->lookup(sa.destination());
    if (outer.route.verdict == RouteVerdict::kForward)
      outer.mtu_bytes = (*tables.interfaces)[outer.route.interface].mtu_bytes;
  });
}

void Gateway::carry_out(Plan plan) {
  plan.mtus.keep();
  const SaStore::Retired replaced = sas_->install(plan.sas);
  route_sas(*plan.tables);
  // SAs that are on their way out are no longer chosen, but can be found until every worker has the new
  // tables.
  sas_->sad().assign_policies(plan.tables->spd->policies(), *plan.tables->policy_sas, plan.sas.removed);
  publish(std::move(plan.tables));
  const SaStore::Retired removed = sas_->remove(plan.sas);
  rcu_.synchronize();
  sas_->release(plan.sas);
}

Result<void> Gateway::apply(Configuration wanted, uint64_t generation) {
  Plan next = TRY(plan(wanted, generation));
  const bool timeouts_fit = sessions_->apply(wanted.settings);
  if (!timeouts_fit) {
    sas_->abandon(next.sas);
    return fail("nat.limits.sessions is out of range");
  }
  const uint32_t epoch_before = tables_->changes.epoch();
  carry_out(std::move(next));
  drop_waiting(epoch_before, !same_bytes(running_.interfaces, wanted.interfaces));
  ArpOutput output;
  const size_t refused = arp_.reconfigure(tables_->interfaces, wanted.neighbors, clock_.now_ms(), output);
  if (refused) spdlog::warn("subsystem=net {} static neighbours do not fit into the table", refused);
  carry_out(output);
  wanted.wipe_keys();
  running_ = std::move(wanted);
  sequence_service_->reserve_now(kReservePatience);  // new static keys have no numbers yet
  return {};
}

}  // namespace espalier::dataplane
