#include "nat/ip_header.hpp"

namespace espalier::nat {
namespace {

constexpr uint32_t kIpv4Header = 20, kIpv6Header = 40, kSmallestExtension = 8;

template <class T>
T read(std::span<const uint8_t> packet, size_t at) {
  T value;
  std::memcpy(&value, &packet[at], sizeof value);
  return value;
}

std::optional<IpHeader> read_ipv4_header(std::span<const uint8_t> packet) {
  if (packet.size() < kIpv4Header) return {};
  const uint32_t header_bytes = (packet[0] & 0xfu) * 4;
  const uint32_t total_bytes = read<be16>(packet, 2).host();
  const bool first_fragment = (read<be16>(packet, 6).host() & 0x1fff) == 0;
  if (header_bytes < kIpv4Header || packet.size() < header_bytes || total_bytes < header_bytes) return {};
  if (!first_fragment) return {};
  return IpHeader{.source = read<Ipv4Address>(packet, 12),
                  .destination = read<Ipv4Address>(packet, 16),
                  .family = Family::kIpv4,
                  .protocol = packet[9],
                  .l4_offset = header_bytes,
                  .total_bytes = total_bytes};
}

bool is_extension(uint8_t protocol) {
  return protocol == kProtoHopByHop || protocol == kProtoRouting || protocol == kProtoFragment ||
         protocol == kProtoDestinationOptions;
}

// Goes over the extension header that `header` ends with; false if it is cut off or of a later fragment.
bool skip_extension(std::span<const uint8_t> packet, IpHeader& header) {
  const size_t at = header.l4_offset;
  if (packet.size() < at + kSmallestExtension) return false;
  const bool fragment = header.protocol == kProtoFragment;  // its second byte is reserved, it has one length
  if (fragment && (read<be16>(packet, at + 2).host() >> 3) != 0) return false;
  header.protocol = packet[at];
  header.l4_offset += kSmallestExtension + (fragment ? 0u : packet[at + 1] * 8u);
  return packet.size() >= header.l4_offset;
}

std::optional<IpHeader> read_ipv6_header(std::span<const uint8_t> packet) {
  if (packet.size() < kIpv6Header) return {};
  IpHeader header{.source = read<IpAddress>(packet, 8),
                  .destination = read<IpAddress>(packet, 24),
                  .family = Family::kIpv6,
                  .protocol = packet[6],
                  .l4_offset = kIpv6Header,
                  .total_bytes = kIpv6Header + read<be16>(packet, 4).host()};
  if (header.source.is_v4() || header.destination.is_v4()) return {};  // mapped: on no wire
  while (is_extension(header.protocol))
    if (!skip_extension(packet, header)) return {};
  if (header.total_bytes < header.l4_offset) return {};
  return header;
}

}  // namespace

std::optional<IpHeader> read_ip_header(std::span<const uint8_t> packet) {
  if (packet.empty()) return {};
  const uint8_t version = packet[0] >> 4;
  if (version == 4) return read_ipv4_header(packet);
  if (version == 6) return read_ipv6_header(packet);
  return {};
}

}  // namespace espalier::nat
