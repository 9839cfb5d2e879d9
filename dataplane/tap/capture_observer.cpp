#include "dataplane/tap/capture_observer.hpp"

#include "dataplane/context.hpp"
#include "dataplane/ipv6.hpp"

namespace espalier::dataplane {
namespace {

using message::TapLink;
using message::TapPoint;

// What may be read as a T at `at`, null where the bytes end before.
template <class T>
const T* at(std::span<const uint8_t> bytes, size_t at) {
  return at + sizeof(T) <= bytes.size() ? reinterpret_cast<const T*>(bytes.data() + at) : nullptr;
}

struct EthernetPayload {
  uint16_t type = 0;
  uint16_t vlan_id = 0;  // 0: untagged
  std::span<const uint8_t> bytes;
};

EthernetPayload payload_of(std::span<const uint8_t> frame) {
  const auto* ethernet = at<EthernetHeader>(frame, 0);
  if (!ethernet) return {};
  if (ethernet->type.host() != kEtherTypeVlan)
    return {.type = ethernet->type.host(), .bytes = frame.subspan(sizeof *ethernet)};
  const auto* tag = at<VlanTag>(frame, sizeof *ethernet);
  if (!tag) return {};
  return {.type = tag->type.host(), .vlan_id = tag->id(), .bytes = frame.subspan(kMaxL2Bytes)};
}

// The upper layer of an IP packet that may be cut off, or of no form at all.
struct UpperLayer {
  IpAddress destination;
  uint8_t protocol = kProtoNoNext;
  std::span<const uint8_t> bytes;
};

UpperLayer upper_layer_of(uint16_t type, std::span<const uint8_t> packet) {
  if (const auto* ip = at<Ipv4Header>(packet, 0); ip && type == kEtherTypeIpv4) {
    if (ip->fragment_offset_bytes() != 0 || ip->header_bytes() > packet.size()) return {};
    return {ip->destination, ip->protocol, packet.subspan(ip->header_bytes())};
  }
  if (const auto* ip = at<Ipv6Header>(packet, 0); ip && type == kEtherTypeIpv6) {
    const Ipv6Headers headers = find_ipv6_headers(packet);
    if (headers.bad || headers.is_later_fragment || headers.l4_offset > packet.size()) return {};
    return {ip->destination, headers.protocol, packet.subspan(headers.l4_offset)};
  }
  return {};
}

// The SA of an ESP packet, bare or in UDP. Of one in fragments the first tells it only.
const Sa* find_sa(const Sad& sad, const EthernetPayload& payload) {
  const UpperLayer upper = upper_layer_of(payload.type, payload.bytes);
  if (upper.protocol != kProtoEsp && upper.protocol != kProtoUdp) return nullptr;
  const auto* esp = at<EspHeader>(upper.bytes, upper.protocol == kProtoUdp ? sizeof(UdpHeader) : 0);
  return esp ? sad.find(Spi{esp->spi.host()}, upper.destination) : nullptr;
}

InterfaceIndex ingress_of(const Context& ctx, rte_mbuf* frame) {
  const InterfaceTable& interfaces = *ctx.tables->interfaces;
  const InterfaceIndex tagged = interfaces.by_wire(frame->port, payload_of(bytes(frame)).vlan_id);
  return tagged != kNoInterface ? tagged : interfaces.by_wire(frame->port, 0);
}

}  // namespace

void CaptureObserver::take_frame(rte_mbuf* frame, TapPoint point, InterfaceIndex interface) {
  const Sa* sa = nullptr;
  if (!tap_.wants_all_sas()) {
    sa = find_sa(sad_, payload_of(bytes(frame)));
    if (!sa || !tap_.wants(sa->index())) return;
  }
  tap_.take(thread_, frame, {.point = point, .interface = interface, .sa = sa});
}

void CaptureObserver::received(const Context& ctx, MbufSpan frames) {
  if (!tap_.wants(TapPoint::kRx)) return;
  for (rte_mbuf* frame : frames) take_frame(frame, TapPoint::kRx, ingress_of(ctx, frame));
}

void CaptureObserver::sent(rte_mbuf* frame, InterfaceIndex out) {
  if (wants_sent()) take_frame(frame, TapPoint::kTx, out);
}

void CaptureObserver::encrypting(const Sa& sa, MbufSpan packets) {
  if (!wants(sa.index())) return;  // another tap does
  for (rte_mbuf* mbuf : packets)
    tap_.take(thread_, mbuf,
              {.point = TapPoint::kPlain,
               .link = TapLink::kIp,
               .direction = Direction::kOut,
               .interface = packet(mbuf).out,
               .sa = &sa});
}

void CaptureObserver::decrypted(const Sa& sa, rte_mbuf* mbuf) {
  if (!wants(sa.index())) return;  // another tap does
  tap_.take(thread_, mbuf,
            {.point = TapPoint::kPlain,
             .link = TapLink::kIp,
             .direction = Direction::kIn,
             .interface = packet(mbuf).in,
             .sa = &sa});
}

// Dropped by an SA, or after one: Packet::sa is which works on it, Packet::last_sa which did.
void CaptureObserver::ended(rte_mbuf* mbuf, DropReason reason) {
  if (!tap_.wants(TapPoint::kDrop) || !info(reason).drop) return;
  const Packet& p = packet(mbuf);
  const SaIndex sa = p.sa != kNoSa ? p.sa : p.last_sa;
  if (!tap_.wants(sa)) return;
  tap_.take(thread_, mbuf,
            {.point = TapPoint::kDrop,
             .link = p.is_frame ? TapLink::kEthernet : TapLink::kIp,
             .direction = (p.flags & kFromGateway) ? Direction::kOut : Direction::kIn,
             .reason = reason,
             .interface = p.in,
             .sa = sa != kNoSa ? sad_.at(sa) : nullptr});
}

}  // namespace espalier::dataplane
