// Where the parts of an IPv4 or IPv6 packet lie: what the decoder, the rewriter and the reassembly of the
// tests share. Written from RFC 791 and RFC 8200; shares no code with the dataplane.
#pragma once

#include <optional>

#include "tests/support/bytes.hpp"

namespace espalier::test {

inline constexpr size_t kEthernetBytes = 14;
inline constexpr size_t kIpv4HeaderBytes = 20;
inline constexpr size_t kIpv6HeaderBytes = 40;
inline constexpr size_t kFragmentHeaderBytes = 8;

struct IpView {
  bool v6 = false;
  size_t header_bytes = 0;    // up to the upper layer, IPv6 with extension headers
  size_t declared_bytes = 0;  // of the whole packet, as its header says; may be more than is there
  uint8_t protocol = 0;       // of the upper layer
  size_t addresses_at = 0;    // source and destination, one behind the other
  size_t address_bytes = 0;   // of one
  // Fragments (also an IPv6 fragment header of a packet that is whole).
  bool more = false;
  size_t fragment_offset = 0;             // bytes
  uint32_t id = 0;                        // IPv4: always there
  std::optional<size_t> fragment_header;  // IPv6: where it lies
  size_t next_header_at = 0;              // IPv6: the byte that names the fragment header

  bool is_fragment() const { return more || fragment_offset != 0; }
  ByteView addresses(ByteView packet) const { return packet.subspan(addresses_at, 2 * address_bytes); }
};

// Nothing if the packet is no IP packet or its headers are cut off.
std::optional<IpView> view_ip(ByteView packet);

// What a port has to be unique within: both addresses, whichever stands first, and the port at the other end.
Bytes port_scope(ByteView addresses, uint16_t other_port);

// Where the packet of an Ethernet frame begins: behind its 802.1Q tags. Of at least 14 bytes.
size_t network_offset(ByteView frame);

// The part of an Ethernet frame that is its IPv4 or IPv6 packet, without what lies behind it; empty for other
// frames.
ByteView ip_packet_of(ByteView frame);

// The sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1); `addresses` as in IpView.
uint16_t pseudo_header_sum(ByteView addresses, uint8_t protocol, size_t l4_bytes);

// Whether a transport protocol's checksum covers the pseudo header.
bool has_pseudo_header(uint8_t protocol);

// Types of ICMP (version 4) and ICMPv6 messages.
bool is_icmp_error(uint8_t protocol, uint8_t type);
bool is_echo(uint8_t protocol, uint8_t type);

}  // namespace espalier::test
