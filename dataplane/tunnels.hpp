// The tunnels that are interfaces: GRE (RFC 2784, RFC 2890) and VTI. Immutable, part of the snapshot.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "control/shared/records.hpp"
#include "dataplane/wire.hpp"

namespace espalier::dataplane {

// What a gre interface puts around a packet.
struct GreTunnel {
  InterfaceIndex interface;
  IpAddress local;
  IpAddress remote;
  bool has_key = false;
  be32 key;
  bool protect = false;  // never in clear
  uint8_t ttl = 64;      // 0: the inner packet's

  constexpr uint32_t header_bytes() const { return sizeof(GreHeader) + (has_key ? sizeof key : 0); }
  constexpr uint32_t outer_bytes() const {
    return (local.is_v4() ? sizeof(Ipv4Header) : sizeof(Ipv6Header)) + header_bytes();
  }
};

class TunnelTable {
 public:
  // Main lcore. `interfaces` in the order of their index.
  explicit TunnelTable(std::span<const InterfaceRecord> interfaces);

  // Any thread. Null where the interface is no gre interface.
  const GreTunnel* gre(InterfaceIndex interface) const {
    return gre_of_[interface.value] == kNone ? nullptr : &gre_[gre_of_[interface.value]];
  }
  bool is_vti(InterfaceIndex interface) const { return is_vti_[interface.value]; }
  bool is_tunnel(InterfaceIndex interface) const { return is_vti(interface) || gre(interface) != nullptr; }
  // The tunnel that GRE from `remote` to `local` comes by, null if there is none. `key`: null without one.
  const GreTunnel* find_gre(IpAddress local, IpAddress remote, const be32* key) const;
  bool has_gre() const { return !gre_.empty(); }

 private:
  static constexpr uint16_t kNone = 0xffff;
  std::vector<GreTunnel> gre_;  // sorted by end_of()
  std::vector<uint16_t> gre_of_;
  std::vector<bool> is_vti_;
};

}  // namespace espalier::dataplane
