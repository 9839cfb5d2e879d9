// What is for the gateway itself: pings are answered, path MTU messages are learned from, the rest is
// refused.
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/first_packet.hpp"
#include "dataplane/stages/stop.hpp"
#include "nat/rewrite.hpp"

namespace espalier::dataplane {
namespace {

// RFC 1191, RFC 4301 section 8.2.1: believed only about an SA of ours, by the SPI that the quote shows, and
// only for a sequence number that was sent already.
void learn_path_mtu(Context& ctx, const IcmpHeader& icmp, std::span<const uint8_t> payload) {
  Quote quote;
  if (!parse_quote(payload, quote) || quote.is_fragment || quote.tuple.protocol != kProtoEsp) return;
  EspHeader esp;
  std::memcpy(&esp, payload.data() + quote.l4_offset, sizeof esp);
  const Sa* sa = ctx.sad->find(Spi{esp.spi.host()}, quote.tuple.destination);
  if (!sa || sa->direction() != Direction::kOut || sa->source() != quote.tuple.source) return;
  const uint64_t next = sa->outbound().next_sequence.load(std::memory_order_relaxed);
  if (esp.sequence.host() >= next) return;
  sa->learn_path_mtu(icmp.sequence_or_mtu.host(), ctx.now_ms);
}

// Answers with a copy, so that the request is counted and freed like every other packet.
void answer_ping(Context& ctx, rte_mbuf* request, const Decision& d) {
  rte_mbuf* reply = rte_pktmbuf_copy(request, request->pool, 0, UINT32_MAX);
  if (!reply) {
    stop(request, DropReason::kNoMbuf);
    return;
  }
  const Packet& p = packet(reply) = packet(request);
  if (d.before_snat != p.tuple)
    nat::apply(nat::make_rewrite(p.tuple, d.before_snat), bytes(reply).data(), l4_header(reply),
               p.ip_bytes - p.l4_offset);
  if (turn_echo_into_reply(reply, ctx.next_ip_id()) && ctx.made.push(reply)) return ctx.stats->made.add(1);
  rte_pktmbuf_free(reply);
}

void deliver_icmp(Context& ctx, rte_mbuf* mbuf, const Decision& d) {
  const auto& icmp = *reinterpret_cast<const IcmpHeader*>(l4_header(mbuf));
  stop(mbuf, DropReason::kUsedLocal);
  if (icmp.type == kIcmpEcho) return answer_ping(ctx, mbuf, d);
  if (icmp.type == kIcmpUnreachable && icmp.code == kIcmpFragmentationNeeded)
    learn_path_mtu(ctx, icmp, bytes(mbuf).subspan(packet(mbuf).l4_offset + sizeof icmp));
}

}  // namespace

void deliver(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  if (!ctx.tables->interfaces->is_own_address(d.before_snat.destination)) {
    stop(mbuf, DropReason::kIpBadDestination);  // a network's broadcast address: never answered
    return;
  }
  d.answer_source = p.tuple.destination;
  stop(mbuf, DropReason::kLocalNoService);
  switch (p.tuple.protocol) {
    case kProtoIcmp:
      deliver_icmp(ctx, mbuf, d);
      break;
    case kProtoUdp:
      d.answer = {.type = kIcmpUnreachable, .code = kIcmpPortUnreachable};
      break;
    case kProtoEsp:
      stop(mbuf, DropReason::kEspNested);
      break;
    case kProtoTcp:
      break;
    default:
      d.answer = {.type = kIcmpUnreachable, .code = kIcmpProtocolUnreachable};
      break;
  }
}

}  // namespace espalier::dataplane
