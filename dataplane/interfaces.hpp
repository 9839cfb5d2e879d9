// The logical interfaces as workers see them: part of the immutable snapshot, but for two things that the
// main lcore changes in place: whether a link is up, and whether an IPv6 address may be used yet (duplicate
// address detection, neighbor_resolver.hpp).
#pragma once

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

// RFC 4862 section 5.4. Only an address that is usable is ours: it is a source, is answered for and takes
// packets.
enum class AddressState : uint8_t {
  kUsable,
  kTentative,  // not known yet whether somebody else has it
  kDuplicate,  // somebody else has it
};

struct OwnAddress {
  IpPrefix prefix;  // the address with its host bits
  // Lives on from table to table. Null: usable without being checked. Writer: main lcore.
  std::shared_ptr<std::atomic<AddressState>> state;

  OwnAddress(IpPrefix p) : prefix(p) {}  // NOLINT: every prefix may be an interface's
  const IpAddress& address() const { return prefix.address; }
  bool is_usable() const {
    return state == nullptr || state->load(std::memory_order_relaxed) == AddressState::kUsable;
  }
};

struct Interface {
  InterfaceIndex index;
  InterfaceKind kind = InterfaceKind::kPort;
  bool enabled = true;
  bool protect = false;     // kGre: InterfaceRecord::protect
  bool dad = true;          // kPort, kVlan: InterfaceRecord::dad
  uint16_t port = kNoPort;  // DPDK port; of a VLAN its parent's; kNoPort for what has no wire
  uint16_t vlan_id = 0;     // 0: untagged
  uint32_t mtu_bytes = 1500;
  uint16_t mss_clamp_bytes = 0;  // InterfaceRecord::mss_clamp_bytes
  MacAddress mac{};
  Name name;
  std::vector<OwnAddress> addresses;  // of both families; the first of a family is its primary one
  const LinkState* link = nullptr;    // of the port; a dummy's is always up; a VTI's is up while it has SAs

  bool is_up() const { return enabled && link->up.load(std::memory_order_relaxed); }
  // Whether it speaks Ethernet: has neighbours, a MAC address, frames.
  bool has_wire() const { return port != kNoPort; }
  // Whether losing it must not lead packets elsewhere (fib.hpp).
  bool fails_closed() const {
    return kind == InterfaceKind::kVti || (kind == InterfaceKind::kGre && protect);
  }

  // The following walk `addresses`: for first packets and the main lcore.
  bool has_ipv6() const;
  // One of its own, and usable.
  bool has_address(IpAddress address) const;
  // Whether `address` is in one of its networks.
  bool has_network_with(IpAddress address) const;
  // An IPv6 group that the gateway itself is a member of here: all nodes, all routers, and the solicited-node
  // groups of its addresses, usable or not.
  bool hears(IpAddress group) const;
  // The own address, of the destination's family, to speak to `destination` with; unspecified if none is
  // usable. As Linux: for IPv4 the first in whose network it is, else the primary one (inet_select_addr); for
  // IPv6 by rules 1, 2 and 8 of RFC 6724 section 5: itself, a scope that reaches it, the longest common
  // prefix, and of equal ones the last (Linux puts a new address before those of its scope).
  IpAddress address_towards(IpAddress destination) const;
};

// Immutable after build.
class InterfaceTable {
 public:
  // Interface::index must be the position. `before`: the table that this one follows; what is known about the
  // addresses of interfaces that stay (is_same_interface) is taken over. Other IPv6 addresses begin tentative
  // where they are to be checked. A port or VLAN with IPv6 addresses, none of them link-local, is given the
  // one of its MAC address (RFC 4291 section 2.8: each interface has one). Main lcore.
  explicit InterfaceTable(std::vector<Interface> interfaces, const InterfaceTable* before = nullptr);
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
  // A usable address of any interface.
  bool is_own_address(IpAddress a) const;
  // The same for a packet of the link `on`: a link-local address means something on its own link only, every
  // other one is ours wherever packets come in (Linux's weak host model). kNoInterface: any link.
  bool is_own_address(IpAddress a, InterfaceIndex on) const {
    return a.is_link_local() && on != kNoInterface ? (*this)[on].has_address(a) : is_own_address(a);
  }
  // The interface whose network contains `a`, the smallest such network if several; kNoInterface if none, and
  // for link-local addresses, which are in everybody's. Visits all addresses: not for every packet.
  InterfaceIndex connected_to(IpAddress a) const;
  // Interface::address_towards() of `out`; where that has none that reaches `destination`, the first other
  // interface's, so that errors and masqueraded packets of interfaces without addresses have a source.
  IpAddress address_towards(InterfaceIndex out, IpAddress destination) const;
  // Of all interfaces.
  uint32_t smallest_mtu_bytes() const { return smallest_mtu_bytes_; }

 private:
  using VlanMap = std::array<InterfaceIndex, 4096>;
  struct Own {
    IpAddress address;
    const OwnAddress* entry;
  };
  void complete_addresses(Interface& interface, const InterfaceTable* before) const;
  void index_wire(const Interface& interface);

  std::vector<Interface> interfaces_;
  std::array<InterfaceIndex, kMaxPorts> untagged_;
  std::array<std::unique_ptr<VlanMap>, kMaxPorts> vlans_;
  std::vector<Own> own_;  // sorted by address
  uint32_t smallest_mtu_bytes_ = UINT32_MAX;
};

// Whether two tables' interfaces of one index are the same to the outside: what was learned on it still
// holds.
inline bool is_same_interface(const Interface& a, const Interface& b) {
  return a.name.view() == b.name.view() && a.port == b.port && a.vlan_id == b.vlan_id && a.mac == b.mac;
}

}  // namespace espalier::dataplane
