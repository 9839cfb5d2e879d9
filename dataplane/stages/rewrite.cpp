// Stage `rewrite`: does to the packet what was decided - addresses, ports, TTL, MSS, checksums. Decides
// nothing.
#include <algorithm>

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/translate.hpp"

namespace espalier::dataplane {
namespace {

using nat::kTcpSyn;

// RFC 9293 section 3.7.1: the value of the option of kind 2 and length 4, null if the SYN has none.
uint8_t* find_mss(uint8_t* tcp, uint32_t tcp_bytes) {
  constexpr uint8_t kEnd = 0, kNoOperation = 1, kMss = 2;
  const uint32_t header_bytes = (reinterpret_cast<TcpHeader*>(tcp)->data_offset >> 4) * 4u;
  const uint32_t end = std::min(header_bytes, tcp_bytes);
  for (uint32_t at = sizeof(TcpHeader); at < end && tcp[at] != kEnd;) {
    if (tcp[at] == kNoOperation) {
      ++at;
      continue;
    }
    if (at + 1 >= end || tcp[at + 1] < 2 || at + tcp[at + 1] > end) break;
    if (tcp[at] == kMss && tcp[at + 1] == 4) return tcp + at + 2;
    at += tcp[at + 1];
  }
  return nullptr;
}

// Lowers the MSS of a SYN, never raises it.
void clamp_mss(rte_mbuf* mbuf, uint16_t mss_bytes) {
  const Packet& p = packet(mbuf);
  uint8_t* tcp = l4_header(mbuf);
  uint8_t* option = find_mss(tcp, p.ip_bytes - p.l4_offset);
  if (!option) return;
  be16 offered;
  std::memcpy(&offered, option, sizeof offered);
  if (offered.host() <= mss_bytes) return;
  const be16 clamped = be16::from_host(mss_bytes);
  auto& header = *reinterpret_cast<TcpHeader*>(tcp);
  nat::ChecksumDelta delta;
  // An option may stand at an odd place: then its halves are each other's in the sum (RFC 1071 section 2 B).
  if ((option - tcp) % 2 == 0)
    delta.change(offered, clamped);
  else
    delta.change(be16::from_raw(__builtin_bswap16(offered.raw())),
                 be16::from_raw(__builtin_bswap16(clamped.raw())));
  header.checksum = delta.apply(header.checksum);
  std::memcpy(option, &clamped, sizeof clamped);
}

bool rewrite_one(Context& ctx, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const FlowDecision& d = (*ctx.flows)[p.flow].decision;
  if (d.flags & kDecidedRewrite)
    nat::apply(d.rewrite, bytes(mbuf).data(), l4_header(mbuf), p.ip_bytes - p.l4_offset);
  else if ((p.flags & kIcmpError) && !is_made_here(p) && (d.flags & kDecidedTracked) &&
           !translate_error(ctx, mbuf, d.session))
    return stop(mbuf, DropReason::kSessionInvalid);
  if (d.mss_bytes != 0 && (p.tcp_flags & kTcpSyn)) clamp_mss(mbuf, d.mss_bytes);
  if (!(p.flags & kFromGateway)) lower_hop_limit(mbuf);
  return true;
}

}  // namespace

uint16_t rewrite(Context& ctx, MbufSpan burst) {
  return partition(burst, [&](rte_mbuf* mbuf) { return rewrite_one(ctx, mbuf); });
}

}  // namespace espalier::dataplane
