// ARP packets (RFC 826, RFC 5227) as bytes: what the neighbour resolver says and hears on IPv4 networks.
// No state; main lcore.
#pragma once

#include <span>
#include <vector>

#include "dataplane/wire.hpp"

namespace espalier::dataplane::arp {

inline constexpr uint16_t kRequest = 1, kReply = 2;

// Reads what is behind the Ethernet header, any bytes of any length. False for what no station sends. A
// sender address of zero is a probe (RFC 5227 section 2.1.1).
bool parse(std::span<const uint8_t> bytes, ArpPacket& arp);

std::vector<uint8_t> make(uint16_t operation, const MacAddress& sender_mac, Ipv4Address sender_ip,
                          const MacAddress& target_mac, Ipv4Address target_ip);

}  // namespace espalier::dataplane::arp
