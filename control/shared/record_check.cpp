#include "control/shared/record_check.hpp"

#include "control/shared/limits.hpp"
#include "control/shared/sa_cells.hpp"
#include "control/shared/statistics.hpp"
#include "control/shared/value_check.hpp"

namespace espalier::record_check {
namespace {

constexpr uint32_t kMinMtuBytes = 68;  // RFC 791 section 3.2; an interface without IPv6 may have so little
constexpr uint32_t kMaxMtuBytes = 65535;
constexpr uint16_t kMinMssBytes = 88;
constexpr uint16_t kMaxMssBytes = 9140;
constexpr uint16_t kMaxVlanId = 4094;
constexpr uint32_t kMaxMetric = 0x7fffffff;
constexpr uint32_t kMaxTimeoutS = 0x7fffffff;  // what nf_conntrack takes
constexpr uint32_t kMaxQueryRows = 4096;
constexpr uint32_t kMinIpv4PacketBytes = 28;  // with a UDP or ICMP header
constexpr uint32_t kMinIpv6PacketBytes = 48;
constexpr uint32_t kAllSaFlags = kSaStaticKey | kSaNoEcn | kSaDecapDscp | kSaNoPmtuDisc | kSaDontEncapDscp |
                                 kSaHasSelector | kSaEsn | kSaEncap | kSaMapping;

bool are_of(Family family, const IpAddress& low, const IpAddress& high) {
  return low.family() == family && high.family() == family;
}

// Whether hosts can have all these addresses, which are of one family and in order. Not 0/8, 127/8, multicast
// and 240/4; not ::/16 (::, ::1, IPv4 within IPv6) and multicast.
bool are_hosts(const IpAddress& low, const IpAddress& high) {
  if (!low.is_v4()) return low.high.host() >> 48 != 0 && !high.is_multicast();
  const uint32_t first = low.v4().host() >> 24, last = high.v4().host() >> 24;
  return first != 0 && last < 224 && (last < 127 || first > 127);
}

Finding check_selector(const Selector& selector) {
  if (!is_network(selector.source) || !is_network(selector.destination)) return "selector: not a network";
  if (selector.source.family() != selector.destination.family()) return "selector: two families";
  if (!is_ordered(selector.source_port) || !is_ordered(selector.destination_port))
    return "selector: ports out of order";
  return {};
}

// GRE's endpoints are there, those of a VTI may be, and others have none.
Finding check_tunnel(const InterfaceRecord& r) {
  const bool is_gre = r.kind == InterfaceKind::kGre;
  const bool has_ends = r.local != IpAddress{} || r.remote != IpAddress{};
  if (!is_flag(r.protect) || !is_flag(r.has_key)) return "flag is neither 0 nor 1";
  if (!is_gre && (r.protect || r.has_key || r.key != 0)) return "protect or key on what is no GRE tunnel";
  if (r.key != 0 && !r.has_key) return "GRE key without has_key";
  if (has_ends && !is_gre && r.kind != InterfaceKind::kVti) return "tunnel endpoints on what is no tunnel";
  if (is_gre && !has_ends) return "GRE tunnel without endpoints";
  if (has_ends && !are_unicast_of_one_family(r.local, r.remote))
    return "tunnel endpoints are not two unicast addresses of one family";
  return {};
}

Finding check_next_hop(const NextHop& hop, Family family) {
  if (!is_interface(hop.interface)) return "route: next hop without interface";
  if (hop.via.is_unspecified()) return {};
  if (!is_unicast(hop.via)) return "route: next hop is not unicast";
  if (hop.via.family() != family) return "route: next hop of another family";
  return {};
}

// Of a table's record or a row: what holds for both.
Finding check_route_shape(const RouteRecord& r) {
  if (!in_range(r.kind, RouteKind::kProhibit)) return "unknown route kind";
  if (!is_flag(r.imported)) return "imported is neither 0 nor 1";
  if (r.next_hop_count > RouteRecord::kMaxNextHops) return "route: more than 8 next hops";
  if ((r.next_hop_count != 0) != (r.kind == RouteKind::kNextHop))
    return "route: next hops do not fit its kind";
  if (!is_network(r.prefix)) return "route: not a network";
  for (size_t i = 0; i < r.next_hop_count; ++i)
    if (auto finding = check_next_hop(r.next_hops[i], r.prefix.family())) return finding;
  return {};
}

Finding check_match(const NatMatch& match, Family family) {
  if (!are_of(family, match.low, match.high)) return "addresses of another family than the rule's";
  if (match.low.host() > match.high.host()) return "addresses out of order";
  if (!is_ordered(match.ports)) return "ports out of order";
  if (!is_flag(match.negate)) return "negate is neither 0 nor 1";
  return {};
}

// What a NAT rule translates to.
Finding check_translation(const NatRuleRecord& r) {
  const bool to_prefix = r.translation == NatTranslation::kPrefix;
  const IpPrefix prefix{r.address_low, r.prefix_length};
  if (!to_prefix && r.prefix_length != 0) return "prefix length without a translation to a prefix";
  if (to_prefix && !is_network(prefix)) return "translation to what is no network";
  if (!to_prefix && r.translation != NatTranslation::kAddress && r.translation != NatTranslation::kRange)
    return {};
  const IpAddress high = to_prefix ? prefix.last() : r.address_high;
  if (!are_of(r.family, r.address_low, high)) return "translation to another family";
  if (r.address_low.host() > high.host()) return "addresses out of order";
  if (!are_hosts(r.address_low, high)) return "translation to what is no host's address";
  if (r.translation == NatTranslation::kAddress && r.address_low != high)
    return "more than one translation address";
  return {};
}

Finding check_template(const PolicyTemplate& t, Direction direction) {
  if (!in_range(t.mode, EspMode::kTransport)) return "unknown ESP mode";
  if (!in_range(t.level, TemplateLevel::kUse)) return "unknown template level";
  // Linux refuses it as well: without the SA the tunnel's packets would leave in clear.
  if (t.level == TemplateLevel::kUse && direction == Direction::kOut && t.mode != EspMode::kTransport)
    return "an optional tunnel in an out policy";
  if (t.spi.value != 0 && t.spi.value < kMinSpi) return "template: SPI below 256";
  for (const IpAddress& end : {t.source, t.destination})
    if (!end.is_unspecified() && !is_unicast(end)) return "template: endpoint is not unicast";
  if (!t.source.is_unspecified() && !t.destination.is_unspecified() &&
      t.source.family() != t.destination.family())
    return "template: endpoints of two families";
  return {};
}

Finding check_encap(const SaRecord& r) {
  const bool encap = (r.flags & kSaEncap) != 0;
  if (encap && (r.encap_source_port == 0 || r.encap_destination_port == 0)) return "encap without ports";
  if (!encap && (r.encap_source_port != 0 || r.encap_destination_port != 0)) return "ports without encap";
  if (r.keepalive_s != 0 && (!encap || r.direction != Direction::kOut))
    return "keepalive on what is no outbound SA with encap";
  if ((r.flags & kSaMapping) != 0 && (!encap || r.direction != Direction::kIn))
    return "mapping on what is no inbound SA with encap";
  return {};
}

Finding check_sequence(const SaRecord& r) {
  const bool esn = (r.flags & kSaEsn) != 0;
  if (r.replay_window > kMaxReplayWindow) return "replay window over 65536";
  if (esn && r.direction == Direction::kIn && r.replay_window == 0) return "ESN without a replay window";
  if (r.last_sequence >= sequence_end(esn)) return "no sequence number is left behind the last";
  return {};
}

Finding check_limits(const SaLimits& l) {
  const auto in_order = [](uint64_t soft, uint64_t hard) { return soft == 0 || hard == 0 || soft <= hard; };
  if (!in_order(l.soft_packets, l.hard_packets) || !in_order(l.soft_bytes, l.hard_bytes) ||
      !in_order(l.soft_seconds, l.hard_seconds))
    return "soft limit over the hard one";
  return {};
}

Finding check_sa_selector(const SaRecord& r) {
  if (auto finding = check_selector(r.selector)) return finding;
  if (r.mode == EspMode::kTransport && r.selector.source.family() != r.source.family())
    return "transport mode: selector of another family than the endpoints";
  return {};
}

bool is_empty(const message::SessionFilter& f) {
  return f.has_prefix == 0 && f.protocol == kProtoAny && f.port == 0 && f.rule == 0;
}

// The name of a file in /run/netns.
bool is_namespace(std::string_view name) {
  return name != "." && name != ".." && name.find('/') == name.npos;
}

}  // namespace

Finding check(EspAlgorithm a) {
  if (!in_range(a.cipher, EspCipher::kChaCha20Poly1305)) return "unknown cipher";
  if (!in_range(a.integrity, EspIntegrity::kHmacSha512)) return "unknown integrity algorithm";
  const bool aes_key = a.key_bytes == 16 || a.key_bytes == 24 || a.key_bytes == 32;
  const bool aes = a.cipher == EspCipher::kAesCbc || a.cipher == EspCipher::kAesGcm;
  if (aes && !aes_key) return "an AES key has 128, 192 or 256 bits";
  if (a.cipher == EspCipher::kChaCha20Poly1305 && a.key_bytes != 32) return "a ChaCha20 key has 256 bits";
  if (a.cipher == EspCipher::kNull && a.key_bytes != 0) return "the null cipher has no key";
  if (!a.is_aead()) {
    if (a.integrity == EspIntegrity::kNone) return "a cipher without integrity";  // RFC 8221 section 4
    if (a.icv_bytes < 12 || a.icv_bytes > a.auth_key_bytes() || a.icv_bytes % 4 != 0)
      return "an HMAC has 96 bits or more, whole words, and no more than its hash";
    return {};
  }
  if (a.integrity != EspIntegrity::kNone) return "an AEAD cipher with an integrity algorithm";
  const bool gcm = a.cipher == EspCipher::kAesGcm;
  if (a.icv_bytes != 16 && !(gcm && (a.icv_bytes == 8 || a.icv_bytes == 12)))
    return gcm ? "an AES-GCM ICV has 64, 96 or 128 bits" : "a Poly1305 ICV has 128 bits";
  return {};
}

Finding check(const SettingsRecord& r) {
  if (!in_range(r.sessions, SettingsRecord::Sessions::kAlways)) return "unknown sessions mode";
  if (!is_flag(r.busy_poll) || !is_flag(r.ike)) return "flag is neither 0 nor 1";
  if (!is_flag(r.host_path) || !is_flag(r.import_routes)) return "flag is neither 0 nor 1";
  if (!is_text(r.host_namespace) || !is_namespace(r.host_namespace.view())) return "bad host namespace";
  const bool no_protocol = std::ranges::all_of(r.import_protocols, [](uint64_t bits) { return bits == 0; });
  if (r.import_routes && (r.import_table == 0 || no_protocol)) return "routes of no table or no protocol";
  if (r.session_limit == 0 || r.session_limit > limits::kSessions) return "session limit out of range";
  for (const uint32_t timeout : {r.tcp_syn_sent_s, r.tcp_syn_recv_s, r.tcp_established_s, r.tcp_fin_wait_s,
                                 r.tcp_close_wait_s, r.tcp_last_ack_s, r.tcp_time_wait_s, r.tcp_close_s,
                                 r.tcp_unacknowledged_s, r.udp_s, r.udp_stream_s, r.icmp_s, r.generic_s})
    if (timeout == 0 || timeout > kMaxTimeoutS) return "timeout out of range";
  return {};
}

Finding check(const InterfaceRecord& r) {
  if (!is_interface(r.index)) return "interface index out of range";
  if (!in_range(r.kind, InterfaceKind::kGre)) return "unknown interface kind";
  if (!is_flag(r.enabled) || !is_flag(r.dad)) return "flag is neither 0 nor 1";
  if (!is_name(r.name)) return "bad interface name";
  if (!is_text(r.device)) return "bad device name";
  if (r.mtu_bytes < kMinMtuBytes || r.mtu_bytes > kMaxMtuBytes) return "MTU out of range";
  if (r.mss_clamp_bytes != 0 && r.mss_clamp_bytes != kMssToPathMtu &&
      (r.mss_clamp_bytes < kMinMssBytes || r.mss_clamp_bytes > kMaxMssBytes))
    return "MSS clamp out of range";
  if (r.kind == InterfaceKind::kPort && r.device.length == 0) return "port without a device";
  if (r.kind == InterfaceKind::kVlan) {
    if (r.parent == kNoInterface || r.parent >= r.index) return "VLAN does not follow its parent";
    if (r.vlan_id == 0 || r.vlan_id > kMaxVlanId) return "VLAN id out of range";
  } else if (r.parent != kNoInterface || r.vlan_id != 0) {
    return "parent or VLAN id on what is no VLAN";
  }
  return check_tunnel(r);
}

Finding check(const AddressRecord& r) {
  if (!is_interface(r.interface)) return "address without interface";
  if (!is_prefix(r.prefix)) return "prefix length out of range";
  if (!is_unicast(r.prefix.address)) return "not a unicast address";
  return {};
}

Finding check(const RouteRecord& r) {
  if (r.index.value >= limits::kRoutes) return "route index out of range";
  if (r.metric > kMaxMetric && !r.imported) return "route: metric out of range";
  return check_route_shape(r);
}

Finding check(const NeighborRecord& r) {
  if (!is_interface(r.interface)) return "neighbour without interface";
  if (!is_unicast(r.address)) return "neighbour: not a unicast address";
  if (!is_unicast(r.mac)) return "neighbour: not a unicast MAC address";
  return {};
}

Finding check(const NatRuleRecord& r) {
  const bool is_source = r.kind == NatKind::kSource;
  if (!in_range(r.kind, NatKind::kDestination)) return "unknown NAT kind";
  if (!in_range(r.family, Family::kIpv6)) return "unknown family";
  if (r.index >= statistics::kMaxNatRules) return "NAT rule index out of range";
  if (!is_interface_or_none(r.interface)) return "NAT rule: no such interface";
  if (!in_range(r.translation, NatTranslation::kPrefix)) return "unknown NAT translation";
  if (!in_range(r.ipsec, IpsecMatch::kIpsec)) return "unknown IPsec match";
  if (!is_flag(r.has_port_range) || !is_flag(r.local_output)) return "flag is neither 0 nor 1";
  if (auto finding = check_match(r.source, r.family)) return finding;
  if (auto finding = check_match(r.destination, r.family)) return finding;
  if (!is_ordered(r.ports)) return "ports out of order";
  if (r.has_port_range && r.ports.low == 0) return "translation to port 0";
  if (!is_source && r.translation == NatTranslation::kMasquerade) return "masquerade is for source NAT";
  if (is_source && r.local_output) return "local_output is for destination NAT";
  return check_translation(r);
}

Finding check(const PolicyRecord& r) {
  const bool protects = r.action == PolicyAction::kProtect;
  if (r.index.value >= statistics::kMaxPolicies) return "policy index out of range";
  if (!in_range(r.direction, Direction::kFwd)) return "unknown policy direction";
  if (!in_range(r.action, PolicyAction::kDiscard)) return "unknown policy action";
  if (r.templates > PolicyRecord::kMaxTemplates) return "more than 4 templates";
  if (r.templates != 0 && !protects) return "template without protect";
  if (r.templates == 0 && protects) return "protect without template";
  if (!is_interface_or_none(r.interface) || !is_interface_or_none(r.vti)) return "policy: no such interface";
  if (r.interface != kNoInterface && r.direction != Direction::kOut)
    return "an egress interface in a policy that is not for out";
  for (size_t i = 0; i < r.templates; ++i)
    if (auto finding = check_template(r.tmpl[i], r.direction)) return finding;
  if (!is_text(r.name)) return "bad policy name";
  return check_selector(r.selector);
}

Finding check(const SaRecord& r) {
  if (r.spi.value < kMinSpi) return "SPI below 256";
  if (r.direction != Direction::kOut && r.direction != Direction::kIn)
    return "SA direction is neither out nor in";
  if (!in_range(r.mode, EspMode::kTransport)) return "unknown ESP mode";
  if ((r.flags & ~kAllSaFlags) != 0) return "unknown SA flag";
  if (!is_interface_or_none(r.vti)) return "SA: no such interface";
  if (!are_unicast_of_one_family(r.source, r.destination))
    return "SA endpoints are not two unicast addresses of one family";
  if (!is_text(r.name)) return "bad SA name";
  if (auto finding = check(r.algorithm)) return finding;
  if (auto finding = check_sequence(r)) return finding;
  if (auto finding = check_encap(r)) return finding;
  if (auto finding = check_limits(r.limits)) return finding;
  if ((r.flags & kSaHasSelector) != 0) return check_sa_selector(r);
  return {};
}

Finding check(const message::Query& q) {
  if (!in_range(q.kind, message::QueryKind::kSessions)) return "unknown query";
  if (q.limit == 0 || q.limit > kMaxQueryRows) return "query limit out of range";
  if (!is_flag(q.count_only) || !is_flag(q.filter.has_prefix)) return "flag is neither 0 nor 1";
  if (q.kind != message::QueryKind::kSessions && (q.count_only || !is_empty(q.filter)))
    return "a filter or a count of what are no sessions";
  if (q.filter.has_prefix && !is_network(q.filter.prefix)) return "filter: not a network";
  return {};
}

Finding check(const message::Explain& e) {
  if (!is_interface_or_none(e.in)) return "no such interface";
  if (!is_flag(e.dont_fragment) || !is_flag(e.decrypted)) return "flag is neither 0 nor 1";
  if (!e.source.is_unspecified() && e.source.family() != e.destination.family())
    return "packet of two families";
  const uint32_t headers = e.destination.is_v4() ? kMinIpv4PacketBytes : kMinIpv6PacketBytes;
  if (e.size_bytes < headers) return "packet shorter than its headers";
  if (e.decrypted && e.sa_spi.value < kMinSpi) return "decrypted without an SPI";
  return {};
}

// A filter ends and does what it can: no jump leads back, no code is one that bpf_filter() aborts at.
// libpcap's own check lets both pass.
Finding check(const message::TapFilter& f) {
  constexpr uint16_t kJumpAlways = 0x05;  // BPF_JMP | BPF_JA
  constexpr auto kCodes = std::to_array<uint16_t>({
      0x00,        0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80,  // LD: IMM, ABS, IND, MEM, LEN
      0x01,        0x61, 0x81, 0xb1, 0x02, 0x03,                    // LDX: IMM, MEM, LEN, MSH; ST, STX
      0x04,        0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x94, 0xa4, 0x84,  // ALU with K; NEG
      0x0c,        0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0x9c, 0xac,        // ALU with X
      kJumpAlways, 0x15, 0x25, 0x35, 0x45, 0x1d, 0x2d, 0x3d, 0x4d,              // JMP with K, X
      0x06,        0x16, 0x07, 0x87,                                            // RET; TAX, TXA
  });
  if (f.link != message::TapLink::kEthernet && f.link != message::TapLink::kIp)
    return "filter for no kind of link";
  if (f.count == 0 || f.count > message::TapFilter::kMost) return "filter without instructions, or too many";
  if (f.first + f.count > message::kMaxTapInstructions) return "filter longer than any may be";
  for (uint16_t i = 0; i < f.count; ++i) {
    const message::TapInstruction& step = f.instructions[i];
    if (std::ranges::find(kCodes, step.code) == kCodes.end()) return "filter with an unknown instruction";
    if (step.code == kJumpAlways && step.k >= message::kMaxTapInstructions)
      return "filter with a jump that leads out of it or back";
  }
  return {};
}

Finding check(const message::TapStart& s) {
  constexpr uint8_t kAllPoints = (1u << message::kTapPoints) - 1;
  if (!is_flag(s.trace) || !is_flag(s.has_tunnel)) return "flag is neither 0 nor 1";
  if (s.points > kAllPoints || (s.points == 0) != (s.trace == 1)) return "tap of no points";
  if (s.ethernet_instructions > message::kMaxTapInstructions ||
      s.ip_instructions > message::kMaxTapInstructions)
    return "filter longer than any may be";
  if (s.snap_bytes == 0 || s.snap_bytes > message::kMaxTapBytes) return "snap length out of range";
  if (!is_text(s.tunnel)) return "bad tunnel name";
  if (s.has_tunnel && s.spi.value < kMinSpi && s.tunnel.length == 0) return "tunnel without name and SPI";
  return {};
}

Finding check(const message::TapRead& r) {
  return r.id == 0 ? Finding("tap without id") : std::nullopt;
}

Finding check(const message::TapStop& s) {
  return s.id == 0 ? Finding("tap without id") : std::nullopt;
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

// Connected routes have no index of the configuration.
Finding check(const message::RouteRow& r) {
  if (!is_flag(r.connected) || !is_flag(r.usable)) return "flag is neither 0 nor 1";
  return check_route_shape(r.record);
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

Finding check(const message::TapPacket& p) {
  if (!in_range(p.point, message::TapPoint::kStory)) return "tap: unknown point";
  if (!in_range(p.link, message::TapLink::kText)) return "tap: unknown link";
  if (!in_range(p.direction, Direction::kIn)) return "tap: direction is neither out nor in";
  if (p.reason >= DropReason::kCount) return "tap: unknown drop reason";
  if (p.captured_bytes > p.packet_bytes || p.captured_bytes > message::kMaxTapBytes)
    return "tap: more bytes than the packet has";
  if (!is_interface_or_none(p.interface)) return "tap: no such interface";
  if (!is_text(p.tunnel)) return "bad SA name";
  return {};
}

Finding check(const message::TapData& d) {
  if (d.bytes == 0 || d.bytes > message::TapData::kMost) return "tap: a piece of no bytes, or too many";
  return {};
}

Finding check(const message::Acquire& e) {
  if (e.policy == kNoPolicy && e.vti == kNoInterface) return "acquire without policy and VTI";
  if (e.policy != kNoPolicy && e.policy.value >= statistics::kMaxPolicies) return "policy index out of range";
  if (!is_interface_or_none(e.vti)) return "acquire: no such interface";
  return {};
}

Finding check(const message::Expire& e) {
  if (e.spi.value < kMinSpi) return "SPI below 256";
  if (e.direction != Direction::kOut && e.direction != Direction::kIn)
    return "SA direction is neither out nor in";
  if (!is_flag(e.hard)) return "hard is neither 0 nor 1";
  if (!is_text(e.name)) return "bad SA name";
  return {};
}

Finding check(const message::Mapping& e) {
  if (e.spi.value < kMinSpi) return "SPI below 256";
  if (e.old_port == 0 || e.new_port == 0) return "mapping to or from port 0";
  if (!are_unicast_of_one_family(e.old_address, e.new_address))
    return "mapping between what are not two unicast addresses of one family";
  if (!is_text(e.name)) return "bad SA name";
  return {};
}

}  // namespace espalier::record_check
