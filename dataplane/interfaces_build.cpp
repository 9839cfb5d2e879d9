#include "dataplane/interfaces.hpp"

namespace espalier::dataplane {

InterfaceTable::InterfaceTable(std::vector<Interface> interfaces) : interfaces_(std::move(interfaces)) {
  untagged_.fill(kNoInterface);
  for (const Interface& interface : interfaces_) {
    smallest_mtu_bytes_ = std::min(smallest_mtu_bytes_, interface.mtu_bytes);
    for (const Ipv4Prefix& prefix : interface.addresses) own_.push_back(prefix.address);
    if (interface.port >= kMaxPorts) continue;  // a dummy: no frame belongs to it
    if (interface.vlan_id == 0) {
      untagged_[interface.port] = interface.index;
      continue;
    }
    std::unique_ptr<VlanMap>& vlans = vlans_[interface.port];
    if (!vlans) {
      vlans = std::make_unique<VlanMap>();
      vlans->fill(kNoInterface);
    }
    (*vlans)[interface.vlan_id & 0x0fff] = interface.index;
  }
  std::sort(own_.begin(), own_.end());
}

}  // namespace espalier::dataplane
