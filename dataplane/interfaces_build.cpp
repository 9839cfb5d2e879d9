#include <algorithm>

#include "dataplane/interfaces.hpp"
#include "dataplane/link_local.hpp"

namespace espalier::dataplane {
namespace {

using SharedState = std::shared_ptr<std::atomic<AddressState>>;

const OwnAddress* find(const Interface& interface, IpAddress address) {
  const auto found = std::ranges::find(interface.addresses, address, &OwnAddress::address);
  return found == interface.addresses.end() ? nullptr : &*found;
}

void add_link_local(Interface& interface) {
  const auto is_link_local = [](const OwnAddress& own) { return own.address().is_link_local(); };
  if (interface.has_wire() && interface.has_ipv6() &&
      std::ranges::none_of(interface.addresses, is_link_local))
    interface.addresses.push_back(IpPrefix::of(eui64_link_local(interface.mac), kLinkLocalLength));
}

// An address that was checked, or is being checked, is not checked again.
SharedState state_of(const Interface& interface, const OwnAddress& own, const Interface* before) {
  if (own.address().is_v4() || !interface.has_wire()) return nullptr;
  if (!interface.dad) return nullptr;
  const OwnAddress* const known = before ? find(*before, own.address()) : nullptr;
  if (known && known->state) return known->state;
  return std::make_shared<std::atomic<AddressState>>(known ? AddressState::kUsable
                                                           : AddressState::kTentative);
}

}  // namespace

InterfaceTable::InterfaceTable(std::vector<Interface> interfaces, const InterfaceTable* before)
    : interfaces_(std::move(interfaces)) {
  untagged_.fill(kNoInterface);
  for (Interface& interface : interfaces_) {
    complete_addresses(interface, before);
    smallest_mtu_bytes_ = std::min(smallest_mtu_bytes_, interface.mtu_bytes);
    index_wire(interface);
  }
  for (const Interface& interface : interfaces_)
    for (const OwnAddress& own : interface.addresses) own_.push_back({own.address(), &own});
  std::ranges::sort(own_, {}, &Own::address);
}

void InterfaceTable::complete_addresses(Interface& interface, const InterfaceTable* before) const {
  const bool stays = before != nullptr && interface.index.value < before->size() &&
                     is_same_interface((*before)[interface.index], interface);
  add_link_local(interface);
  for (OwnAddress& own : interface.addresses)
    own.state = state_of(interface, own, stays ? &(*before)[interface.index] : nullptr);
}

// Where frames come in; what is no port and no VLAN has none.
void InterfaceTable::index_wire(const Interface& interface) {
  if (interface.port >= kMaxPorts) return;
  if (interface.vlan_id == 0) {
    untagged_[interface.port] = interface.index;
    return;
  }
  std::unique_ptr<VlanMap>& vlans = vlans_[interface.port];
  if (!vlans) {
    vlans = std::make_unique<VlanMap>();
    vlans->fill(kNoInterface);
  }
  (*vlans)[interface.vlan_id & 0x0fff] = interface.index;
}

}  // namespace espalier::dataplane
