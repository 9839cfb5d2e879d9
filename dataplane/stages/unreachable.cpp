#include "dataplane/stages/unreachable.hpp"

#include "dataplane/stages/first_packet.hpp"
#include "nat/rewrite.hpp"

namespace espalier::dataplane {
namespace {

// The tuple that the packet has now. Only whole datagrams are translated, so the first of their fragments
// has the ports.
Tuple tuple_as_sent(rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  Tuple sent = p.tuple;
  if (p.tuple.is_v4()) {
    sent.source = ipv4_header(mbuf).source;
    sent.destination = ipv4_header(mbuf).destination;
  } else {
    sent.source = ipv6_header(mbuf).source;
    sent.destination = ipv6_header(mbuf).destination;
  }
  if (p.flags & kFragment) return sent;
  if (nat::has_ports(sent.protocol)) {
    const auto& udp = *reinterpret_cast<const UdpHeader*>(l4_header(mbuf));  // TCP's ports stand there too
    sent.source_port = udp.source_port;
    sent.destination_port = udp.destination_port;
  } else if (nat::has_identifier(sent)) {
    sent.source_port = reinterpret_cast<const IcmpHeader*>(l4_header(mbuf))->id;
  }
  return sent;
}

void undo_nat(rte_mbuf* mbuf, const Tuple& sent) {
  const Packet& p = packet(mbuf);
  if (sent == p.tuple) return;
  nat::apply(nat::make_rewrite(sent, p.tuple), bytes(mbuf).data(), l4_header(mbuf), p.ip_bytes - p.l4_offset);
}

}  // namespace

void answer_host_unreachable(Context& ctx, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  // Asked first: what is no first fragment has no ports, and ICMP errors are translated in another way.
  if ((p.flags & (kEncrypted | kFromGateway)) || !may_answer_with_icmp_error(mbuf)) return;
  const Tuple sent = tuple_as_sent(mbuf);
  undo_nat(mbuf, sent);
  Decision d;
  d.answer = {.reason = IcmpReason::kHostUnreachable};
  d.before_snat.destination = sent.destination;
  // As in Linux the route back is that of the source the packet was to leave with.
  d.answer_about = sent.source;
  answer_with_icmp_error(ctx, mbuf, d);
}

}  // namespace espalier::dataplane
