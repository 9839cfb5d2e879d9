// The logical interfaces as workers see them: part of the immutable snapshot, but for the link state, which
// the main lcore changes in place.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "control/shared/limits.hpp"
#include "control/shared/records.hpp"
#include "dataplane/wire.hpp"

namespace espalier::dataplane {

inline constexpr uint16_t kNoPort = 0xffff;
inline constexpr size_t kMaxPorts = limits::kPorts;

// Link and administrative state; outlives snapshots. Writer: main lcore.
struct LinkState {
  std::atomic<bool> up{false};
};

struct Interface {
  InterfaceIndex index;
  InterfaceKind kind = InterfaceKind::kPort;
  bool enabled = true;
  uint16_t port = kNoPort;  // DPDK port; of a VLAN its parent's; kNoPort for a dummy
  uint16_t vlan_id = 0;     // 0: untagged
  uint32_t mtu_bytes = 1500;
  MacAddress mac{};
  Name name;
  std::vector<Ipv4Prefix> addresses;  // the first is the primary one
  const LinkState* link = nullptr;    // of the port; a dummy's is always up

  bool is_up() const { return enabled && link->up.load(std::memory_order_relaxed); }
  Ipv4Address primary_address() const {
    return addresses.empty() ? Ipv4Address{} : addresses.front().address;
  }
  // The own address that `next_hop` knows as a neighbour's: the first in whose network it is, else the
  // primary one (Linux: inet_select_addr).
  Ipv4Address address_towards(Ipv4Address next_hop) const {
    for (const Ipv4Prefix& own : addresses)
      if (own.contains(next_hop)) return own.address;
    return primary_address();
  }
};

// Immutable after build.
class InterfaceTable {
 public:
  // Interface::index must be the position. Main lcore.
  explicit InterfaceTable(std::vector<Interface> interfaces);
  size_t size() const { return interfaces_.size(); }
  const Interface& operator[](InterfaceIndex i) const { return interfaces_[i.value]; }
  auto begin() const { return interfaces_.begin(); }
  auto end() const { return interfaces_.end(); }

  // The interface that frames of `port` (below kMaxPorts) with `vlan_id` (0: untagged) belong to,
  // kNoInterface if none.
  InterfaceIndex by_wire(uint16_t port, uint16_t vlan_id) const {
    if (vlan_id == 0) return untagged_[port];
    return vlans_[port] ? (*vlans_[port])[vlan_id & 0x0fff] : kNoInterface;
  }
  bool is_own_address(Ipv4Address a) const;
  // The interface whose network contains `a`, the smallest such network if several; kNoInterface if none.
  // Visits all addresses: not for every packet.
  InterfaceIndex connected_to(Ipv4Address a) const;
  // Of all interfaces.
  uint32_t smallest_mtu_bytes() const { return smallest_mtu_bytes_; }

 private:
  using VlanMap = std::array<InterfaceIndex, 4096>;
  std::vector<Interface> interfaces_;
  std::array<InterfaceIndex, kMaxPorts> untagged_;
  std::array<std::unique_ptr<VlanMap>, kMaxPorts> vlans_;
  std::vector<Ipv4Address> own_;  // sorted
  uint32_t smallest_mtu_bytes_ = UINT32_MAX;
};

}  // namespace espalier::dataplane
