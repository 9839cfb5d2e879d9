#include "control/shared/record_check.hpp"

#include "control/shared/limits.hpp"
#include "control/shared/statistics.hpp"

namespace espalier::record_check {
namespace {

constexpr uint32_t kMinMtuBytes = 68;  // RFC 791 section 3.2
constexpr uint32_t kMaxMtuBytes = 65535;
constexpr uint16_t kMaxVlanId = 4094;
constexpr uint32_t kMinSpi = 256;              // RFC 4303 section 2.1: 1..255 are reserved
constexpr uint32_t kMaxTimeoutS = 0x7fffffff;  // what nf_conntrack takes
constexpr uint32_t kMaxQueryRows = 4096;
constexpr uint32_t kAllSaFlags =
    kSaStaticKey | kSaNoEcn | kSaDecapDscp | kSaNoPmtuDisc | kSaDontEncapDscp | kSaHasSelector;

// An enum of consecutive values from 0 to `last`. It may hold anything, since it was copied from raw bytes.
template <class Enum>
bool in_range(Enum value, Enum last) {
  return static_cast<uint64_t>(value) <= static_cast<uint64_t>(last);
}

// Interface indices are positions in the statistics segment's arrays.
bool is_interface(InterfaceIndex index) {
  return index.value < statistics::kMaxInterfaces;
}
bool is_interface_or_none(InterfaceIndex index) {
  return index == kNoInterface || is_interface(index);
}

bool is_flag(uint8_t value) {
  return value <= 1;
}

// Control characters in a name would reach the operator's terminal.
bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c != 0x7f; });
}

template <size_t N>
bool is_text(const FixedString<N>& text) {
  return text.length <= N && is_printable(text.view());
}

template <size_t N>
bool is_name(const FixedString<N>& text) {
  return text.length > 0 && is_text(text);
}

bool is_prefix(Ipv4Prefix prefix) {
  return prefix.length <= 32;
}
bool is_network(Ipv4Prefix prefix) {
  return is_prefix(prefix) && prefix.network() == prefix.address;
}
bool is_ordered(PortRange range) {
  return range.low <= range.high;
}

bool is_unicast(Ipv4Address address) {
  return !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
}

// Whether hosts can have all these addresses (host order): not 0/8, 127/8, multicast, 240/4.
bool are_hosts(uint32_t low, uint32_t high) {
  const uint32_t first = low >> 24, last = high >> 24;
  return first != 0 && last < 224 && (last < 127 || first > 127);
}

bool is_unicast(const MacAddress& mac) {
  return (mac[0] & 1) == 0 && mac != MacAddress{};
}

Finding check_selector(const Selector& selector) {
  if (!is_network(selector.source) || !is_network(selector.destination)) return "selector: not a network";
  if (!is_ordered(selector.source_port) || !is_ordered(selector.destination_port))
    return "selector: ports out of order";
  return {};
}

Finding check_match(const NatMatch& match) {
  if (match.low > match.high) return "addresses out of order";
  if (!is_ordered(match.ports)) return "ports out of order";
  if (!is_flag(match.negate)) return "negate is neither 0 nor 1";
  return {};
}

}  // namespace

Finding check(const SettingsRecord& r) {
  if (!in_range(r.sessions, SettingsRecord::Sessions::kAlways)) return "unknown sessions mode";
  if (!is_flag(r.busy_poll)) return "busy_poll is neither 0 nor 1";
  if (r.session_limit == 0 || r.session_limit > limits::kSessions) return "session limit out of range";
  for (const uint32_t timeout : {r.tcp_syn_sent_s, r.tcp_syn_recv_s, r.tcp_established_s, r.tcp_fin_wait_s,
                                 r.tcp_close_wait_s, r.tcp_last_ack_s, r.tcp_time_wait_s, r.tcp_close_s,
                                 r.tcp_unacknowledged_s, r.udp_s, r.udp_stream_s, r.icmp_s, r.generic_s})
    if (timeout == 0 || timeout > kMaxTimeoutS) return "timeout out of range";
  return {};
}

Finding check(const InterfaceRecord& r) {
  if (!is_interface(r.index)) return "interface index out of range";
  if (!in_range(r.kind, InterfaceKind::kDummy)) return "unknown interface kind";
  if (!is_flag(r.enabled)) return "enabled is neither 0 nor 1";
  if (!is_name(r.name)) return "bad interface name";
  if (!is_text(r.device)) return "bad device name";
  if (r.mtu_bytes < kMinMtuBytes || r.mtu_bytes > kMaxMtuBytes) return "MTU out of range";
  if (r.kind == InterfaceKind::kPort && r.device.length == 0) return "port without a device";
  if (r.kind == InterfaceKind::kVlan) {
    if (r.parent == kNoInterface || r.parent >= r.index) return "VLAN does not follow its parent";
    if (r.vlan_id == 0 || r.vlan_id > kMaxVlanId) return "VLAN id out of range";
  } else if (r.parent != kNoInterface || r.vlan_id != 0) {
    return "parent or VLAN id on what is no VLAN";
  }
  return {};
}

Finding check(const AddressRecord& r) {
  if (!is_interface(r.interface)) return "address without interface";
  if (!is_prefix(r.prefix)) return "prefix length over 32";
  if (!is_unicast(r.prefix.address)) return "not a unicast address";
  return {};
}

Finding check(const RouteRecord& r) {
  if (r.index.value >= limits::kRoutes) return "route index out of range";
  if (!is_interface_or_none(r.interface)) return "route: no such interface";
  if (!in_range(r.kind, RouteKind::kProhibit)) return "unknown route kind";
  if (!is_network(r.prefix)) return "route: not a network";
  const bool wants_interface = r.kind == RouteKind::kNextHop || r.kind == RouteKind::kInterface;
  if (wants_interface != (r.interface != kNoInterface)) return "route: interface does not fit its kind";
  if (r.kind == RouteKind::kNextHop && !is_unicast(r.via)) return "route: next hop is not unicast";
  return {};
}

Finding check(const NeighborRecord& r) {
  if (!is_interface(r.interface)) return "neighbour without interface";
  if (!is_unicast(r.address)) return "neighbour: not a unicast address";
  if (!is_unicast(r.mac)) return "neighbour: not a unicast MAC address";
  return {};
}

Finding check(const NatRuleRecord& r) {
  if (!in_range(r.kind, NatKind::kDestination)) return "unknown NAT kind";
  if (r.index >= statistics::kMaxNatRules) return "NAT rule index out of range";
  if (!is_interface_or_none(r.interface)) return "NAT rule: no such interface";
  if (!in_range(r.translation, NatTranslation::kMasquerade)) return "unknown NAT translation";
  if (!is_flag(r.has_port_range)) return "has_port_range is neither 0 nor 1";
  if (auto finding = check_match(r.source)) return finding;
  if (auto finding = check_match(r.destination)) return finding;
  if (!is_ordered(r.ports)) return "ports out of order";
  if (r.has_port_range && r.ports.low == 0) return "translation to port 0";
  if (r.kind == NatKind::kDestination && r.translation == NatTranslation::kMasquerade)
    return "masquerade is for source NAT";
  const bool to_address =
      r.translation == NatTranslation::kAddress || r.translation == NatTranslation::kRange;
  if (to_address && r.address_low > r.address_high) return "addresses out of order";
  if (to_address && !are_hosts(r.address_low, r.address_high))
    return "translation to what is no host's address";
  if (r.translation == NatTranslation::kAddress && r.address_low != r.address_high)
    return "more than one translation address";
  return {};
}

Finding check(const PolicyRecord& r) {
  if (r.index.value >= statistics::kMaxPolicies) return "policy index out of range";
  if (!in_range(r.direction, Direction::kFwd)) return "unknown policy direction";
  if (!in_range(r.action, PolicyAction::kDiscard)) return "unknown policy action";
  if (r.templates > 1) return "more than one template";
  if (r.templates != 0 && r.action != PolicyAction::kProtect) return "template without protect";
  if (r.templates == 0 && r.action == PolicyAction::kProtect) return "protect without template";
  if (!is_text(r.name)) return "bad policy name";
  return check_selector(r.selector);
}

Finding check(const SaRecord& r) {
  if (r.spi.value < kMinSpi) return "SPI below 256";
  if (r.direction != Direction::kOut && r.direction != Direction::kIn)
    return "SA direction is neither out nor in";
  if (!in_range(r.algorithm, EspAlgorithm::kAes256Gcm16)) return "unknown ESP algorithm";
  if ((r.flags & ~kAllSaFlags) != 0) return "unknown SA flag";
  if (r.replay_window > kMaxReplayWindow) return "replay window over 65536";
  if (!is_unicast(r.source) || !is_unicast(r.destination)) return "SA endpoint is not unicast";
  if (!is_text(r.name)) return "bad SA name";
  if ((r.flags & kSaHasSelector) != 0) return check_selector(r.selector);
  return {};
}

Finding check(const message::Query& q) {
  if (!in_range(q.kind, message::QueryKind::kSessions)) return "unknown query";
  if (q.limit == 0 || q.limit > kMaxQueryRows) return "query limit out of range";
  return {};
}

Finding check(const message::Explain& e) {
  if (!is_interface_or_none(e.in)) return "no such interface";
  if (!is_flag(e.dont_fragment) || !is_flag(e.decrypted)) return "flag is neither 0 nor 1";
  if (e.size_bytes < 28) return "packet shorter than its headers";
  if (e.decrypted && e.sa_spi.value < kMinSpi) return "decrypted without an SPI";
  return {};
}

Finding check(const message::Ack& a) {
  if (!is_flag(a.ok)) return "ok is neither 0 nor 1";
  if (!is_text(a.text)) return "bad text";
  return {};
}

Finding check(const message::InterfaceRow& r) {
  if (!is_interface(r.index)) return "interface index out of range";
  if (!is_name(r.name)) return "bad interface name";
  if (!is_flag(r.admin_up) || !is_flag(r.link_up)) return "flag is neither 0 nor 1";
  return {};
}

// Connected routes have no index of the configuration, and on-link ones no next hop.
Finding check(const message::RouteRow& r) {
  if (!in_range(r.record.kind, RouteKind::kProhibit)) return "unknown route kind";
  if (!is_interface_or_none(r.record.interface)) return "route: no such interface";
  if (!is_prefix(r.record.prefix)) return "prefix length over 32";
  if (!is_flag(r.connected) || !is_flag(r.usable)) return "flag is neither 0 nor 1";
  return {};
}

Finding check(const message::NeighborRow& r) {
  if (!is_interface(r.record.interface)) return "neighbour without interface";
  if (!in_range(r.state, message::NeighborState::kPermanent)) return "unknown neighbour state";
  return {};
}

Finding check(const message::SessionRow& r) {
  if (!is_flag(r.assured) || !is_flag(r.seen_reply)) return "flag is neither 0 nor 1";
  return {};
}

Finding check(const message::TextRow& r) {
  if (!is_text(r.stage) || !is_text(r.text)) return "bad text";
  return {};
}

}  // namespace espalier::record_check
