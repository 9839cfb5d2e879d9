// Stage `esp_input`: ESP for the gateway is checked, decrypted and taken apart (RFC 4303 section 3.4); the
// inner packet goes on as if it had just come in on the same interface, with the security path of its SA.
//
// Order, as in Linux: SA by destination and SPI, replay check, ICV, window. Per run of packets of one SA:
//   1 admit   2 decrypt   3 accept: window, trailer, ECN, inner header
// ESP for others, and packets that were decrypted already, pass untouched. Configuration: SAD.
#include <array>

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/runs.hpp"
#include "dataplane/stages/stop.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint32_t kEspOverhead = sizeof(EspHeader) + kGcmIvBytes + kGcmIcvBytes;
constexpr uint8_t kCongestionExperienced = 3;
constexpr uint8_t kDummyPacket = 59;  // RFC 4303 section 2.6: next header of dummy packets

const EspHeader& esp_header(rte_mbuf* mbuf) {
  return *reinterpret_cast<const EspHeader*>(l4_header(mbuf));
}

// Finds the SA. Sets Packet::sa when the packet has to be decrypted, a reason when it must be dropped.
void classify(Context& ctx, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  p.sa = kNoSa;
  if (p.tuple.protocol != kProtoEsp || p.path != kClear || (p.flags & kFragment)) return;
  const bool whole = p.ip_bytes >= p.l4_offset + sizeof(EspHeader);
  const Sa* sa = whole ? ctx.sad->find(Spi{esp_header(mbuf).spi.host()}, p.tuple.destination) : nullptr;
  if (sa && sa->direction() == Direction::kIn) {
    p.sa = sa->index();
    sa->key().prefetch();
  } else if (ctx.tables->interfaces->is_own_address(p.tuple.destination)) {
    stop(mbuf, whole ? DropReason::kEspNoState : DropReason::kEspTruncated);
  }
}

// A run on its way through the three steps.
struct Run {
  const Sa& sa;
  MbufSpan packets;
  std::array<std::optional<ReplayWindow::Ticket>, kBurst * 2> tickets;
  std::array<rte_mbuf*, kBurst * 2> admitted;
  std::array<crypto::GcmJob, kBurst * 2> jobs;
  std::array<std::array<uint8_t, crypto::kGcmIvBytes>, kBurst * 2> ivs;
  size_t count = 0;
  Run(const Sa& s, MbufSpan p) : sa(s), packets(p) {}
};

void count_error(std::atomic<uint64_t>& counter) {
  CellCounters::add(counter, 1);
}

// Replay check, lengths, and the job for the cipher.
void admit(Run& run, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  CellCounters& counters = run.sa.counters();
  if (p.tuple.source != run.sa.source()) {
    count_error(counters.mismatch);
    stop(mbuf, DropReason::kEspWrongPeer);
    return;
  }
  auto ticket = run.sa.window().check(SeqNo{esp_header(mbuf).sequence.host()});
  if (!ticket) {
    count_error(counters.replay);
    stop(mbuf, DropReason::kEspReplay);
    return;
  }
  const uint32_t esp_bytes = p.ip_bytes - p.l4_offset;
  if (esp_bytes < kEspOverhead + sizeof(EspTrailer)) {
    count_error(counters.malformed);
    stop(mbuf, DropReason::kEspMalformed);
    return;
  }
  uint8_t* esp = l4_header(mbuf);
  auto& iv = run.ivs[run.count];
  const uint32_t salt = run.sa.salt_raw();
  std::memcpy(iv.data(), &salt, sizeof salt);
  std::memcpy(iv.data() + sizeof salt, esp + sizeof(EspHeader), kGcmIvBytes);
  run.jobs[run.count] = {.data = esp + sizeof(EspHeader) + kGcmIvBytes,
                         .bytes = esp_bytes - kEspOverhead,
                         .iv = iv.data(),
                         .aad = esp,
                         .aad_bytes = sizeof(EspHeader),
                         .tag = esp + esp_bytes - kGcmIcvBytes};
  run.tickets[run.count] = std::move(ticket);
  run.admitted[run.count++] = mbuf;
}

// RFC 6040 section 4.2; `outer_tos` is of the packet that was taken off. False: it must be dropped.
bool merge_tos(const Sa& sa, Ipv4Header& inner, uint8_t outer_tos) {
  uint8_t tos = inner.tos;
  if (sa.has(kSaDecapDscp)) tos = (outer_tos & ~3) | (tos & 3);
  if (!sa.has(kSaNoEcn) && (outer_tos & 3) == kCongestionExperienced) {
    if ((tos & 3) == 0) return false;
    tos |= kCongestionExperienced;
  }
  if (tos == inner.tos) return true;
  nat::ChecksumDelta delta;
  delta.change(be16::from_host(inner.tos).raw(), be16::from_host(tos).raw());
  inner.checksum = delta.apply(inner.checksum);
  inner.tos = tos;
  return true;
}

// Takes outer header, ESP header, padding and ICV off. `plaintext` is where the cipher wrote the inner
// packet.
void decapsulate(const Sa& sa, rte_mbuf* mbuf, const crypto::GcmJob& job) {
  Packet& p = packet(mbuf);
  const uint8_t outer_tos = ip_header(mbuf).tos;
  const auto& trailer = *reinterpret_cast<const EspTrailer*>(job.data + job.bytes - sizeof(EspTrailer));
  if (trailer.next_header == kDummyPacket) {
    stop(mbuf, DropReason::kUsedLocal);
    return;
  }
  if (trailer.next_header != kProtoIpip || trailer.pad_length + sizeof trailer > job.bytes) {
    count_error(sa.counters().malformed);
    stop(mbuf, DropReason::kEspMalformed);
    return;
  }
  const uint32_t inner_bytes = job.bytes - sizeof trailer - trailer.pad_length;
  rte_pktmbuf_adj(mbuf, static_cast<uint16_t>(job.data - rte_pktmbuf_mtod(mbuf, uint8_t*)));
  rte_pktmbuf_trim(mbuf, static_cast<uint16_t>(mbuf->data_len - inner_bytes));
  mbuf->ol_flags &= ~RTE_MBUF_F_RX_IP_CKSUM_MASK;
  p.flags &= ~kReassembled;
  p.fragment_limit = 0;
  p.path = sa.path();
  if (!parse_ip(mbuf, true)) {
    count_error(sa.counters().malformed);
    return;
  }
  if (!merge_tos(sa, ip_header(mbuf), outer_tos)) stop(mbuf, DropReason::kEspCeNotEct);
}

// Window and decapsulation of what is authentic.
void accept(Run& run, std::span<const crypto::Verdict> verdicts) {
  CellCounters& counters = run.sa.counters();
  uint64_t packets = 0, bytes = 0;
  {
    ReplayWindow::Run window(run.sa.window());
    for (size_t i = 0; i < run.count; ++i) {
      const crypto::Authenticated* proof = verdicts[i].proof();
      if (!proof) {
        count_error(counters.icv);
        stop(run.admitted[i], DropReason::kEspIcv);
      } else if (!window.commit(std::move(*run.tickets[i]), *proof)) {
        count_error(counters.replay);
        stop(run.admitted[i], DropReason::kEspReplay);
      }
    }
  }
  for (size_t i = 0; i < run.count; ++i) {
    const Packet& p = packet(run.admitted[i]);
    if (p.reason == DropReason::kNone) decapsulate(run.sa, run.admitted[i], run.jobs[i]);
    if (p.reason != DropReason::kNone) continue;
    ++packets;
    bytes += p.ip_bytes;
  }
  CellCounters::add(counters.packets, packets);
  CellCounters::add(counters.bytes, bytes);
}

void decrypt_run(Context& ctx, const Sa& sa, MbufSpan packets) {
  Run run(sa, packets);
  for (rte_mbuf* mbuf : packets) admit(run, mbuf);
  std::array<crypto::Verdict, kBurst * 2> verdicts;
  ctx.gcm->decrypt(sa.key(), {run.jobs.data(), run.count}, verdicts);
  accept(run, {verdicts.data(), run.count});
}

}  // namespace

uint16_t esp_input(Context& ctx, MbufSpan burst) {
  for (rte_mbuf* mbuf : burst) classify(ctx, mbuf);
  std::array<rte_mbuf*, kBurst * 2> esp;
  size_t count = 0;
  for (rte_mbuf* mbuf : burst)
    if (packet(mbuf).sa != kNoSa) esp[count++] = mbuf;
  for_each_run({esp.data(), count}, [&](SaIndex index, MbufSpan run) {
    if (const Sa* sa = ctx.sad->at(index)) return decrypt_run(ctx, *sa, run);
    for (rte_mbuf* mbuf : run) stop(mbuf, DropReason::kEspNoState);  // removed since classify()
  });
  return partition(burst, [](rte_mbuf* mbuf) { return packet(mbuf).reason == DropReason::kNone; });
}

}  // namespace espalier::dataplane
