// From bytes to the Packet record, and the header field that every router changes. Used by the parse stage
// for frames and by esp_input for inner packets.
#pragma once

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Checks the IPv4 header at the start of the mbuf's data, cuts off what lies behind the packet and fills
// tuple, l4_offset, ip_bytes, tcp_flags and the flags kFragment and kIcmpError; other members stay.
// `check_checksum`: false where the device or an ICV vouches for it. On false the reason is set. Any worker.
bool parse_ip(rte_mbuf* mbuf, bool check_checksum);

// Takes one from the TTL, which is above 0, and updates the header checksum (RFC 1141).
inline void lower_ttl(Ipv4Header& ip) {
  --ip.ttl;
  const uint32_t sum = ip.checksum + be16::from_host(0x0100).raw();
  ip.checksum = static_cast<uint16_t>(sum + (sum >> 16));
}

}  // namespace espalier::dataplane
