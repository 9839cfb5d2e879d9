// Stage `esp_output`: what a policy protects becomes ESP in tunnel mode (RFC 4303 section 3.3) with AES-GCM
// (RFC 4106).
//
// Per run of packets of one SA: sequence numbers are taken for the whole run, every packet gets padding,
// trailer and headers, then the cipher takes the run at once. The explicit IV is the sequence number, which
// the vault never gives out twice (RFC 4106 section 3.1). Configuration: SAD, routes of the outer addresses.
#include <array>

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/runs.hpp"
#include "dataplane/stages/stop.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint8_t kOuterTtl = 64;  // Linux: net.ipv4.ip_default_ttl
constexpr uint32_t kFrontBytes = sizeof(Ipv4Header) + sizeof(EspHeader) + kGcmIvBytes;

// Padding that aligns the trailer's end to 4 bytes (RFC 4303 section 2.4).
uint32_t pad_bytes(uint32_t inner_bytes) {
  return (0u - (inner_bytes + sizeof(EspTrailer))) & 3;
}

// RFC 6040 section 4.1 in Linux's way: CE becomes ECT(0) outside.
uint8_t outer_tos(const Sa& sa, uint8_t inner_tos) {
  uint8_t tos = inner_tos;
  if ((tos & 3) == 3) tos = (tos & ~3) | 2;
  if (sa.has(kSaNoEcn)) tos &= ~3;
  if (sa.has(kSaDontEncapDscp)) tos &= 3;
  return tos;
}

// What the outer headers of a run have in common, and its sum.
struct OuterTemplate {
  Ipv4Header header;
  uint64_t sum;
  explicit OuterTemplate(const Sa& sa)
      : header{.version_ihl = 0x45,
               .tos = 0,
               .total_length = {},
               .id = {},
               .fragment = {},
               .ttl = kOuterTtl,
               .protocol = kProtoEsp,
               .checksum = 0,
               .source = sa.source(),
               .destination = sa.destination()},
        sum(nat::sum_of({reinterpret_cast<const uint8_t*>(&header), sizeof header})) {}
};

void write_outer_header(Context& ctx, const Sa& sa, const OuterTemplate& common, const Packet& p,
                        const Ipv4Header& inner, Ipv4Header& outer, uint16_t total_bytes) {
  const bool df = inner.dont_fragment() && !sa.has(kSaNoPmtuDisc);
  const uint8_t tos = outer_tos(sa, inner.tos);
  // With DF the identification says nothing (RFC 6864 section 4.1) unless the packet may be fragmented after
  // all.
  const bool atomic = df && !(p.flags & kReassembled);
  outer = common.header;
  outer.tos = tos;
  outer.total_length = be16::from_host(total_bytes);
  outer.id = be16::from_host(atomic ? 0 : ctx.next_ip_id());
  outer.fragment = be16::from_host(df ? Ipv4Header::kDontFragment : 0);
  const uint64_t first_word = be16::from_host(tos).raw();  // version and length are in the sum already
  outer.checksum = static_cast<uint16_t>(
      ~nat::fold(common.sum + first_word + outer.total_length.raw() + outer.id.raw() + outer.fragment.raw()));
}

void write_trailer(uint8_t* at, uint32_t padding) {
  for (uint32_t i = 1; i <= padding; ++i) *at++ = static_cast<uint8_t>(i);
  *reinterpret_cast<EspTrailer*>(at) = {.pad_length = static_cast<uint8_t>(padding),
                                        .next_header = kProtoIpip};
}

// Checks room, so that encapsulate() cannot fail.
bool has_room(rte_mbuf* mbuf) {
  const uint32_t back = pad_bytes(packet(mbuf).ip_bytes) + sizeof(EspTrailer) + kGcmIcvBytes;
  return kFrontBytes + packet(mbuf).ip_bytes + back <= 65535 &&
         rte_pktmbuf_headroom(mbuf) >= kFrontBytes + kMaxL2Bytes && rte_pktmbuf_tailroom(mbuf) >= back;
}

// Puts everything around the inner packet but the cipher's work, which it returns as a job.
crypto::GcmJob encapsulate(Context& ctx, const Sa& sa, const OuterTemplate& outer, rte_mbuf* mbuf,
                           uint64_t number, std::array<uint8_t, crypto::kGcmIvBytes>& iv) {
  Packet& p = packet(mbuf);
  const uint32_t padding = pad_bytes(p.ip_bytes);
  const uint32_t plain_bytes = p.ip_bytes + padding + sizeof(EspTrailer);
  uint8_t* plain = rte_pktmbuf_mtod(mbuf, uint8_t*);
  write_trailer(plain + p.ip_bytes, padding);
  rte_pktmbuf_append(mbuf, static_cast<uint16_t>(padding + sizeof(EspTrailer) + kGcmIcvBytes));
  uint8_t* front = reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf, kFrontBytes));
  write_outer_header(ctx, sa, outer, p, *reinterpret_cast<const Ipv4Header*>(plain),
                     *reinterpret_cast<Ipv4Header*>(front), mbuf->data_len);
  uint8_t* esp = front + sizeof(Ipv4Header);
  *reinterpret_cast<EspHeader*>(esp) = {.spi = be32::from_host(sa.spi().value),
                                        .sequence = be32::from_host(static_cast<uint32_t>(number))};
  const be64 explicit_iv = be64::from_host(number);
  const uint32_t salt = sa.salt_raw();
  std::memcpy(iv.data(), &salt, sizeof salt);
  std::memcpy(iv.data() + sizeof salt, &explicit_iv, sizeof explicit_iv);
  std::memcpy(esp + sizeof(EspHeader), &explicit_iv, sizeof explicit_iv);
  return {.data = plain,
          .bytes = plain_bytes,
          .iv = iv.data(),
          .aad = esp,
          .aad_bytes = sizeof(EspHeader),
          .tag = plain + plain_bytes};
}

// The record of the packet that it is now: ESP on the way to the peer.
void become_outer(const RouteResult& route, NeighborRef neighbor, uint32_t mtu_bytes, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  p.ip_bytes = mbuf->data_len;
  p.l4_offset = sizeof(Ipv4Header);
  p.flags = (p.flags | kEncrypted) & ~kReassembled;
  p.fragment_limit = 0;
  p.out = route.interface;
  p.next_hop = route.next_hop;
  p.neighbor = neighbor.value;
  p.mtu_bytes = mtu_bytes;
}

DropReason why_no_number(SequenceStop stop) {
  return stop == SequenceStop::kExhausted ? DropReason::kEspSequenceExhausted
                                          : DropReason::kEspSequenceNotReserved;
}

void encrypt_run(Context& ctx, const Sa& sa, MbufSpan run) {
  const RouteResult& route = ctx.tables->outer_route(sa).route;
  if (route.verdict != RouteVerdict::kForward) {
    for (rte_mbuf* mbuf : run) stop(mbuf, reason_of(route.verdict));
    return;
  }
  const size_t ready =
      partition(run, [](rte_mbuf* mbuf) { return has_room(mbuf) || stop(mbuf, DropReason::kEspTooLong); });
  const SequenceRun numbers = sa.outbound().take(static_cast<uint32_t>(ready));
  if (numbers.stop == SequenceStop::kNotReserved)
    CellCounters::add(sa.counters().no_reserve, ready - numbers.granted);
  for (size_t i = numbers.granted; i < ready; ++i) stop(run[i], why_no_number(numbers.stop));

  const OuterTemplate outer(sa);
  const NeighborRef neighbor = ctx.neighbors->find(route.interface, route.next_hop);
  const uint32_t mtu_bytes = ctx.outer_mtu(sa);
  std::array<crypto::GcmJob, kBurst * 2> jobs;
  std::array<std::array<uint8_t, crypto::kGcmIvBytes>, kBurst * 2> ivs;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < numbers.granted; ++i) {
    bytes += packet(run[i]).ip_bytes;
    jobs[i] = encapsulate(ctx, sa, outer, run[i], numbers.first + i, ivs[i]);
    become_outer(route, neighbor, mtu_bytes, run[i]);
  }
  ctx.gcm->encrypt(sa.key(), {jobs.data(), numbers.granted});
  CellCounters::add(sa.counters().packets, numbers.granted);
  CellCounters::add(sa.counters().bytes, bytes);
}

}  // namespace

uint16_t esp_output(Context& ctx, MbufSpan burst) {
  std::array<rte_mbuf*, kBurst * 2> plain;
  size_t count = 0;
  for (rte_mbuf* mbuf : burst)
    if (packet(mbuf).sa != kNoSa) plain[count++] = mbuf;
  if (count == 0) return static_cast<uint16_t>(burst.size());
  for_each_run({plain.data(), count}, [&](SaIndex index, MbufSpan run) {
    if (const Sa* sa = ctx.sad->at(index)) return encrypt_run(ctx, *sa, run);
    for (rte_mbuf* mbuf : run) stop(mbuf, DropReason::kOutNoState);
  });
  return partition(burst, [](rte_mbuf* mbuf) { return packet(mbuf).reason == DropReason::kNone; });
}

}  // namespace espalier::dataplane
