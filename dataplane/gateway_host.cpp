// The host path as the gateway uses it (host/host_path.hpp): packets to and from the gateway's host, and the
// routes that its programs make.
#include <spdlog/spdlog.h>
#include <sys/uio.h>

#include "dataplane/consequences.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/stages/parse.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint32_t kHostBurst = 64;  // packets of the host in one round

std::optional<RouteImport> import_of(const SettingsRecord& settings) {
  if (!settings.import_routes) return std::nullopt;
  RouteImport import;
  import.table = settings.import_table;
  std::copy(std::begin(settings.import_protocols), std::end(settings.import_protocols),
            std::begin(import.protocols));
  return import;
}

}  // namespace

Result<HostPath::Plan> Gateway::plan_host(const Configuration& wanted, const InterfaceTable& interfaces) {
  if (!host_path_) host_path_ = TRY(HostPath::create());
  HostSetup setup;
  if (!wanted.settings.host_path) return host_path_->plan(setup);
  setup.network_namespace = wanted.settings.host_namespace.view();
  setup.routes = wanted.routes;
  setup.import = import_of(wanted.settings);
  for (const Interface& interface : interfaces) {
    HostInterface host{.index = interface.index,
                       .kind = interface.kind,
                       .name = std::string(interface.name.view()),
                       .mac = interface.mac,
                       .mtu_bytes = interface.mtu_bytes,
                       .enabled = interface.enabled,
                       .link_up = interface.is_up(),
                       .addresses = {}};
    for (const OwnAddress& own : interface.addresses) host.addresses.push_back(own.prefix);
    setup.interfaces.push_back(std::move(host));
  }
  return host_path_->plan(setup);
}

void Gateway::to_host(rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  InterfaceIndex in = p.in;
  // An error for the host about a packet of its own: it comes by the interface that has the address.
  if (in == kNoInterface)
    for (const Interface& interface : *tables_->interfaces)
      if (interface.has_address(p.tuple.destination)) in = interface.index;
  const auto whole = bytes(mbuf);
  if (give_to_host_) return drop_by_main(mbuf, give_to_host_(in, whole));
  if (!host_path_ || in.value >= tables_->interfaces->size())
    return drop_by_main(mbuf, DropReason::kLocalNoService);
  const iovec part{.iov_base = whole.data(), .iov_len = whole.size()};
  drop_by_main(mbuf, host_path_->send(in, {&part, 1}));
}

// The host's packets take the way of the gateway's own. Returns how many came.
uint32_t Gateway::poll_host() {
  if (!host_path_) return 0;
  host_path_->tick(clock_.now_ms());
  follow_kernel_routes();
  uint32_t count = 0;
  for (; count < kHostBurst; ++count) {
    const auto sent = host_path_->receive();
    if (!sent) break;
    from_host(sent->bytes, sent->for_link ? sent->interface : kNoInterface);
  }
  return count;
}

void Gateway::from_host(std::span<const uint8_t> sent, InterfaceIndex out) {
  main_statistics().made.add(1);
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
  char* at = mbuf ? rte_pktmbuf_append(mbuf, static_cast<uint16_t>(sent.size())) : nullptr;
  if (!at) {
    rte_pktmbuf_free(mbuf);
    main_statistics().drops[0][static_cast<size_t>(DropReason::kNoMbuf)].add(1);
    return;
  }
  std::memcpy(at, sent.data(), sent.size());
  Packet& p = make_fresh(mbuf);
  p.flags = kFromGateway | kFromHost;
  p.in = kNoInterface;
  p.out = out;
  if (!parse_ip(mbuf, is_ipv4(mbuf) ? Family::kIpv4 : Family::kIpv6, false))
    return drop_by_main(mbuf, p.reason);
  hand_to_worker(mbuf);
}

void Gateway::follow_kernel_routes() {
  auto routes = host_path_->take_routes(clock_.now_ms());
  if (!routes) return;
  auto built = [&] {
    std::swap(imported_routes_, *routes);
    return Fib::build(all_routes(running_, imported_routes_), *tables_->interfaces);
  }();
  if (!built) {
    spdlog::error("subsystem=net the kernel's routes were not taken over: {}", built.error().text);
    std::swap(imported_routes_, *routes);
    return;
  }
  std::vector<ChangedRegion> regions;
  add_changed_routes(*routes, imported_routes_, regions);
  if (regions.size() > ChangeLog::kRegions / 2) regions = {kEverything};
  auto next = std::make_unique<Snapshot>(*tables_);
  next->fib = std::move(*built);
  next->changes = tables_->changes.with(regions);
  route_sas(*next);
  publish(std::move(next));
}

}  // namespace espalier::dataplane
