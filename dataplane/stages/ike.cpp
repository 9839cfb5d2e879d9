#include "dataplane/stages/ike.hpp"

#include "control/shared/messages_ike.hpp"
#include "dataplane/stages/esp.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint32_t kIkeHeaderBytes = 28;  // RFC 7296 section 3.1

// What the UDP header says is its datagram, with the header; empty if that cannot be.
std::span<const uint8_t> udp_datagram(rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const auto l4 = bytes(mbuf).first(p.ip_bytes).subspan(p.l4_offset);
  const size_t length = reinterpret_cast<const UdpHeader*>(l4.data())->length.host();
  if (length < sizeof(UdpHeader) || length > l4.size()) return {};
  return l4.first(length);
}

// RFC 768: an IPv4 packet may have none.
bool has_right_checksum(const Tuple& tuple, std::span<const uint8_t> udp) {
  if (reinterpret_cast<const UdpHeader*>(udp.data())->checksum == 0) return tuple.is_v4();
  return nat::l4_checksum_is_right(tuple.source, tuple.destination, kProtoUdp, udp);
}

bool begins_with_marker(std::span<const uint8_t> payload) {
  return payload.size() >= kNonEspMarkerBytes && (payload[0] | payload[1] | payload[2] | payload[3]) == 0;
}

}  // namespace

bool is_ike(const Context& ctx, rte_mbuf* mbuf, const Tuple& to) {
  const Packet& p = packet(mbuf);
  if (!ctx.tables->settings.ike || to.protocol != kProtoUdp || (p.flags & kFragment)) return false;
  const uint16_t port = to.destination_port.host();
  return (port == kIkePort || port == kIkeNatPort) &&
         ctx.tables->interfaces->is_own_address(to.destination, p.in) && !is_esp(ctx, mbuf);
}

std::span<const uint8_t> ike_message(rte_mbuf* mbuf) {
  const Tuple& tuple = packet(mbuf).tuple;
  if (tuple.source_port == be16{}) return {};  // cannot be answered
  const auto udp = udp_datagram(mbuf);
  if (udp.empty() || !has_right_checksum(tuple, udp)) return {};
  auto message = udp.subspan(sizeof(UdpHeader));
  if (tuple.destination_port.host() == kIkeNatPort) {
    if (!begins_with_marker(message)) return {};
    message = message.subspan(kNonEspMarkerBytes);
  }
  const bool fits = message.size() >= kIkeHeaderBytes && message.size() <= message::IkeDatagram::kMostBytes;
  return fits ? message : std::span<const uint8_t>{};
}

}  // namespace espalier::dataplane
