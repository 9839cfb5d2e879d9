// Stage `esp_input`: ESP for the gateway is checked, decrypted and taken apart (RFC 4303 section 3.4, in UDP
// RFC 3948); what was inside goes on as if it had just come in on the same interface, or on the SA's vti,
// with the security path of its SAs.
//
// Order, as in Linux: SA by destination and SPI, replay check, ICV, window. Per run of packets of one SA:
//   1 admit   2 decrypt   3 accept: window, limits, trailer, ECN, inner header
// and all of it again for what is ESP once more. ESP for others passes untouched; so does all of it where NAT
// may change it: then conntrack comes first, and `local_input` decrypts. Configuration: SAD.
#include <array>

#include "dataplane/pipeline.hpp"
#include "dataplane/stages/esp.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/runs.hpp"
#include "dataplane/stages/sa_use.hpp"
#include "dataplane/stages/stop.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint8_t kCongestionExperienced = 3;
constexpr uint32_t kUdpEspBytes = sizeof(UdpHeader) + sizeof(EspHeader);  // what is no longer is no ESP

const EspHeader& esp_header(rte_mbuf* mbuf) {
  return *reinterpret_cast<const EspHeader*>(esp_start(mbuf));
}

uint32_t l4_bytes(const Packet& p) {
  return p.ip_bytes - p.l4_offset;
}

// In UDP, for one of the ports that our SAs use.
bool is_for_encap_port(const Context& ctx, const Packet& p) {
  return p.tuple.protocol == kProtoUdp && !(p.flags & kFragment) &&
         ctx.tables->encap_ports.contains(p.tuple.destination_port) &&
         ctx.tables->interfaces->is_own_address(p.tuple.destination);
}

// Finds the SA. Sets Packet::sa when the packet has to be decrypted, a reason when it must be dropped.
void classify(Context& ctx, rte_mbuf* mbuf, UnknownEsp unknown) {
  Packet& p = packet(mbuf);
  p.sa = kNoSa;
  if (!is_esp(ctx, mbuf)) return;
  const bool in_udp = p.tuple.protocol == kProtoUdp;
  const bool whole = in_udp || l4_bytes(p) >= sizeof(EspHeader);
  const Sa* sa = whole ? ctx.sad->find(Spi{esp_header(mbuf).spi.host()}, p.tuple.destination) : nullptr;
  if (!sa || sa->direction() != Direction::kIn) {
    if (whole && unknown == UnknownEsp::kAskSessions && ctx.tables->tracks(p.tuple.family())) return;
    if (in_udp || ctx.tables->interfaces->is_own_address(p.tuple.destination))
      stop(mbuf, whole ? DropReason::kEspNoState : DropReason::kEspTruncated);
  } else if (p.depth == kMaxDepth) {
    stop(mbuf, DropReason::kEspNested);
  } else {
    p.sa = sa->index();
    sa->key().prefetch();
  }
}

// A run on its way through the three steps.
struct Run {
  const Sa& sa;
  MbufSpan packets;
  std::array<std::optional<ReplayWindow::Ticket>, kBurst * 2> tickets;
  std::array<rte_mbuf*, kBurst * 2> admitted;
  std::array<crypto::EspJob, kBurst * 2> jobs;
  size_t count = 0;
  Run(const Sa& s, MbufSpan p) : sa(s), packets(p) {}
};

bool refuse(const Context& ctx, rte_mbuf* mbuf, std::atomic<uint64_t>& counter, DropReason reason) {
  count(ctx, counter, 1);
  return stop(mbuf, reason);
}

// A NAT may change the peer's port at any time; another address only where the SA says so.
bool is_from_peer(const Sa& sa, const Packet& p) {
  return p.tuple.source == sa.source() || (sa.has(kSaEncap) && sa.has(kSaMapping));
}

// Replay check, lengths, and the job for the cipher.
bool admit(const Context& ctx, Run& run, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const Sa& sa = run.sa;
  CellCounters& counters = sa.counters();
  if (counters.has_expired(kExpiredHard)) return stop(mbuf, DropReason::kEspNoState);
  if (sa.has(kSaEncap) != (p.tuple.protocol == kProtoUdp))
    return refuse(ctx, mbuf, counters.mismatch, DropReason::kEspEncapMismatch);
  if (!is_from_peer(sa, p)) return refuse(ctx, mbuf, counters.mismatch, DropReason::kEspWrongPeer);
  auto ticket = sa.window().check(esp_header(mbuf).sequence.host());
  if (!ticket) return refuse(ctx, mbuf, counters.replay, DropReason::kEspReplay);
  uint8_t* esp = esp_start(mbuf);
  const auto esp_bytes = static_cast<uint32_t>(rte_pktmbuf_mtod(mbuf, uint8_t*) + p.ip_bytes - esp);
  const uint32_t around = sizeof(EspHeader) + sa.shape().iv_bytes + sa.shape().icv_bytes;
  if (esp_bytes < around + sizeof(EspTrailer))
    return refuse(ctx, mbuf, counters.malformed, DropReason::kEspMalformed);
  run.jobs[run.count] = {.esp = esp,
                         .payload_bytes = esp_bytes - around,
                         .sequence_high = static_cast<uint32_t>(ticket->number().value >> 32)};
  run.tickets[run.count] = std::move(ticket);
  run.admitted[run.count++] = mbuf;
  return true;
}

// RFC 6040 section 4.2; `outer` is the traffic class of the packet that was taken off. False: it must be
// dropped.
bool merge_traffic_class(const Sa& sa, rte_mbuf* inner, uint8_t outer) {
  const uint8_t before = traffic_class(inner);
  uint8_t merged = before;
  if (sa.has(kSaDecapDscp)) merged = (outer & ~3) | (merged & 3);
  if (!sa.has(kSaNoEcn) && (outer & 3) == kCongestionExperienced) {
    if ((merged & 3) == 0) return false;
    merged |= kCongestionExperienced;
  }
  if (merged != before) set_traffic_class(inner, merged);
  return true;
}

bool is_malformed(const Context& ctx, const Sa& sa, rte_mbuf* mbuf) {
  return refuse(ctx, mbuf, sa.counters().malformed, DropReason::kEspMalformed);
}

// The record of what came out of `sa`.
void note_path(const Context& ctx, const Sa& sa, Packet& p) {
  p.path = ctx.sad->path_after(p.path, sa);
  p.last_sa = sa.index();
  p.flags |= kCameProtected;
  p.flags &= ~kReassembled;
  p.fragment_limit = 0;
  ++p.depth;
}

// Linux asks the policies of direction in, whoever the packet is for.
DropReason judge_at_vti(const Context& ctx, const Packet& p) {
  const Spd& spd = *ctx.tables->spd;
  const Direction direction = spd.empty(Direction::kIn, p.in) ? Direction::kFwd : Direction::kIn;
  if (spd.empty(direction, p.in)) return DropReason::kNone;
  const PolicyRecord* policy = spd.lookup(direction, p.tuple, kNoInterface, p.in);
  if (!policy || policy->action == PolicyAction::kDiscard) return DropReason::kInNoPolicy;
  if (policy->action == PolicyAction::kBypass) return DropReason::kNone;
  const PathInfo* path = ctx.sad->path_info(p.path);
  return path && fits_templates(*policy, *path) ? DropReason::kNone : DropReason::kInTemplateMismatch;
}

// A vti is an interface: what comes by it is judged here, once for all, by the SA's selector and the vti's
// own policies, if there are some, and then is a packet like others that came in there. Linux forgets the SAs
// in the same place (vti_rcv_cb).
bool arrive_at_vti(const Context& ctx, const Sa& sa, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  if (!ctx.is_interface(sa.vti()) || !ctx.interface(sa.vti()).enabled)
    return stop(mbuf, DropReason::kInterfaceDown);
  p.in = sa.vti();
  ctx.stats->received[p.in.value].add(1, p.ip_bytes);
  if (!sa.covers(p.tuple)) return stop(mbuf, DropReason::kInStateMismatch);
  const DropReason reason = judge_at_vti(ctx, p);
  p.path = kClear;
  return reason == DropReason::kNone || stop(mbuf, reason);
}

// Tunnel mode: what was inside is a packet of its own (RFC 4303 section 3.4.4.1).
bool take_out(Context& ctx, const Sa& sa, rte_mbuf* mbuf, uint8_t* inner, uint32_t inner_bytes,
              Family family) {
  Packet& p = packet(mbuf);
  const uint8_t outer = traffic_class(mbuf);
  rte_pktmbuf_adj(mbuf, static_cast<uint16_t>(inner - rte_pktmbuf_mtod(mbuf, uint8_t*)));
  rte_pktmbuf_trim(mbuf, static_cast<uint16_t>(mbuf->data_len - inner_bytes));
  mbuf->ol_flags &= ~RTE_MBUF_F_RX_IP_CKSUM_MASK;
  note_path(ctx, sa, p);
  if (!parse_ip(mbuf, family, true)) {
    count(ctx, sa.counters().malformed, 1);
    return false;
  }
  if (!merge_traffic_class(sa, mbuf, outer)) return stop(mbuf, DropReason::kEspCeNotEct);
  return sa.vti() == kNoInterface || arrive_at_vti(ctx, sa, mbuf);
}

// Transport mode: ESP header and trailer leave, the IP header stays and names what was inside.
bool close_up(Context& ctx, const Sa& sa, rte_mbuf* mbuf, uint8_t* inner, uint32_t inner_bytes,
              uint8_t protocol) {
  Packet& p = packet(mbuf);
  const Family family = p.tuple.family();
  auto* start = rte_pktmbuf_mtod(mbuf, uint8_t*);
  const auto removed = static_cast<uint16_t>(inner - (start + p.l4_offset));
  rename_upper_layer(mbuf, protocol);
  std::memmove(start + removed, start, p.l4_offset);
  rte_pktmbuf_adj(mbuf, removed);
  const uint32_t total = p.l4_offset + inner_bytes;
  rte_pktmbuf_trim(mbuf, static_cast<uint16_t>(mbuf->data_len - total));
  set_ip_length(mbuf, static_cast<uint16_t>(total));
  note_path(ctx, sa, p);
  return parse_ip(mbuf, family, false) || is_malformed(ctx, sa, mbuf);
}

// Takes everything off that was ESP. `job` says where the cipher wrote what was inside.
bool decapsulate(Context& ctx, const Sa& sa, rte_mbuf* mbuf, const crypto::EspJob& job) {
  uint8_t* inner = job.esp + sizeof(EspHeader) + sa.shape().iv_bytes;
  const auto& trailer = *reinterpret_cast<const EspTrailer*>(inner + job.payload_bytes - sizeof(EspTrailer));
  // RFC 4303 section 2.6: dummy packets, against traffic analysis.
  if (trailer.next_header == kProtoNoNext) return stop(mbuf, DropReason::kUsedLocal);
  if (trailer.pad_length + sizeof trailer > job.payload_bytes) return is_malformed(ctx, sa, mbuf);
  const uint32_t inner_bytes = job.payload_bytes - sizeof trailer - trailer.pad_length;
  if (sa.mode() == EspMode::kTransport)
    return close_up(ctx, sa, mbuf, inner, inner_bytes, trailer.next_header);
  // What is longer than the packet inside is TFC padding (RFC 4303 section 2.7): parse_ip() cuts it off.
  if (trailer.next_header == kProtoIpip) return take_out(ctx, sa, mbuf, inner, inner_bytes, Family::kIpv4);
  if (trailer.next_header == kProtoIpv6) return take_out(ctx, sa, mbuf, inner, inner_bytes, Family::kIpv6);
  return is_malformed(ctx, sa, mbuf);
}

void commit_window(const Context& ctx, Run& run, std::span<const crypto::Verdict> verdicts) {
  CellCounters& counters = run.sa.counters();
  WindowRun window(ctx, run.sa);
  for (size_t i = 0; i < run.count; ++i) {
    const crypto::Authenticated* proof = verdicts[i].proof();
    if (!proof)
      refuse(ctx, run.admitted[i], counters.icv, DropReason::kEspIcv);
    else if (!window.commit(std::move(*run.tickets[i]), *proof))
      refuse(ctx, run.admitted[i], counters.replay, DropReason::kEspReplay);
  }
}

// Window, limits and decapsulation of what is authentic.
void accept(Context& ctx, Run& run, std::span<const crypto::Verdict> verdicts) {
  CellCounters& counters = run.sa.counters();
  commit_window(ctx, run, verdicts);
  uint64_t packets = 0, bytes = 0;
  for (size_t i = 0; i < run.count; ++i) {
    rte_mbuf* mbuf = run.admitted[i];
    const Packet& p = packet(mbuf);
    if (p.reason != DropReason::kNone) continue;
    if (run.sa.is_limited() && !count_within_limits(ctx, run.sa, run.jobs[i].payload_bytes)) {
      stop(mbuf, DropReason::kEspInExpired);
      continue;
    }
    note_peer(ctx, run.sa, p);
    if (!decapsulate(ctx, run.sa, mbuf, run.jobs[i])) continue;
    if (ctx.observer && ctx.observer->wants(run.sa.index())) [[unlikely]]
      ctx.observer->decrypted(run.sa, mbuf);
    ++packets;
    bytes += p.ip_bytes;
  }
  if (run.sa.is_limited()) return;
  count(ctx, counters.packets, packets);
  count(ctx, counters.bytes, bytes);
}

void decrypt_run(Context& ctx, const Sa& sa, MbufSpan packets) {
  Run run(sa, packets);
  for (rte_mbuf* mbuf : packets) admit(ctx, run, mbuf);
  std::array<crypto::Verdict, kBurst * 2> verdicts;
  ctx.esp->open(sa.key(), {run.jobs.data(), run.count}, verdicts);
  accept(ctx, run, {verdicts.data(), run.count});
}

// One layer of ESP. False: there was none.
bool decrypt_layer(Context& ctx, MbufSpan packets, UnknownEsp unknown) {
  for (rte_mbuf* mbuf : packets)
    if (packet(mbuf).reason == DropReason::kNone) classify(ctx, mbuf, unknown);
  std::array<rte_mbuf*, kBurst * 2> esp;
  size_t count = 0;
  for (rte_mbuf* mbuf : packets)
    if (packet(mbuf).reason == DropReason::kNone && packet(mbuf).sa != kNoSa) esp[count++] = mbuf;
  for_each_run({esp.data(), count}, [&](SaIndex index, MbufSpan run) {
    if (const Sa* sa = ctx.sad->at(index)) return decrypt_run(ctx, *sa, run);
    for (rte_mbuf* mbuf : run) stop(mbuf, DropReason::kEspNoState);  // removed since classify()
  });
  return count != 0;
}

}  // namespace

bool is_esp(const Context& ctx, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  if (p.tuple.protocol == kProtoEsp) return !(p.flags & kFragment);
  if (!is_for_encap_port(ctx, p) || l4_bytes(p) <= kUdpEspBytes) return false;
  return reinterpret_cast<const EspHeader*>(l4_header(mbuf) + sizeof(UdpHeader))->spi.raw() != 0;
}

bool is_nat_keepalive(const Context& ctx, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  return is_for_encap_port(ctx, p) && l4_bytes(p) == sizeof(UdpHeader) + 1 &&
         l4_header(mbuf)[sizeof(UdpHeader)] == 0xff;
}

bool decrypt(Context& ctx, MbufSpan packets, UnknownEsp unknown) {
  bool any = false;
  while (decrypt_layer(ctx, packets, unknown)) any = true;
  return any;
}

uint16_t esp_input(Context& ctx, MbufSpan burst) {
  if (ctx.tables->esp_through_nat) return static_cast<uint16_t>(burst.size());
  decrypt(ctx, burst, UnknownEsp::kAskSessions);
  return partition(burst, [](rte_mbuf* mbuf) { return packet(mbuf).reason == DropReason::kNone; });
}

}  // namespace espalier::dataplane
