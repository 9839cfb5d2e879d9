#include "dataplane/arp.hpp"

#include <cstring>

namespace espalier::dataplane::arp {
namespace {

constexpr uint16_t kHardwareEthernet = 1;

bool is_station(const MacAddress& mac) {
  return !(mac[0] & 1) && mac != MacAddress{};
}

}  // namespace

bool parse(std::span<const uint8_t> bytes, ArpPacket& arp) {
  if (bytes.size() < sizeof arp) return false;
  std::memcpy(&arp, bytes.data(), sizeof arp);
  const uint16_t operation = arp.operation.host();
  return arp.hardware_type.host() == kHardwareEthernet && arp.protocol_type.host() == kEtherTypeIpv4 &&
         arp.hardware_bytes == sizeof(MacAddress) && arp.protocol_bytes == sizeof(Ipv4Address) &&
         (operation == kRequest || operation == kReply) && is_station(arp.sender_mac) &&
         !arp.sender_ip.is_multicast() && !arp.sender_ip.is_broadcast() && !arp.sender_ip.is_loopback();
}

std::vector<uint8_t> make(uint16_t operation, const MacAddress& sender_mac, Ipv4Address sender_ip,
                          const MacAddress& target_mac, Ipv4Address target_ip) {
  const ArpPacket arp{.hardware_type = be16::from_host(kHardwareEthernet),
                      .protocol_type = be16::from_host(kEtherTypeIpv4),
                      .hardware_bytes = sizeof(MacAddress),
                      .protocol_bytes = sizeof(Ipv4Address),
                      .operation = be16::from_host(operation),
                      .sender_mac = sender_mac,
                      .sender_ip = sender_ip,
                      .target_mac = target_mac,
                      .target_ip = target_ip};
  const auto* const bytes = reinterpret_cast<const uint8_t*>(&arp);
  return {bytes, bytes + sizeof arp};
}

}  // namespace espalier::dataplane::arp
