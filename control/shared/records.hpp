// The table entries that the control plane compiles from a configuration and the dataplane installs:
// interfaces, addresses, routes, neighbours, NAT rules, policies, SAs. Values only, trivially copyable, fixed
// size; they are the payload of ring messages (messages.hpp) and, for SAs, of the vault (vault.hpp).
//
// Nothing here has been validated by being of this type: a receiver calls validate() of record_check.hpp.
#pragma once

#include <algorithm>
#include <string_view>

#include "control/shared/types.hpp"

namespace espalier {

// A string of at most N bytes without terminator; longer input is refused by assign().
template <size_t N>
struct FixedString {
  static_assert(N < 256);
  uint8_t length = 0;
  char bytes[N] = {};
  bool assign(std::string_view text) {
    if (text.size() > N) return false;
    length = static_cast<uint8_t>(text.size());
    std::copy(text.begin(), text.end(), bytes);
    return true;
  }
  std::string_view view() const { return {bytes, std::min<size_t>(length, N)}; }
};
using Name = FixedString<31>;

enum class InterfaceKind : uint8_t { kPort, kVlan, kDummy };

struct InterfaceRecord {
  InterfaceIndex index;  // unique; a VLAN's parent comes before it
  InterfaceKind kind = InterfaceKind::kPort;
  uint8_t enabled = 1;
  InterfaceIndex parent = kNoInterface;  // kVlan: the port
  uint16_t vlan_id = 0;                  // kVlan: 1..4094
  uint32_t mtu_bytes = 1500;             // of the IP packet
  Name name;                             // "eth0", "eth1.201"
  FixedString<191> device;               // kPort: PCI address or vdev string, "net_af_packet,iface=veth0"
};

struct AddressRecord {
  InterfaceIndex interface;
  Ipv4Prefix prefix;  // the address with its host bits
};

enum class RouteKind : uint8_t { kNextHop, kInterface, kBlackhole, kUnreachable, kProhibit };

struct RouteRecord {
  RouteIndex index;
  RouteKind kind = RouteKind::kNextHop;
  Ipv4Prefix prefix;
  Ipv4Address via;                          // kNextHop
  InterfaceIndex interface = kNoInterface;  // kNextHop: the connected interface that `via` is on; kInterface
};

struct NeighborRecord {
  InterfaceIndex interface;
  Ipv4Address address;
  MacAddress mac{};
};

enum class NatKind : uint8_t { kSource, kDestination };
enum class NatTranslation : uint8_t { kExclude, kAddress, kRange, kMasquerade };

// What a rule compares: inclusive address range in host order, so that a prefix, an address and a range are
// one.
struct NatMatch {
  uint32_t low = 0;
  uint32_t high = 0xffffffff;
  uint8_t negate = 0;  // VyOS's "!192.0.2.0/24"
  PortRange ports;
  constexpr bool matches(Ipv4Address a, uint16_t port) const {
    const bool inside = low <= a.host() && a.host() <= high;
    return inside != (negate != 0) && ports.contains(port);
  }
};

struct NatRuleRecord {
  uint32_t index = 0;   // position among the rules of its kind; rules are consulted in this order
  uint32_t number = 0;  // the operator's number
  NatKind kind = NatKind::kSource;
  NatTranslation translation = NatTranslation::kExclude;
  uint8_t protocol = kProtoAny;
  uint8_t has_port_range = 0;               // translate ports into `ports`
  InterfaceIndex interface = kNoInterface;  // source: outbound, destination: inbound; kNoInterface: any
  NatMatch source;
  NatMatch destination;
  uint32_t address_low = 0;  // kAddress, kRange: host order, inclusive
  uint32_t address_high = 0;
  PortRange ports;  // with has_port_range
};

enum class Direction : uint8_t { kOut, kIn, kFwd };
enum class PolicyAction : uint8_t { kProtect, kBypass, kDiscard };

// RFC 4301 section 4.4.1; `ip xfrm policy`'s tmpl. Zero addresses and reqid 0 match any.
struct PolicyTemplate {
  Ipv4Address source;
  Ipv4Address destination;
  Reqid reqid;
};

struct PolicyRecord {
  PolicyIndex index;  // also the age: among equal priorities the lowest index wins
  Direction direction = Direction::kOut;
  PolicyAction action = PolicyAction::kProtect;
  uint8_t templates = 0;  // 0 or 1
  uint32_t priority = 0;  // the lowest number wins
  Selector selector;
  PolicyTemplate tmpl;
  Name name;  // for the operator: tunnel or "policy 3"
};

enum class EspAlgorithm : uint8_t { kAes128Gcm16, kAes192Gcm16, kAes256Gcm16 };

// Key bytes without the 4-byte salt (RFC 4106 section 8.1).
constexpr size_t key_bytes(EspAlgorithm a) {
  switch (a) {
    case EspAlgorithm::kAes128Gcm16:
      return 16;
    case EspAlgorithm::kAes192Gcm16:
      return 24;
    case EspAlgorithm::kAes256Gcm16:
      return 32;
  }
  return 0;
}
inline constexpr size_t kSaltBytes = 4;
inline constexpr size_t kMaxKeyBytes = 32;

enum SaFlags : uint32_t {
  kSaStaticKey = 1,       // from the configuration: the key outlives the vault, numbers are reserved on disk
  kSaNoEcn = 2,           // flag noecn
  kSaDecapDscp = 4,       // flag decap-dscp
  kSaNoPmtuDisc = 8,      // flag nopmtudisc
  kSaDontEncapDscp = 16,  // extra-flag dont-encap-dscp
  kSaHasSelector = 32,    // `selector` limits what the SA carries
};

inline constexpr uint32_t kMaxReplayWindow = 65536;

// One ESP security association in tunnel mode (RFC 4301 section 4.4.2.1).
struct SaRecord {
  Spi spi;                                // 256 .. 2^32-1
  Direction direction = Direction::kOut;  // kOut or kIn
  EspAlgorithm algorithm = EspAlgorithm::kAes128Gcm16;
  uint8_t reserved[2] = {};
  Reqid reqid;
  uint32_t flags = 0;              // SaFlags
  uint32_t replay_window = 32;     // packets, 0 (no check) .. 65536; inbound
  Ipv4Address source;              // outer
  Ipv4Address destination;         // outer
  Selector selector;               // with kSaHasSelector
  uint8_t key[kMaxKeyBytes] = {};  // key_bytes(algorithm) of them
  uint8_t salt[kSaltBytes] = {};
  Name name;  // for the operator
};

// Settings of the dataplane as a whole that can change while it runs.
struct SettingsRecord {
  enum class Sessions : uint8_t { kAuto, kAlways };
  Sessions sessions = Sessions::kAuto;
  uint8_t busy_poll = 0;                   // 1: never sleep
  uint32_t icmp_errors_per_second = 1000;  // 0: not limited
  uint32_t session_limit = 262144;         // at most what the table was made for
  // Timeouts in seconds, nf_conntrack's names and defaults.
  uint32_t tcp_syn_sent_s = 120, tcp_syn_recv_s = 60, tcp_established_s = 432000, tcp_fin_wait_s = 120,
           tcp_close_wait_s = 60, tcp_last_ack_s = 30, tcp_time_wait_s = 120, tcp_close_s = 10,
           tcp_unacknowledged_s = 300;
  uint32_t udp_s = 30, udp_stream_s = 120, icmp_s = 30, generic_s = 600;
};

}  // namespace espalier
