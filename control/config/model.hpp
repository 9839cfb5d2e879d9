// A configuration file as it was meant: every keyword in a type of its own, every element with its line.
// Built by the parsers (parse.hpp), which leave nothing out of range; what refers to what is held against
// each other in validate.hpp. Both address families and everything that the language knows are here, whether
// or not this version's dataplane can run it (capabilities.hpp).
#pragma once

#include <fmt/format.h>

#include <bitset>
#include <optional>
#include <string>
#include <vector>

#include "control/config/address.hpp"
#include "control/config/secret.hpp"
#include "control/config/vocabulary.hpp"

namespace espalier::config {

template <class T>
struct Located {
  T value{};
  int line = 0;
};

struct Dataplane {
  int line = 0;
  uint32_t workers = 1;
  std::vector<uint16_t> cores;  // empty: all but the first
  bool busy_poll = false;
  Memory memory = Memory::kAuto;
  uint32_t sessions = 262144;  // capacity of the session table
  bool host_path = false;
  Located<std::string> host_namespace;  // of the TAPs; empty: the dataplane's own
};

// Interfaces in file order; a vif follows its parent as an interface of its own, "eth1.201".
struct Interface {
  int line = 0;
  std::string name;
  InterfaceType type = InterfaceType::kEthernet;
  std::optional<size_t> parent;  // kVif: index of the parent
  uint16_t vlan_id = 0;          // kVif
  std::string device;            // kEthernet: PCI address or vdev string
  std::vector<Located<IpPrefix>> addresses;
  uint32_t mtu = 1500;
  bool disable = false;
  bool dad = true;                // duplicate address detection
  uint16_t mss_clamp = 0;         // as in InterfaceRecord
  IpAddress local_ip, remote_ip;  // kGre; kVti: both or none
  std::optional<uint32_t> gre_key;
  uint8_t ttl = 64;      // kGre; 0: the inner packet's
  bool protect = false;  // kGre: never in clear
  std::string description;
};

struct Route {
  int line = 0;
  IpPrefix prefix;
  RouteKind kind = RouteKind::kNextHop;
  std::vector<Located<IpAddress>> via;  // kNextHop: empty, the destination is on the interface's link
  Located<std::string> interface;       // kNextHop: optional with `via`
  uint32_t metric = 0;
};

// Which routes of the host's kernel are taken over.
struct RouteImport {
  int line = 0;
  uint32_t table = 254;
  std::bitset<256> protocols;  // rtm_protocol
};

struct Neighbor {
  int line = 0;
  Located<std::string> interface;
  IpAddress address;
  MacAddress mac{};
};

struct NatAddresses {
  AddressRange address;
  PortRange ports;
};

struct NatRule {
  int line = 0;
  NatKind kind = NatKind::kSource;
  Family family = Family::kIpv4;  // kIpv4: of `nat`, kIpv6: of `nat66`
  uint32_t number = 0;
  Located<std::string> interface;  // "any", the name of one, or "local" in destination rules
  IpsecMatch ipsec = IpsecMatch::kAny;
  NatProtocol protocol;
  NatAddresses source, destination;
  NatTranslation action = NatTranslation::kExclude;
  AddressRange translation;  // kAddress, kRange, kPrefix
  std::optional<PortRange> translation_port;
  bool disable = false;
  std::string description;
};

// "nat66.source rule 10"
inline std::string path_of(const NatRule& rule) {
  return fmt::format("{}.{} rule {}", rule.family == Family::kIpv4 ? "nat" : "nat66",
                     rule.kind == NatKind::kSource ? "source" : "destination", rule.number);
}

struct NatTimeouts {  // seconds; nf_conntrack's names and defaults
  uint32_t tcp_syn_sent = 120, tcp_syn_recv = 60, tcp_established = 432000, tcp_fin_wait = 120,
           tcp_close_wait = 60, tcp_last_ack = 30, tcp_time_wait = 120, tcp_close = 10,
           tcp_unacknowledged = 300, udp = 30, udp_stream = 120, icmp = 30, generic = 600;
};

struct Nat {
  std::vector<NatRule> source, destination;  // those of IPv4 before those of IPv6, each in number order
  bool always_track = false;
  std::optional<uint32_t> session_limit;
  int session_limit_line = 0;
  NatTimeouts timeouts;
};

struct Template {
  int line = 0;
  PolicyTemplate record;  // unspecified addresses: any
};

struct Policy {
  int line = 0;
  std::string name;
  Direction direction = Direction::kOut;
  Selector selector;
  Located<std::string> interface;  // kOut: the egress interface
  uint32_t priority = 0;
  PolicyAction action = PolicyAction::kProtect;
  std::vector<Template> templates;
  Located<std::string> vti;
  bool has_limit = false;
};

struct UdpEncapsulation {
  uint16_t source_port = 4500, destination_port = 4500;
  uint16_t keepalive_s = 0;
  bool mapping = false;
};

struct State {
  int line = 0;
  std::string name;
  uint32_t spi = 0;
  Direction direction = Direction::kOut;  // kOut or kIn
  IpAddress source, destination;
  uint32_t reqid = 0;
  EspMode mode = EspMode::kTunnel;
  const Cipher* cipher = nullptr;        // never null after parsing without error
  const Integrity* integrity = nullptr;  // null with an AEAD
  EspAlgorithm algorithm;                // what both are together
  Secret key;                            // with the 4-byte salt where the cipher has one
  Secret auth_key;
  bool esn = false;
  uint32_t replay_window = 32;
  uint64_t last_sequence = 0;
  uint32_t flags = 0;  // SaFlags, and kAfUnspec
  std::optional<UdpEncapsulation> encap;
  std::optional<Selector> selector;
  Located<std::string> vti;
  SaLimits limits;
};

// The name of a state that was given none.
inline std::string default_name(const State& state) {
  return fmt::format("state 0x{:x}", state.spi);
}

struct Proposal {
  int line = 0;
  uint32_t number = 0;
  const Cipher* cipher = nullptr;
  Located<const Integrity*> hash;  // null: none
  const Prf* prf = nullptr;        // IKE only; null: none
  uint32_t dh_group = 0;           // IKE only
};

enum class Pfs : uint8_t { kIkeGroup, kDisable, kGroup };

struct EspGroup {
  int line = 0;
  std::string name;
  uint32_t lifetime = 3600;
  std::optional<uint64_t> life_bytes, life_packets;
  EspMode mode = EspMode::kTunnel;
  Pfs pfs = Pfs::kIkeGroup;
  uint32_t pfs_group = 0;  // kGroup
  int pfs_line = 0;
  bool disable_rekey = false;
  std::vector<Proposal> proposals;  // in number order
};

struct DeadPeerDetection {
  int line = 0;
  DpdAction action = DpdAction::kClear;
  uint32_t interval = 30, timeout = 120;
};

struct IkeGroup {
  int line = 0;
  std::string name;
  uint32_t lifetime = 28800;  // 0: no rekeying
  CloseAction close_action = CloseAction::kNone;
  std::optional<DeadPeerDetection> dpd;
  bool disable_mobike = false;
  bool reauth = false;
  std::vector<Proposal> proposals;
};

struct Psk {
  int line = 0;
  std::string name;
  std::vector<Located<std::string>> ids;
  Secret secret;  // one of the two
  Located<std::string> secret_file;
};

struct Authentication {
  int line = 0;
  AuthenticationMode mode = AuthenticationMode::kPreSharedSecret;
  std::string local_id, remote_id;  // empty: the address
  bool use_x509_id = false;
  std::string certificate, x509_key, rsa_local_key, rsa_remote_key;  // files
  std::vector<std::string> ca_certificates, revocation_lists;        // files
  Secret passphrase;
};

struct TunnelEnd {
  std::vector<Located<IpPrefix>> prefixes;
  std::optional<uint16_t> port;
};

struct Tunnel {
  int line = 0;
  uint32_t number = 0;
  bool disable = false;
  Located<std::string> esp_group;  // empty: the peer's default
  uint8_t protocol = 0;
  std::optional<uint32_t> priority;
  TunnelEnd local, remote;
};

// Where the peer has tunnels, their SAs are the interface's; otherwise one of its own, for its own selectors.
struct VtiBinding {
  int line = 0;
  Located<std::string> bind;
  Located<std::string> esp_group;
  std::vector<Located<IpPrefix>> local, remote;  // traffic-selector; empty: everything
};

struct Peer {
  int line = 0;
  std::string name;
  bool disable = false;
  std::string description;
  Authentication authentication;
  ConnectionType connection_type = ConnectionType::kRespond;
  int connection_type_line = 0;
  Located<std::string> ike_group;
  Located<std::string> default_esp_group;
  bool force_udp_encapsulation = false;
  std::optional<bool> reauth;                          // nothing: as the IKE group says
  Located<IpAddress> local_address;                    // unspecified: any
  std::vector<Located<std::string>> remote_addresses;  // addresses, host names, "any"
  uint32_t replay_window = 32;
  std::vector<Located<IpAddress>> virtual_addresses;
  std::vector<Tunnel> tunnels;
  std::optional<VtiBinding> vti;
};

struct Vpn {
  int line = 0;  // 0: there is no vpn.ipsec
  std::vector<Located<std::string>> interfaces;
  std::vector<Psk> psks;
  std::vector<EspGroup> esp_groups;
  std::vector<IkeGroup> ike_groups;
  std::vector<Peer> peers;
  bool disable_route_autoinstall = false;
  bool short_lifetimes = false;  // for tests: below VyOS's minimum
  int short_lifetimes_line = 0;
  uint32_t log_level = 0;
  std::vector<std::string> log_subsystems;
};

struct Model {
  Dataplane dataplane;
  std::vector<Interface> interfaces;
  std::vector<Route> routes;
  std::optional<RouteImport> import;
  std::vector<Neighbor> neighbors;
  Nat nat;
  uint32_t icmp_errors_per_second = 1000;  // 0: not limited
  Vpn vpn;
  std::vector<Policy> policies;
  std::vector<State> states;
};

}  // namespace espalier::config
