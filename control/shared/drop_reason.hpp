// Why a packet did not leave. Closed: every reason has a name, the stage that gives it and a help text in one
// constexpr table, and a counter per worker and interface. Packets that the gateway itself used up (ARP,
// pings, merged fragments) have reasons as well, so that received + made = sent + the sum over all reasons +
// waiting.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace espalier {

// clang-format off
enum class DropReason : uint8_t {
  kNone,
  // parse
  kEthernetTruncated, kEthernetNotForUs, kEthernetUnknownVlan, kEthernetUnknownType, kInterfaceDown,
  kIpTruncated, kIpBadVersion, kIpBadHeaderLength, kIpBadLength, kIpBadChecksum, kIpBadSource, kIpBadDestination,
  kIpSourceRoute, kIpBadExtension, kIpMulticast, kL4Truncated,
  // reassemble
  kFragmentMalformed, kReassemblyFull, kReassemblyTimeout,
  // esp_input
  kEspTruncated, kEspNoState, kEspReplay, kEspIcv, kEspMalformed, kEspWrongPeer, kEspCeNotEct, kEspNested,
  kEspEncapMismatch, kEspInExpired,
  // gre_input, tunnel interfaces
  kGreMalformed, kGreNoTunnel, kGreClear, kGreUnprotected, kClearFromTunnel, kVtiDown, kTunnelLoop,
  // conntrack, nat
  kSessionInvalid, kSessionTableFull, kNatPortsExhausted, kNatClash, kNatNoAddress, kNatMoved,
  // route
  kNoRoute, kRouteBlackhole, kRouteUnreachable, kRouteProhibit, kTtlExceeded, kTooBig,
  // policies
  kInPolicyBlock, kInTemplateMismatch, kInNoPolicy, kInStateMismatch, kOutPolicyBlock, kOutNoState, kOutFragment,
  // esp_output
  kEspSequenceExhausted, kEspSequenceNotReserved, kEspTooLong, kEspOutExpired,
  // neighbour, transmit
  kNeighborUnresolved, kNeighborQueueFull, kEgressDown, kTransmitFull,
  // resources
  kNoMbuf, kHandoverFull, kPuntFull,
  // local
  kLocalNoService, kHostFull, kIkeAbsent, kIkeFull, kIkeMalformed, kNdInvalid, kIcmpErrorClear, kIcmpRateLimited,
  // used up by the gateway itself
  kUsedArp, kUsedNd, kUsedLocal, kUsedHost, kUsedIke, kUsedKeepalive, kUsedFragment,
  kCount,
};
// clang-format on
inline constexpr size_t kDropReasons = static_cast<size_t>(DropReason::kCount);

struct DropReasonInfo {
  DropReason reason;
  std::string_view name;   // snake_case, stable: scripts and metrics use it
  std::string_view stage;  // of the pipeline
  std::string_view help;   // what it means and what to do
  bool drop = true;        // false: the packet was used by the gateway itself, nothing is lost
};

// clang-format off
inline constexpr std::array<DropReasonInfo, kDropReasons> kDropReasonTable{{
    {DropReason::kNone, "none", "", "not dropped", false},
    {DropReason::kEthernetTruncated, "ethernet_truncated", "parse", "shorter than an Ethernet header"},
    {DropReason::kEthernetNotForUs, "ethernet_not_for_us", "parse", "another station's MAC address; normal on a hub or while a switch learns"},
    {DropReason::kEthernetUnknownVlan, "ethernet_unknown_vlan", "parse", "a VLAN that no vif is configured for"},
    {DropReason::kEthernetUnknownType, "ethernet_unknown_type", "parse", "neither IP nor ARP (LLDP, STP ...)"},
    {DropReason::kInterfaceDown, "interface_down", "parse", "received on an interface that is disabled"},
    {DropReason::kIpTruncated, "ip_truncated", "parse", "shorter than an IP header"},
    {DropReason::kIpBadVersion, "ip_bad_version", "parse", "the version field is neither 4 nor 6, or not as the frame says"},
    {DropReason::kIpBadHeaderLength, "ip_bad_header_length", "parse", "the header length field is below 5 or beyond the packet"},
    {DropReason::kIpBadLength, "ip_bad_length", "parse", "the total length field is below the header or beyond the frame"},
    {DropReason::kIpBadChecksum, "ip_bad_checksum", "parse", "wrong IPv4 header checksum: look at the link or the sender's NIC offloads"},
    {DropReason::kIpBadSource, "ip_bad_source", "parse", "a source that no packet may have: multicast, broadcast, loopback, IPv4-mapped or an address of the gateway"},
    {DropReason::kIpBadDestination, "ip_bad_destination", "parse", "a destination that is never forwarded: 0.0.0.0/8, loopback, broadcast, link local, IPv4-mapped"},
    {DropReason::kIpSourceRoute, "ip_source_route", "parse", "a source route option (RFC 7126 section 4.3)"},
    {DropReason::kIpBadExtension, "ip_bad_extension", "parse", "an IPv6 extension header that is cut off, out of place or deprecated (routing type 0)"},
    {DropReason::kIpMulticast, "ip_multicast", "parse", "multicast is not forwarded"},
    {DropReason::kL4Truncated, "l4_truncated", "parse", "the TCP, UDP or ICMP header is cut off"},
    {DropReason::kFragmentMalformed, "fragment_malformed", "reassemble", "overlapping, beyond 65535 bytes, or a length that is no multiple of 8"},
    {DropReason::kReassemblyFull, "reassembly_full", "reassemble", "too many packets are waiting for fragments"},
    {DropReason::kReassemblyTimeout, "reassembly_timeout", "reassemble", "the other fragments did not come within 30 seconds"},
    {DropReason::kEspTruncated, "esp_truncated", "esp_input", "shorter than SPI and sequence number"},
    {DropReason::kEspNoState, "esp_no_state", "esp_input", "no inbound SA has this SPI and destination: the peer uses an SA that we do not have"},
    {DropReason::kEspReplay, "esp_replay", "esp_input", "the sequence number was seen already or is below the replay window"},
    {DropReason::kEspIcv, "esp_icv", "esp_input", "authentication failed: other keys than the peer's, or a forged or damaged packet"},
    {DropReason::kEspMalformed, "esp_malformed", "esp_input", "shorter than IV and ICV, or authentic with wrong padding, next header or inner packet"},
    {DropReason::kEspWrongPeer, "esp_wrong_peer", "esp_input", "the outer source is not the SA's peer"},
    {DropReason::kEspCeNotEct, "esp_ce_not_ect", "esp_input", "outer CE on an inner packet that is not ECN capable (RFC 6040 section 4.2)"},
    {DropReason::kEspNested, "esp_nested", "esp_input", "a decrypted packet is ESP for the gateway again: more tunnels inside one another than any policy has"},
    {DropReason::kEspEncapMismatch, "esp_encap_mismatch", "esp_input", "ESP in UDP for an SA without encap, or bare ESP for one with it"},
    {DropReason::kEspInExpired, "esp_in_expired", "esp_input", "the packet that passed a hard limit of the SA, which is gone now"},
    {DropReason::kGreMalformed, "gre_malformed", "gre_input", "a GRE header with bits that RFC 2784 and 2890 do not have, cut off, or with a wrong checksum"},
    {DropReason::kGreNoTunnel, "gre_no_tunnel", "gre_input", "no gre interface has these endpoints and this key"},
    {DropReason::kGreClear, "gre_clear", "gre_input", "GRE came in clear for an interface with protect = true"},
    {DropReason::kGreUnprotected, "gre_unprotected", "tunnel_interface", "GRE of an interface with protect = true, and no out policy encrypts it: nothing leaves in clear"},
    {DropReason::kClearFromTunnel, "clear_from_tunnel", "route", "came in clear, but the route to its source leads into a vti or protected gre interface"},
    {DropReason::kVtiDown, "vti_down", "tunnel_interface", "a vti interface that has no SA: nothing leaves in clear"},
    {DropReason::kTunnelLoop, "tunnel_loop", "tunnel_output", "a tunnel within a tunnel without end: the route to the tunnel's peer leads into the tunnel"},
    {DropReason::kSessionInvalid, "session_invalid", "conntrack", "belongs to no session and cannot start one (what conntrack calls INVALID)"},
    {DropReason::kSessionTableFull, "session_table_full", "conntrack", "the session table is full; see nat.limits"},
    {DropReason::kNatPortsExhausted, "nat_ports_exhausted", "source_nat", "no free port for this peer in the rule's range"},
    {DropReason::kNatClash, "nat_clash", "source_nat", "another session took the translated tuple at the same moment"},
    {DropReason::kNatNoAddress, "nat_no_address", "source_nat", "masquerade on an interface that has no address"},
    {DropReason::kNatMoved, "nat_moved", "source_nat", "a masqueraded flow whose route changed to an interface without that address: its session ended, the next packet begins another"},
    {DropReason::kNoRoute, "no_route", "route", "no route to the destination; answered with ICMP"},
    {DropReason::kRouteBlackhole, "route_blackhole", "route", "a blackhole route"},
    {DropReason::kRouteUnreachable, "route_unreachable", "route", "an unreachable route; answered with ICMP"},
    {DropReason::kRouteProhibit, "route_prohibit", "route", "a prohibit route; answered with ICMP"},
    {DropReason::kTtlExceeded, "ttl_exceeded", "ttl", "the TTL ran out here; answered with ICMP"},
    {DropReason::kTooBig, "too_big", "size", "larger than the way out and must not be fragmented; answered with ICMP"},
    {DropReason::kInPolicyBlock, "in_policy_block", "in_policy", "a discard policy of direction in or fwd"},
    {DropReason::kInTemplateMismatch, "in_template_mismatch", "in_policy", "a policy asks for ESP and the packet came in clear or by another SA"},
    {DropReason::kInNoPolicy, "in_no_policy", "in_policy", "decrypted, but no policy of direction in or fwd covers it"},
    {DropReason::kInStateMismatch, "in_state_mismatch", "in_policy", "decrypted, but outside of the SA's selector"},
    {DropReason::kOutPolicyBlock, "out_policy_block", "out_policy", "a discard policy of direction out"},
    {DropReason::kOutNoState, "out_no_state", "out_policy", "the policy protects it and there is no SA: nothing leaves in clear"},
    {DropReason::kOutFragment, "out_fragment", "out_policy", "a fragment without ports, and a policy protects some ports of its addresses: nothing leaves in clear; nat.sessions = \"always\" has fragments put together"},
    {DropReason::kEspSequenceExhausted, "esp_sequence_exhausted", "esp_output", "the SA used its last sequence number; it needs a rekey"},
    {DropReason::kEspSequenceNotReserved, "esp_sequence_not_reserved", "esp_output", "a static key waits for sequence numbers to be reserved on disk"},
    {DropReason::kEspTooLong, "esp_too_long", "esp_output", "would exceed 65535 bytes with ESP"},
    {DropReason::kEspOutExpired, "esp_out_expired", "esp_output", "the packet that passed a hard limit of the SA, which is gone now"},
    {DropReason::kNeighborUnresolved, "neighbor_unresolved", "neighbor", "the next hop does not answer ARP or neighbour discovery"},
    {DropReason::kNeighborQueueFull, "neighbor_queue_full", "neighbor", "too many packets wait for the next hop's MAC address"},
    {DropReason::kEgressDown, "egress_down", "transmit", "the interface of the route is down"},
    {DropReason::kTransmitFull, "transmit_full", "transmit", "the device's transmit queue is full"},
    {DropReason::kNoMbuf, "no_mbuf", "any", "out of packet buffers"},
    {DropReason::kHandoverFull, "handover_full", "steer", "the ring to the session's worker is full"},
    {DropReason::kPuntFull, "punt_full", "punt", "the ring to the main lcore is full"},
    {DropReason::kLocalNoService, "local_no_service", "local", "for the gateway itself, where nothing listens"},
    {DropReason::kHostFull, "host_full", "local", "the host does not take packets from the host path as fast as they come"},
    {DropReason::kIkeAbsent, "ike_absent", "local", "IKE for the gateway while no IKE process runs"},
    {DropReason::kIkeFull, "ike_full", "local", "the IKE process does not take datagrams as fast as they come"},
    {DropReason::kIkeMalformed, "ike_malformed", "local", "for IKE's ports and no IKE: shorter than its header, without the non-ESP marker on port 4500, from port 0, or a wrong UDP checksum"},
    {DropReason::kNdInvalid, "nd_invalid", "local", "neighbour discovery that RFC 4861 wants dropped: hop limit below 255, bad options or addresses"},
    {DropReason::kIcmpErrorClear, "icmp_error_clear", "icmp", "an ICMP error about a decrypted packet would have left in clear"},
    {DropReason::kIcmpRateLimited, "icmp_rate_limited", "icmp", "more ICMP errors than icmp.rate allows"},
    {DropReason::kUsedArp, "used_arp", "neighbor", "ARP, handled", false},
    {DropReason::kUsedNd, "used_nd", "local", "neighbour discovery for the gateway itself", false},
    {DropReason::kUsedLocal, "used_local", "local", "answered or used by the gateway itself", false},
    {DropReason::kUsedHost, "used_host", "local", "given to the host", false},
    {DropReason::kUsedIke, "used_ike", "local", "given to the IKE process", false},
    {DropReason::kUsedKeepalive, "used_keepalive", "local", "a NAT keepalive (RFC 3948 section 2.3)", false},
    {DropReason::kUsedFragment, "used_fragment", "reassemble", "became part of a reassembled packet", false},
}};
// clang-format on

constexpr bool drop_reason_table_is_in_order() {
  for (size_t i = 0; i < kDropReasons; ++i)
    if (static_cast<size_t>(kDropReasonTable[i].reason) != i) return false;
  return true;
}
static_assert(drop_reason_table_is_in_order());

constexpr const DropReasonInfo& info(DropReason r) {
  return kDropReasonTable[static_cast<size_t>(r)];
}

}  // namespace espalier
