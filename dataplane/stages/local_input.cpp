// Stage `local_input`: takes the wrapping off packets that `flow_lookup` found to be for the gateway: GRE
// (RFC 2784, RFC 2890), and ESP where it had to pass NAT first or is inside of something. What was inside
// goes through the pipeline anew. IKE goes to the main lcore. Configuration: gre interfaces, SAD.
#include <array>

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/esp.hpp"
#include "dataplane/stages/first_packet.hpp"
#include "dataplane/stages/ike.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"
#include "nat/checksum.hpp"
#include "nat/rewrite.hpp"

namespace espalier::dataplane {
namespace {

// What a GRE header says, once it was found right.
struct Gre {
  uint32_t header_bytes = 0;
  bool has_key = false;
  be32 key;
  Family inner = Family::kIpv4;
};

bool read_gre(std::span<const uint8_t> gre, Gre& result) {
  if (gre.size() < sizeof(GreHeader)) return false;
  const auto& header = *reinterpret_cast<const GreHeader*>(gre.data());
  const uint16_t flags = header.flags_version.host();
  if (flags & ~(GreHeader::kChecksum | GreHeader::kKey | GreHeader::kSequence)) return false;
  uint32_t at = sizeof header;
  if (flags & GreHeader::kChecksum) at += 4;
  result.has_key = flags & GreHeader::kKey;
  const uint32_t key_at = at;
  if (result.has_key) at += 4;
  if (flags & GreHeader::kSequence) at += 4;
  if (gre.size() < at) return false;
  if (result.has_key) std::memcpy(&result.key, gre.data() + key_at, sizeof result.key);
  if ((flags & GreHeader::kChecksum) && nat::checksum(gre) != 0) return false;
  result.header_bytes = at;
  result.inner = header.protocol.host() == kEtherTypeIpv6 ? Family::kIpv6 : Family::kIpv4;
  return header.protocol.host() == kEtherTypeIpv4 || header.protocol.host() == kEtherTypeIpv6;
}

// As ESP's, RFC 6040 section 4.2; GRE copies no DSCP.
bool merge_ecn(rte_mbuf* inner, uint8_t outer) {
  const uint8_t tos = traffic_class(inner);
  if ((outer & 3) != 3 || (tos & 3) == 3) return true;
  if ((tos & 3) == 0) return false;
  set_traffic_class(inner, tos | 3);
  return true;
}

const GreTunnel* tunnel_of(const Context& ctx, const Packet& p, const Gre& gre) {
  return ctx.tables->tunnels->find_gre(p.tuple.destination, p.tuple.source, gre.has_key ? &gre.key : nullptr);
}

// Linux's gre_rcv: the sender is told.
bool refuse_gre(Context& ctx, rte_mbuf* mbuf) {
  Decision d;
  d.answer = {.reason = IcmpReason::kPortUnreachable};
  d.answer_source = packet(mbuf).tuple.destination;
  answer_with_icmp_error(ctx, mbuf, d);
  return stop(mbuf, DropReason::kGreNoTunnel);
}

// The packet that was inside, on the gre interface; with no security path: the SAs were for the GRE (Linux
// drops it in the same place). Packet::reason is set where this fails.
bool unwrap_gre(Context& ctx, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  Gre gre;
  if (!read_gre(bytes(mbuf).subspan(p.l4_offset), gre)) return stop(mbuf, DropReason::kGreMalformed);
  const GreTunnel* tunnel = tunnel_of(ctx, p, gre);
  if (!tunnel) return refuse_gre(ctx, mbuf);
  // With a path policies were asked whose SA it is; by a vti, without one, any tunnel's peer may have sent
  // it.
  if (tunnel->protect && p.path == kClear) return stop(mbuf, DropReason::kGreClear);
  if (!ctx.interface(tunnel->interface).enabled) return stop(mbuf, DropReason::kInterfaceDown);
  const uint8_t outer = traffic_class(mbuf);
  rte_pktmbuf_adj(mbuf, static_cast<uint16_t>(p.l4_offset + gre.header_bytes));
  mbuf->ol_flags &= ~RTE_MBUF_F_RX_IP_CKSUM_MASK;
  p.in = tunnel->interface;
  p.path = kClear;
  p.flags &= ~kReassembled;
  p.fragment_limit = 0;
  p.flow = kNone32;
  if (!parse_ip(mbuf, gre.inner, true)) return false;
  ctx.stats->received[p.in.value].add(1, p.ip_bytes);
  return merge_ecn(mbuf, outer) || stop(mbuf, DropReason::kEspCeNotEct);
}

// Through the pipeline again as what it is now.
bool begin_again(rte_mbuf* mbuf) {
  if (++packet(mbuf).depth > kMaxDepth) return stop(mbuf, DropReason::kTunnelLoop);
  return stop_again(mbuf, Entry::kDecapsulated);
}

// ESP that NAT touched has its SA by the addresses behind that, and IKE its peer.
bool take_translation(Context& ctx, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const FlowDecision& d = (*ctx.flows)[p.flow].decision;
  if (!(d.flags & kDecidedRewrite)) return true;
  nat::apply(d.rewrite, bytes(mbuf).data(), l4_header(mbuf), p.ip_bytes - p.l4_offset);
  return parse_ip(mbuf, p.tuple.family(), false);
}

// The main lcore has it for the IKE process (gateway_ike.cpp).
bool hand_to_ike(Context& ctx, rte_mbuf* mbuf) {
  if (!take_translation(ctx, mbuf)) return false;
  if (is_nat_keepalive(ctx, mbuf)) return stop(mbuf, DropReason::kUsedKeepalive);
  if (ike_message(mbuf).empty()) return stop(mbuf, DropReason::kIkeMalformed);
  return stop_for_main(mbuf, DropReason::kUsedIke);
}

}  // namespace

uint16_t local_input(Context& ctx, MbufSpan burst) {
  std::array<rte_mbuf*, kBurst * 2> esp;
  size_t count = 0;
  const uint16_t kept = partition(burst, [&](rte_mbuf* mbuf) {
    switch (packet(mbuf).service) {
      case LocalService::kNone:
        return true;
      case LocalService::kGre:
        return unwrap_gre(ctx, mbuf) && begin_again(mbuf);
      case LocalService::kIke:
        return hand_to_ike(ctx, mbuf);
      case LocalService::kEsp:
        if (take_translation(ctx, mbuf)) esp[count++] = mbuf;
        return false;
    }
    return true;
  });
  if (count == 0) return kept;
  decrypt(ctx, {esp.data(), count}, UnknownEsp::kDrop);
  for (rte_mbuf* mbuf : MbufSpan(esp.data(), count))
    if (packet(mbuf).reason == DropReason::kNone) begin_again(mbuf);
  return kept;
}

}  // namespace espalier::dataplane
