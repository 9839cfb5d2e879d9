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

enum class InterfaceKind : uint8_t { kPort, kVlan, kDummy, kVti, kGre };

inline constexpr uint16_t kMssToPathMtu = 0xffff;

struct InterfaceRecord {
  InterfaceIndex index;  // unique; a VLAN's parent comes before it
  InterfaceKind kind = InterfaceKind::kPort;
  uint8_t enabled = 1;
  InterfaceIndex parent = kNoInterface;  // kVlan: the port
  uint16_t vlan_id = 0;                  // kVlan: 1..4094
  uint32_t mtu_bytes = 1500;             // of the IP packet
  uint16_t mss_clamp_bytes = 0;  // of TCP SYNs in and out; 0: none, kMssToPathMtu: what the way out bears
  uint8_t dad = 1;               // kPort, kVlan: duplicate address detection (RFC 4862 section 5.4)
  // kGre (RFC 2784, 2890), both ends of one family. kVti: what its SAs must have, unspecified for any.
  uint8_t protect = 0;  // kGre: never in clear, in or out
  uint8_t ttl = 64;     // kGre: of the outer header; 0: that of the inner packet, and its DF
  uint8_t has_key = 0;
  uint8_t reserved[2] = {};
  uint32_t key = 0;
  IpAddress local;
  IpAddress remote;
  Name name;                // "eth0", "eth1.201"
  FixedString<191> device;  // kPort: PCI address or vdev string, "net_af_packet,iface=veth0"
};

struct AddressRecord {
  InterfaceIndex interface;
  IpPrefix prefix;  // the address with its host bits
  uint8_t reserved = 0;
};

enum class RouteKind : uint8_t { kNextHop, kBlackhole, kUnreachable, kProhibit };

struct NextHop {
  IpAddress via;                            // unspecified: the destination itself is on the interface's link
  InterfaceIndex interface = kNoInterface;  // that `via` is on
};

struct RouteRecord {
  static constexpr size_t kMaxNextHops = 8;
  RouteIndex index;
  RouteKind kind = RouteKind::kNextHop;
  uint8_t imported = 0;        // from the host's kernel, not from the configuration
  uint8_t next_hop_count = 0;  // kNextHop: 1..kMaxNextHops; a flow keeps to one of them
  IpPrefix prefix;
  uint32_t metric = 0;  // among routes of one prefix the lowest that is usable
  NextHop next_hops[kMaxNextHops];
};

struct NeighborRecord {
  InterfaceIndex interface;
  IpAddress address;
  MacAddress mac{};
};

enum class NatKind : uint8_t { kSource, kDestination };
enum class NatTranslation : uint8_t { kExclude, kAddress, kRange, kMasquerade, kPrefix };
// What `-m policy --pol` asks. Source rules: whether an out policy was found before source NAT; destination
// rules: whether the packet was decrypted.
enum class IpsecMatch : uint8_t { kAny, kNone, kIpsec };

// What a rule compares: an inclusive address range, so that a prefix, an address and a range are one.
struct NatMatch {
  IpAddress low;
  IpAddress high;
  uint8_t negate = 0;  // VyOS's "!192.0.2.0/24"
  uint8_t reserved = 0;
  PortRange ports;
  constexpr bool matches(IpAddress a, uint16_t port) const {
    const bool inside = low.host() <= a.host() && a.host() <= high.host();
    return inside != (negate != 0) && ports.contains(port);
  }
  static constexpr NatMatch any(Family family) {
    return {.low = IpPrefix::any(family).network(), .high = IpPrefix::any(family).last(), .ports = {}};
  }
};

struct NatRuleRecord {
  uint32_t index = 0;   // position among the rules of its kind; rules are consulted in this order
  uint32_t number = 0;  // the operator's number
  NatKind kind = NatKind::kSource;
  Family family = Family::kIpv4;  // packets of the other never match
  NatTranslation translation = NatTranslation::kExclude;
  IpsecMatch ipsec = IpsecMatch::kAny;
  uint8_t protocol = kProtoAny;
  uint8_t has_port_range = 0;               // translate ports into `ports`
  uint8_t local_output = 0;                 // kDestination: for packets of the gateway itself, and no others
  uint8_t prefix_length = 0;                // kPrefix: of 128; the other bits stay
  InterfaceIndex interface = kNoInterface;  // source: outbound, destination: inbound; kNoInterface: any
  NatMatch source;
  NatMatch destination;
  IpAddress address_low;  // kAddress, kRange: inclusive; kPrefix: the network
  IpAddress address_high;
  PortRange ports;  // with has_port_range
  uint8_t reserved[2] = {};
};

enum class Direction : uint8_t { kOut, kIn, kFwd };
enum class PolicyAction : uint8_t { kProtect, kBypass, kDiscard };

enum class EspMode : uint8_t { kTunnel, kTransport };
enum class TemplateLevel : uint8_t { kRequired, kUse };

// RFC 4301 section 4.4.1; `ip xfrm policy`'s tmpl. Unspecified addresses, reqid 0 and SPI 0 match any.
struct PolicyTemplate {
  IpAddress source;  // tunnel mode: outer
  IpAddress destination;
  Reqid reqid;
  Spi spi;
  EspMode mode = EspMode::kTunnel;
  TemplateLevel level = TemplateLevel::kRequired;
  uint8_t reserved[2] = {};
};

struct PolicyRecord {
  static constexpr size_t kMaxTemplates = 4;
  PolicyIndex index;  // also the age: among equal priorities the lowest index wins
  Direction direction = Direction::kOut;
  PolicyAction action = PolicyAction::kProtect;
  uint8_t templates = 0;  // kProtect: 1..kMaxTemplates; applied in order, the first to the packet itself
  uint8_t reserved = 0;
  uint32_t priority = 0;  // the lowest number wins
  Selector selector;
  InterfaceIndex interface = kNoInterface;  // kOut: the egress interface; kNoInterface: any
  InterfaceIndex vti = kNoInterface;        // decides this VTI's packets only; kNoInterface: all others
  PolicyTemplate tmpl[kMaxTemplates];
  Name name;  // for the operator: tunnel or "policy 3"
};

enum class EspCipher : uint8_t { kNull, kAesCbc, kAesGcm, kChaCha20Poly1305 };
enum class EspIntegrity : uint8_t { kNone, kHmacSha1, kHmacSha256, kHmacSha384, kHmacSha512 };

// What an SA encrypts and authenticates with. Which combinations exist: record_check.hpp.
struct EspAlgorithm {
  EspCipher cipher = EspCipher::kAesGcm;
  EspIntegrity integrity = EspIntegrity::kNone;  // kNone with AEAD only
  uint8_t key_bytes = 16;                        // of the cipher, without salt
  uint8_t icv_bytes = 16;
  friend constexpr bool operator==(EspAlgorithm, EspAlgorithm) = default;

  constexpr bool is_aead() const {
    return cipher == EspCipher::kAesGcm || cipher == EspCipher::kChaCha20Poly1305;
  }
  // RFC 2404 section 3, RFC 4868 section 2.1.1: the key is as long as the hash.
  constexpr size_t auth_key_bytes() const {
    switch (integrity) {
      case EspIntegrity::kNone:
        return 0;
      case EspIntegrity::kHmacSha1:
        return 20;
      case EspIntegrity::kHmacSha256:
        return 32;
      case EspIntegrity::kHmacSha384:
        return 48;
      case EspIntegrity::kHmacSha512:
        return 64;
    }
    return 0;
  }
  constexpr size_t salt_bytes() const { return is_aead() ? 4 : 0; }
  // On the wire: RFC 3602 section 3, RFC 4106 section 3.1, RFC 7634 section 2.
  constexpr uint32_t iv_bytes() const { return cipher == EspCipher::kAesCbc ? 16 : is_aead() ? 8 : 0; }
  constexpr uint32_t align_bytes() const { return cipher == EspCipher::kAesCbc ? 16 : 4; }
};
inline constexpr size_t kSaltBytes = 4;
inline constexpr size_t kMaxKeyBytes = 32;
inline constexpr size_t kMaxAuthKeyBytes = 64;

enum SaFlags : uint32_t {
  kSaStaticKey = 1,       // from the configuration: the key outlives the vault, numbers are reserved on disk
  kSaNoEcn = 2,           // flag noecn
  kSaDecapDscp = 4,       // flag decap-dscp
  kSaNoPmtuDisc = 8,      // flag nopmtudisc
  kSaDontEncapDscp = 16,  // extra-flag dont-encap-dscp
  kSaHasSelector = 32,    // `selector` limits what the SA carries
  kSaEsn = 64,            // 64-bit sequence numbers (RFC 4303 section 2.2.1)
  kSaEncap = 128,         // ESP in UDP (RFC 3948)
  kSaMapping = 256,       // inbound with kSaEncap: the peer's outer address may change as its NAT's does
};

inline constexpr uint32_t kMaxReplayWindow = 65536;

// RFC 4301 section 4.4.2.1 "lifetime"; 0: no limit. The packet that passes a hard limit is dropped, and the
// SA is not used any more.
struct SaLimits {
  uint64_t soft_packets = 0, hard_packets = 0;
  uint64_t soft_bytes = 0, hard_bytes = 0;      // of what is inside the ESP
  uint64_t soft_seconds = 0, hard_seconds = 0;  // since it was installed
  friend constexpr bool operator==(const SaLimits&, const SaLimits&) = default;
};

// One ESP security association (RFC 4301 section 4.4.2.1).
struct SaRecord {
  Spi spi;                                // 256 .. 2^32-1
  Direction direction = Direction::kOut;  // kOut or kIn
  EspMode mode = EspMode::kTunnel;
  uint8_t reserved[2] = {};
  EspAlgorithm algorithm;
  Reqid reqid;
  uint32_t flags = 0;              // SaFlags
  uint32_t replay_window = 32;     // packets, 0 (no check) .. 65536; inbound
  IpAddress source;                // outer
  IpAddress destination;           // outer
  uint16_t encap_source_port = 0;  // kSaEncap; host order
  uint16_t encap_destination_port = 0;
  uint16_t keepalive_s = 0;           // kSaEncap, outbound: RFC 3948 section 2.3; 0: none
  InterfaceIndex vti = kNoInterface;  // inbound: where its packets come in; outbound: used by it only
  uint64_t last_sequence = 0;         // a new key starts behind it (`replay-oseq`, `replay-seq`)
  SaLimits limits;
  Selector selector;               // with kSaHasSelector
  uint8_t key[kMaxKeyBytes] = {};  // algorithm.key_bytes of them
  uint8_t salt[kSaltBytes] = {};   // AEAD
  uint8_t auth_key[kMaxAuthKeyBytes] = {};
  Name name;  // for the operator
};

// Settings of the dataplane as a whole that can change while it runs.
struct SettingsRecord {
  enum class Sessions : uint8_t { kAuto, kAlways };
  Sessions sessions = Sessions::kAuto;
  uint8_t busy_poll = 0;  // 1: never sleep
  uint8_t ike = 0;  // 1: UDP to the gateway's ports 500 and 4500 is for the IKE process (messages_ike.hpp)
  uint32_t icmp_errors_per_second = 1000;  // 0: not limited
  uint32_t session_limit = 262144;         // at most what the table was made for
  uint8_t host_path = 0;                   // 1: a TAP for each interface
  FixedString<63> host_namespace{};        // of the TAPs; empty: the dataplane's own
  // Routes of the host's kernel (rtnetlink): taken over from `import_table` if `import_routes` is set; those
  // of the protocols (rtm_protocol) whose bit is set.
  uint8_t import_routes = 0;
  uint32_t import_table = 254;
  uint64_t import_protocols[4] = {};
  // Timeouts in seconds, nf_conntrack's names and defaults.
  uint32_t tcp_syn_sent_s = 120, tcp_syn_recv_s = 60, tcp_established_s = 432000, tcp_fin_wait_s = 120,
           tcp_close_wait_s = 60, tcp_last_ack_s = 30, tcp_time_wait_s = 120, tcp_close_s = 10,
           tcp_unacknowledged_s = 300;
  uint32_t udp_s = 30, udp_stream_s = 120, icmp_s = 30, generic_s = 600;
};

}  // namespace espalier
