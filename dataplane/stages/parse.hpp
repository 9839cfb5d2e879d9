// From bytes to the Packet record, and the header field that every router changes. Used by the parse stage
// for frames, and for what comes out of ESP and GRE.
#pragma once

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Checks the IP header at the start of the mbuf's data, which must be of `family`, cuts off what lies behind
// the packet and fills tuple, l4_offset, ip_bytes, tcp_flags and the flags kFragment, kIcmpError and
// kDontFragment; other members stay. `check_checksum`: false where the device or an ICV vouches for an IPv4
// header. On false the reason is set. Any worker.
bool parse_ip(rte_mbuf* mbuf, Family family, bool check_checksum);

// Header fields that both families have, of a parsed packet.
inline uint8_t hop_limit(rte_mbuf* mbuf) {
  return packet(mbuf).tuple.is_v4() ? ipv4_header(mbuf).ttl : ipv6_header(mbuf).hop_limit;
}
inline uint8_t traffic_class(rte_mbuf* mbuf) {
  return packet(mbuf).tuple.is_v4() ? ipv4_header(mbuf).tos : ipv6_header(mbuf).traffic_class();
}

// Keeps the IPv4 checksum right, as all that follow.
void set_traffic_class(rte_mbuf* mbuf, uint8_t value);
void set_ip_length(rte_mbuf* mbuf, uint16_t total_bytes);
// Changes the protocol number that names the header at Packet::l4_offset.
void rename_upper_layer(rte_mbuf* mbuf, uint8_t protocol);

// Takes one from the TTL or hop limit, which is above 0, and updates the IPv4 header checksum (RFC 1141).
inline void lower_hop_limit(rte_mbuf* mbuf) {
  if (!packet(mbuf).tuple.is_v4()) {
    --ipv6_header(mbuf).hop_limit;
    return;
  }
  Ipv4Header& ip = ipv4_header(mbuf);
  --ip.ttl;
  const uint32_t sum = ip.checksum + be16::from_host(0x0100).raw();
  ip.checksum = static_cast<uint16_t>(sum + (sum >> 16));
}

}  // namespace espalier::dataplane
