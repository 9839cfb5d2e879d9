// What is for the gateway itself: ESP, IKE and GRE of ours go to `local_input`, pings are answered, path MTU
// messages are learned from, the rest is for the gateway's host, or refused where it has none.
#include "dataplane/ipv6.hpp"
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/esp.hpp"
#include "dataplane/stages/first_packet.hpp"
#include "dataplane/stages/ike.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/translate.hpp"

namespace espalier::dataplane {
namespace {

// The SPI that an ICMP error quotes, and the sequence number: of bare ESP, or of ESP in UDP if so much is
// quoted.
bool read_quoted_esp(std::span<const uint8_t> payload, const Quote& quote, EspHeader& esp) {
  size_t at = quote.l4_offset;
  if (quote.tuple.protocol == kProtoUdp) at += sizeof(UdpHeader);
  if (quote.tuple.protocol != kProtoEsp && quote.tuple.protocol != kProtoUdp) return false;
  if (payload.size() < at + sizeof esp) return false;
  std::memcpy(&esp, payload.data() + at, sizeof esp);
  return true;
}

// RFC 1191, RFC 8201, RFC 4301 section 8.2.1: believed only about an SA of ours, by the SPI that the quote
// shows, and only for a sequence number that was sent already.
void learn_path_mtu(Context& ctx, uint32_t mtu_bytes, std::span<const uint8_t> payload) {
  Quote quote;
  EspHeader esp;
  if (!parse_quote(payload, quote) || quote.is_fragment || !read_quoted_esp(payload, quote, esp)) return;
  const Sa* sa = ctx.sad->find(Spi{esp.spi.host()}, quote.tuple.destination);
  if (!sa || sa->direction() != Direction::kOut || sa->source() != quote.tuple.source) return;
  if (sa->has(kSaEncap) != (quote.tuple.protocol == kProtoUdp)) return;
  const uint64_t next = sa->outbound().next_sequence.load(std::memory_order_relaxed);
  const uint64_t high = next >> 32;  // the quote has the low half; a number of the half before was sent, too
  const uint64_t quoted = high << 32 | esp.sequence.host();
  if (quoted >= next && high == 0) return;
  if (!ctx.scratch) sa->learn_path_mtu(mtu_bytes, ctx.now_ms);
}

// Answers with a copy, so that the request is counted and freed like every other packet.
void answer_ping(Context& ctx, rte_mbuf* request, const Decision& d) {
  rte_mbuf* reply = rte_pktmbuf_copy(request, request->pool, 0, UINT32_MAX);
  if (!reply) {
    stop(request, DropReason::kNoMbuf);
    return;
  }
  const Packet& p = packet(reply) = packet(request);
  if (d.as_sent != p.tuple)
    nat::apply(nat::make_rewrite(p.tuple, d.as_sent), bytes(reply).data(), l4_header(reply),
               p.ip_bytes - p.l4_offset);
  const InterfaceIndex in = p.in;
  const uint8_t story = answer_story(p.story);
  if (turn_echo_into_reply(reply, ctx.next_ip_id())) {
    packet(reply).again = Entry::kMade;
    packet(reply).story = story;
    packet(reply).out = in;  // for link-local addresses
    if (ctx.again.push(reply)) return ctx.stats->made.add(1);
  }
  rte_pktmbuf_free(reply);
}

// True: it was for us, and not for the host as well.
bool deliver_icmp(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  const auto& icmp = *reinterpret_cast<const IcmpHeader*>(l4_header(mbuf));
  if (icmp.type != kIcmpEcho && !(icmp.type == kIcmpUnreachable && icmp.code == kIcmpFragmentationNeeded))
    return false;
  stop(mbuf, DropReason::kUsedLocal);
  if (icmp.type == kIcmpEcho) answer_ping(ctx, mbuf, d);
  if (icmp.type == kIcmpEcho) return true;
  learn_path_mtu(ctx, icmp.sequence_or_mtu.host(), bytes(mbuf).subspan(packet(mbuf).l4_offset + sizeof icmp));
  return false;
}

bool deliver_icmpv6(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  const auto& icmp = *reinterpret_cast<const IcmpHeader*>(l4_header(mbuf));
  if (icmp.type != kIcmpv6Echo && icmp.type != kIcmpv6PacketTooBig) return false;
  stop(mbuf, DropReason::kUsedLocal);
  if (icmp.type == kIcmpv6Echo) answer_ping(ctx, mbuf, d);
  if (icmp.type == kIcmpv6Echo) return true;
  const uint32_t mtu = uint32_t{icmp.id.host()} << 16 | icmp.sequence_or_mtu.host();
  if (mtu < kMinPathMtuIpv6) return false;  // no path has less (RFC 8201 section 4)
  learn_path_mtu(ctx, mtu, bytes(mbuf).subspan(packet(mbuf).l4_offset + sizeof icmp));
  return false;
}

// The host gets packets as destination NAT made them, as Linux's sockets do.
bool translate_for_host(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  const Packet& p = packet(mbuf);
  if (d.is_related_error)
    return translate_error(ctx, mbuf, *d.session) || stop(mbuf, DropReason::kSessionInvalid);
  if (d.as_sent != p.tuple)
    nat::apply(nat::make_rewrite(p.tuple, d.as_sent), bytes(mbuf).data(), l4_header(mbuf),
               p.ip_bytes - p.l4_offset);
  return true;
}

// What nobody here listens for.
void refuse(rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  stop(mbuf, DropReason::kLocalNoService);
  switch (p.tuple.protocol) {
    case kProtoIcmp:
    case kProtoIcmpv6:
      stop(mbuf, DropReason::kUsedLocal);
      break;
    case kProtoTcp:
      break;
    case kProtoUdp:
    case kProtoGre:  // Linux: no tunnel
      d.answer = {.reason = IcmpReason::kPortUnreachable};
      break;
    default:
      d.answer = {.reason = IcmpReason::kProtocolUnreachable};
      break;
  }
}

bool has_segments_left(rte_mbuf* mbuf) {
  return !packet(mbuf).tuple.is_v4() && find_ipv6_headers(bytes(mbuf)).has_segments_left;
}

// What carries other packets or negotiates how: whether it is for one of our tunnels or for IKE, where
// `local_input` takes it.
bool has_service(const Context& ctx, rte_mbuf* mbuf, Decision& d) {
  if (is_esp(ctx, mbuf))
    d.service = LocalService::kEsp;
  else if (is_ike(ctx, mbuf, d.before_snat))
    d.service = LocalService::kIke;
  else if (packet(mbuf).tuple.protocol == kProtoGre && ctx.tables->tunnels->has_gre())
    d.service = LocalService::kGre;
  return d.service != LocalService::kNone;
}

bool is_used_here(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  if (is_nat_keepalive(ctx, mbuf)) {
    stop(mbuf, DropReason::kUsedKeepalive);
    return true;
  }
  if (packet(mbuf).flags & kFragment) return false;
  if (packet(mbuf).tuple.protocol == kProtoIcmp) return deliver_icmp(ctx, mbuf, d);
  return packet(mbuf).tuple.protocol == kProtoIcmpv6 && deliver_icmpv6(ctx, mbuf, d);
}

}  // namespace

void deliver(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  const IpAddress destination = d.before_snat.destination;
  const bool is_own = destination.is_multicast() || ctx.tables->interfaces->is_own_address(destination, p.in);
  if (!is_own && !ctx.tables->host_path) {
    stop(mbuf, DropReason::kIpBadDestination);  // a network's broadcast address: never answered
    return;
  }
  if (has_segments_left(mbuf)) {
    stop(mbuf, DropReason::kIpSourceRoute);
    return;
  }
  d.answer_source = p.tuple.destination;
  if (is_own && (has_service(ctx, mbuf, d) || is_used_here(ctx, mbuf, d))) return;
  if (ctx.tables->host_path) {
    if (translate_for_host(ctx, mbuf, d)) stop_for_main(mbuf, DropReason::kUsedHost);
  } else if (destination.is_multicast()) {
    stop(mbuf, DropReason::kIpMulticast);
  } else {
    refuse(mbuf, d);
  }
}

}  // namespace espalier::dataplane
