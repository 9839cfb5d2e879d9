// How the host's devices follow the configuration. What can fail is done in plan(), beside what runs.
#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

#include "control/shared/text.hpp"
#include "dataplane/host/host_path.hpp"
#include "dataplane/host/host_settings.hpp"

namespace espalier::dataplane {
namespace {

constexpr size_t kLongestName = 15;          // IFNAMSIZ - 1
constexpr uint32_t kSmallestIpv6Mtu = 1280;  // RFC 8200 section 5

bool bears_ipv6(uint32_t mtu_bytes) {
  return mtu_bytes >= kSmallestIpv6Mtu;
}

Tap::Kind tap_kind(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::kPort:
    case InterfaceKind::kVlan:
    case InterfaceKind::kDummy:
      return Tap::Kind::kEthernet;
    case InterfaceKind::kVti:
    case InterfaceKind::kGre:
      return Tap::Kind::kIp;
  }
  return Tap::Kind::kIp;
}

// What interfaces without a MAC address have towards the host; locally administered.
MacAddress mac_of(const HostInterface& interface) {
  if (interface.mac != MacAddress{}) return interface.mac;
  const uint16_t index = interface.index.value;
  return {0x02, 'E', 'S', 'P', static_cast<uint8_t>(index >> 8), static_cast<uint8_t>(index)};
}

// OSPFv3 wants one on every link. Nobody else ever sees a dummy's, so Espalier has none. RFC 4291 appendix A.
void add_link_local(HostInterface& dummy) {
  const bool has_one =
      std::ranges::any_of(dummy.addresses, [](const IpPrefix& a) { return a.address.is_link_local(); });
  if (has_one) return;
  const MacAddress& m = mac_of(dummy);
  uint128 identifier = 0;
  for (const int byte : {m[0] ^ 2, +m[1], +m[2], 0xff, 0xfe, +m[3], +m[4], +m[5]})
    identifier = identifier << 8 | static_cast<uint8_t>(byte);
  dummy.addresses.push_back(IpPrefix::of(IpAddress::from_host(uint128{0xfe80} << 112 | identifier), 64));
}

// Takes the IPv6 addresses off that the kernel cannot have on this link. Errors: they are more than the
// link-local one, which every interface has.
Result<void> adapt_addresses(HostInterface& interface, bool has_ipv6) {
  if (has_ipv6 && bears_ipv6(interface.mtu_bytes)) return {};
  std::erase_if(interface.addresses, [](const IpPrefix& a) { return a.address.is_link_local(); });
  const auto ipv6 = std::ranges::find_if(interface.addresses, [](const IpPrefix& a) { return !a.is_v4(); });
  if (ipv6 == interface.addresses.end()) return {};
  if (!has_ipv6) return fail("address {}, but the host's kernel has no IPv6", to_text(*ipv6));
  return fail("address {} with an MTU of {}: IPv6 needs {}", to_text(*ipv6), interface.mtu_bytes,
              kSmallestIpv6Mtu);
}

// The kernel refuses in carry_out() what nobody could know before; the rest goes on.
void report(const std::string& what, const Result<void>& result) {
  if (!result) spdlog::error("subsystem=net host path: {}: {}", what, result.error().text);
}

// Those of `these` that `those` lack, in their order. There may be thousands.
std::vector<IpPrefix> missing_in(const std::vector<IpPrefix>& those, const std::vector<IpPrefix>& these) {
  const auto before = [](const IpPrefix& a, const IpPrefix& b) {
    return std::tie(a.address, a.length) < std::tie(b.address, b.length);
  };
  const std::set<IpPrefix, decltype(before)> known(those.begin(), those.end(), before);
  std::vector<IpPrefix> missing;
  std::ranges::copy_if(these, std::back_inserter(missing),
                       [&](const IpPrefix& a) { return !known.contains(a); });
  return missing;
}

std::vector<IpAddress> broadcasts_of(const std::vector<IpPrefix>& addresses) {
  std::vector<IpAddress> found;
  for (const IpPrefix& own : addresses)
    if (own.is_v4() && own.written_length() < 31) found.push_back(own.last());
  std::ranges::sort(found);
  return found;
}

}  // namespace

// --- Planning ---

auto HostPath::plan_kernel(const std::string& network_namespace) const -> Result<std::shared_ptr<Kernel>> {
  HostNamespace space = TRY(HostNamespace::open(network_namespace));
  if (kernel_ && kernel_->space.is_same(space)) return kernel_;
  std::optional<HostLinks> links;
  TRY(space.run([&]() -> Result<void> {
    links = TRY(HostLinks::open());
    return {};
  }));
  return std::make_shared<Kernel>(Kernel{std::move(space), std::move(*links)});
}

HostPath::Device* HostPath::find(std::string_view name) const {
  const auto found = std::ranges::find_if(devices_, [&](const auto& d) { return d->interface.name == name; });
  return found == devices_.end() ? nullptr : found->get();
}

// With its MTU the kernel takes IPv6 off a link, and forgets its settings.
bool HostPath::can_stay(const HostInterface& wanted) const {
  const Device* device = find(wanted.name);
  return device && !device->is_gone && device->tap.kind() == tap_kind(wanted.kind) &&
         bears_ipv6(device->interface.mtu_bytes) == bears_ipv6(wanted.mtu_bytes);
}

// Ours under this name goes before the new one takes it.
Result<void> HostPath::check_name(const std::string& name, Kernel& kernel) const {
  if (name.empty() || name.size() > kLongestName)
    return fail("a name of 1 to {} bytes is needed", kLongestName);
  const int link = kernel.links.index_of(name);
  const Device* ours = &kernel == kernel_.get() ? find(name) : nullptr;
  if (link == 0 || (ours && ours->link == link)) return {};
  return fail("the host has an interface of this name already; dataplane.host-namespace keeps them apart");
}

auto HostPath::make_device(const HostInterface& wanted, Kernel& kernel) -> Result<std::unique_ptr<Device>> {
  auto device =
      std::make_unique<Device>(Device{.interface = {}, .tap = TRY(Tap::create(tap_kind(wanted.kind)))});
  device->link = kernel.links.index_of(device->tap.first_name());
  device->interface = {.index = wanted.index,
                       .kind = wanted.kind,
                       .name = wanted.name,
                       .mac = wanted.mac,
                       .mtu_bytes = wanted.mtu_bytes,
                       .enabled = false,
                       .link_up = true,
                       .addresses = {}};
  TRY(write_link_settings(device->tap.first_name()));
  TRY(kernel.links.set_mtu(device->link, wanted.mtu_bytes));
  if (device->tap.kind() == Tap::Kind::kIp) return device;
  TRY(kernel.links.set_mac(device->link, wanted.mac));
  TRY(kernel.links.set_without_neighbors(device->link));
  return device;
}

// In the namespace.
Result<void> HostPath::plan_device(HostInterface& wanted, Plan& plan) const {
  wanted.mac = mac_of(wanted);
  if (wanted.kind == InterfaceKind::kDummy) add_link_local(wanted);
  TRY(adapt_addresses(wanted, kernel_has_ipv6()));
  // Whoever sets net.ipv4.ip_forward, as FRR does, changes the setting of every link.
  if (plan.kernel_ == kernel_ && can_stay(wanted)) return write_link_settings(wanted.name);
  TRY(check_name(wanted.name, *plan.kernel_));
  plan.made_.push_back(TRY(make_device(wanted, *plan.kernel_)));
  return {};
}

auto HostPath::plan(const HostSetup& wanted) -> Result<Plan> {
  Plan plan;
  plan.wanted_ = wanted;
  if (wanted.interfaces.empty()) return plan;
  plan.kernel_ = TRY(plan_kernel(wanted.network_namespace));
  const bool import_stays =
      plan.kernel_ == kernel_ && kernel_routes_ && wanted.import == kernel_routes_->import();
  TRY(plan.kernel_->space.run([&]() -> Result<void> {
    for (HostInterface& interface : plan.wanted_.interfaces)
      if (auto done = plan_device(interface, plan); !done)
        return std::unexpected(
            std::move(done).error().with_context("host path: interface " + interface.name));
    if (wanted.import && !import_stays) plan.kernel_routes_ = TRY(KernelRoutes::open(*wanted.import));
    return {};
  }));
  return plan;
}

// --- Carrying out ---

void HostPath::carry_out(Plan plan) {
  if (plan.kernel_ != kernel_) host_routes_.forget();  // they go with the devices
  bool routes_may_be_gone = remove_devices(plan) || !plan.made_.empty();
  kernel_ = plan.kernel_;
  add_devices(plan);
  for (const HostInterface& wanted : plan.wanted_.interfaces)
    if (Device* device = find(wanted.name)) routes_may_be_gone |= update(*device, wanted);
  index_devices();
  if (kernel_) host_routes_.update(kernel_->links, plan.wanted_.routes, links_up(), routes_may_be_gone);
  update_import(plan);
}

// Whether there were any.
bool HostPath::remove_devices(const Plan& plan) {
  const auto goes = [&](const std::unique_ptr<Device>& device) {
    const auto has_its_name = [&](const auto& other) { return other.name == device->interface.name; };
    const auto replaces_it = [&](const auto& made) { return made->interface.name == device->interface.name; };
    return plan.kernel_ != kernel_ || std::ranges::none_of(plan.wanted_.interfaces, has_its_name) ||
           std::ranges::any_of(plan.made_, replaces_it);
  };
  return std::erase_if(devices_, goes) != 0;
}

void HostPath::add_devices(Plan& plan) {
  for (auto& device : plan.made_) {
    const std::string& name = device->interface.name;
    if (auto named = kernel_->links.set_name(device->link, name); !named) {
      report(name, named);
      continue;
    }
    epoll_event event{.events = EPOLLIN, .data = {.ptr = device.get()}};
    if (::epoll_ctl(devices_poll_.get(), EPOLL_CTL_ADD, device->tap.fd(), &event) != 0)
      report(name, fail("epoll: {}", errno_text()));
    devices_.push_back(std::move(device));
  }
}

// Returns whether the kernel may have lost routes by it.
bool HostPath::update(Device& device, const HostInterface& wanted) {
  const HostInterface now = std::exchange(device.interface, wanted);
  HostLinks& links = kernel_->links;
  if (now.mtu_bytes != wanted.mtu_bytes) report(wanted.name, links.set_mtu(device.link, wanted.mtu_bytes));
  if (now.mac != wanted.mac && device.tap.kind() == Tap::Kind::kEthernet)
    report(wanted.name, links.set_mac(device.link, wanted.mac));
  const auto stale = missing_in(wanted.addresses, now.addresses);
  for (const IpPrefix& address : stale) report(wanted.name, links.remove_address(device.link, address));
  const bool switched = now.enabled != wanted.enabled;
  if (switched) report(wanted.name, links.set_up(device.link, wanted.enabled));
  // A link that was down has lost its IPv6 addresses.
  const auto added = switched ? wanted.addresses : missing_in(now.addresses, wanted.addresses);
  for (const IpPrefix& address : added) report(wanted.name, links.add_address(device.link, address));
  if (!added.empty()) device.repeats_addresses = has_new_addresses_ = true;
  device.broadcasts = broadcasts_of(wanted.addresses);
  set_carrier(device, wanted.link_up);
  return !stale.empty() || switched;
}

// zebra of FRR 8 and 9 hears of links and of addresses by different threads, and forgets an address that it
// hears of before its link, for ever (FRR's issues 13288, 13630). After a second it knows all links.
void HostPath::tick(uint64_t now_ms) {
  constexpr uint64_t kPauseMs = 1000;
  if (std::exchange(has_new_addresses_, false)) repeat_at_ms_ = now_ms + kPauseMs;
  if (repeat_at_ms_ == 0 || now_ms < repeat_at_ms_) return;
  repeat_at_ms_ = 0;
  repeat_addresses();
}

void HostPath::repeat_addresses() {
  for (const auto& device : devices_) {
    if (!std::exchange(device->repeats_addresses, false) || device->is_gone || !device->interface.enabled)
      continue;
    for (const IpPrefix& address : device->interface.addresses)
      report(device->interface.name, kernel_->links.repeat_address(device->link, address));
  }
}

void HostPath::index_devices() {
  by_interface_.clear();
  for (const auto& device : devices_) {
    const size_t index = device->interface.index.value;
    if (index >= by_interface_.size()) by_interface_.resize(index + 1);
    by_interface_[index] = device.get();
  }
}

// By InterfaceIndex; 0 where no device is up.
std::vector<int> HostPath::links_up() const {
  std::vector<int> links;
  for (const Device* device : by_interface_)
    links.push_back(device && device->interface.enabled ? device->link : 0);
  return links;
}

void HostPath::update_import(Plan& plan) {
  if (!kernel_ || !plan.wanted_.import) {
    import_ended_ |= kernel_routes_.has_value();
    kernel_routes_.reset();
    return;
  }
  if (plan.kernel_routes_) kernel_routes_ = std::move(plan.kernel_routes_);
  std::map<int, InterfaceIndex> interfaces;
  for (const auto& device : devices_) interfaces.emplace(device->link, device->interface.index);
  kernel_routes_->set_interfaces(std::move(interfaces));
}

}  // namespace espalier::dataplane
