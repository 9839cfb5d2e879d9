// Stage `esp_output`: what a policy protects becomes ESP (RFC 4303 section 3.3), in tunnel or transport mode,
// bare or in UDP (RFC 3948), once for each template of the policy.
//
// Per run of packets of one SA: sequence numbers are taken for the whole run, every packet gets padding,
// trailer and headers, then the cipher takes the run at once. A sequence number is never given out twice,
// also not after a restart (RFC 4106 section 3.1): the SA's cell sees to that. Configuration: SAD, routes of
// the outer addresses.
#include <array>

#include "dataplane/ipv6.hpp"
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/outer_header.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/runs.hpp"
#include "dataplane/stages/sa_use.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/way_out.hpp"

namespace espalier::dataplane {
namespace {

// RFC 6040 section 4.1, and the SA's flags.
uint8_t outer_traffic_class(const Sa& sa, uint8_t inner) {
  uint8_t tos = encapsulated_traffic_class(inner);
  if (sa.has(kSaNoEcn)) tos &= ~3;
  if (sa.has(kSaDontEncapDscp)) tos &= 3;
  return tos;
}

// What stays in front of the ESP header in transport mode (RFC 4303 section 3.1.1): the IPv4 header, or that
// of IPv6 with the extensions that routers look at.
uint32_t kept_bytes(const Sa& sa, rte_mbuf* mbuf) {
  if (sa.mode() == EspMode::kTunnel) return 0;
  const Packet& p = packet(mbuf);
  return p.tuple.is_v4() ? p.l4_offset : find_ipv6_headers(bytes(mbuf)).unfragmentable_bytes;
}

uint32_t back_bytes(const Sa& sa, uint32_t payload_bytes) {
  return sa.shape().pad_bytes(payload_bytes) + sizeof(EspTrailer) + sa.shape().icv_bytes;
}

// Checks and makes room, so that encapsulate() cannot fail. IPsec-MB's lengths have 16 bits.
bool make_room(const Sa& sa, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  const uint32_t back = back_bytes(sa, p.ip_bytes - kept_bytes(sa, mbuf));
  return sa.shape().front_bytes() + p.ip_bytes + back <= crypto::kMaxPayloadBytes &&
         make_headroom(mbuf, sa.shape().front_bytes()) && rte_pktmbuf_tailroom(mbuf) >= back;
}

void write_trailer(uint8_t* at, uint32_t padding, uint8_t next_header) {
  for (uint32_t i = 1; i <= padding; ++i) *at++ = static_cast<uint8_t>(i);
  *reinterpret_cast<EspTrailer*>(at) = {.pad_length = static_cast<uint8_t>(padding),
                                        .next_header = next_header};
}

// Its checksum waits for what the cipher writes: see finish_udp_checksums().
void write_udp_header(const Sa& sa, uint32_t udp_bytes, uint8_t* at) {
  *reinterpret_cast<UdpHeader*>(at) = {.source_port = sa.encap_source_port(),
                                       .destination_port = sa.encap_destination_port(),
                                       .length = be16::from_host(static_cast<uint16_t>(udp_bytes)),
                                       .checksum = 0};
}

uint8_t outer_protocol(const Sa& sa) {
  return sa.has(kSaEncap) ? kProtoUdp : kProtoEsp;
}

// Packets of IPv6 that the gateway makes have no flag that says so.
bool is_dont_fragment(const Packet& p) {
  return !p.tuple.is_v4() || (p.flags & kDontFragment);
}

// The outer header in tunnel mode, in front of the packet, whose old start is `inner`.
void write_tunnel_header(Context& ctx, const Sa& sa, const Packet& p, uint8_t traffic, uint8_t* front,
                         uint16_t total) {
  const bool df = is_dont_fragment(p) && !sa.has(kSaNoPmtuDisc);
  // With DF the identification says nothing (RFC 6864 section 4.1) unless the packet may be cut after all.
  const bool atomic = df && !(p.flags & kReassembled);
  write_outer_header({.source = sa.source(),
                      .destination = sa.destination(),
                      .traffic_class = outer_traffic_class(sa, traffic),
                      .protocol = outer_protocol(sa),
                      .dont_fragment = df,
                      .id = atomic ? uint16_t{0} : ctx.next_ip_id()},
                     total, front);
}

// Moves what stays of the packet in front and renames what follows it; returns the protocol it named before.
uint8_t open_up(const Sa& sa, rte_mbuf* mbuf, uint32_t kept) {
  const Packet& p = packet(mbuf);
  auto* old_start = rte_pktmbuf_mtod(mbuf, uint8_t*);
  const size_t field =
      p.tuple.is_v4() ? offsetof(Ipv4Header, protocol) : find_ipv6_headers(bytes(mbuf)).unfragmentable_field;
  const uint8_t inner_protocol = old_start[field];
  const auto front = static_cast<uint16_t>(sa.shape().front_bytes());
  std::memmove(old_start - front, old_start, kept);
  rte_pktmbuf_prepend(mbuf, front);
  set_ip_length(mbuf, mbuf->data_len);
  if (p.tuple.is_v4())
    rename_upper_layer(mbuf, outer_protocol(sa));
  else
    bytes(mbuf)[field] = outer_protocol(sa);
  return inner_protocol;
}

// Puts everything around the packet but the cipher's work, which it returns as a job.
crypto::EspJob encapsulate(Context& ctx, const Sa& sa, rte_mbuf* mbuf, uint64_t number) {
  const Packet& p = packet(mbuf);
  const EspShape& shape = sa.shape();
  const uint32_t kept = kept_bytes(sa, mbuf);
  const uint32_t payload = p.ip_bytes - kept;
  const uint32_t padding = shape.pad_bytes(payload);
  auto* trailer = rte_pktmbuf_mtod_offset(mbuf, uint8_t*, p.ip_bytes);
  rte_pktmbuf_append(mbuf, static_cast<uint16_t>(padding + sizeof(EspTrailer) + shape.icv_bytes));
  uint8_t next_header = p.tuple.is_v4() ? kProtoIpip : kProtoIpv6;
  if (sa.mode() == EspMode::kTransport) {
    next_header = open_up(sa, mbuf, kept);
  } else {
    const uint8_t traffic = traffic_class(mbuf);
    auto* front =
        reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf, static_cast<uint16_t>(shape.front_bytes())));
    write_tunnel_header(ctx, sa, p, traffic, front, mbuf->data_len);
  }
  write_trailer(trailer, padding, next_header);
  uint8_t* esp = rte_pktmbuf_mtod_offset(mbuf, uint8_t*, kept + shape.outer_bytes);
  if (shape.udp_bytes) {
    write_udp_header(sa, mbuf->data_len - kept - shape.outer_bytes, esp);
    esp += shape.udp_bytes;
  }
  *reinterpret_cast<EspHeader*>(esp) = {.spi = be32::from_host(sa.spi().value),
                                        .sequence = be32::from_host(static_cast<uint32_t>(number))};
  return {.esp = esp,
          .payload_bytes = payload + padding + static_cast<uint32_t>(sizeof(EspTrailer)),
          .sequence_high = static_cast<uint32_t>(number >> 32)};
}

// The tuple becomes the ESP packet's, for the way that it takes where NAT can change it or another tunnel
// carries it. In transport mode its addresses are those that the packet has by now.
void take_outer_tuple(const Sa& sa, rte_mbuf* mbuf) {
  Tuple& tuple = packet(mbuf).tuple;
  if (sa.mode() == EspMode::kTunnel)
    tuple.source = sa.source(), tuple.destination = sa.destination();
  else if (tuple.is_v4())
    tuple.source = ipv4_header(mbuf).source, tuple.destination = ipv4_header(mbuf).destination;
  else
    tuple.source = ipv6_header(mbuf).source, tuple.destination = ipv6_header(mbuf).destination;
  tuple.source_port = sa.has(kSaEncap) ? sa.encap_source_port() : be16{};
  tuple.destination_port = sa.has(kSaEncap) ? sa.encap_destination_port() : be16{};
  tuple.protocol = outer_protocol(sa);
}

// Where a run's ESP packets go.
struct OuterWay {
  RouteResult route;
  NeighborRef neighbor;
  uint32_t mtu_bytes = 0;
};

// The record of the packet that it is now: ESP on the way to the peer.
void become_outer(const Sa& sa, const OuterWay& way, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  const bool from_host = (p.flags & kFromHost) && !p.into_tunnel;
  p.ip_bytes = mbuf->data_len;
  p.flags = static_cast<uint16_t>((p.flags | kEncrypted) &
                                  ~(kReassembled | kFromHost | kAboutProtected | kMustProtect));
  p.fragment_limit = 0;
  p.into_tunnel = false;
  p.last_sa = sa.index();
  take_outer_tuple(sa, mbuf);
  // Linux cuts what the host sent to what fits inside, since it looks at the inner packet's path; what went
  // through a vti was forwarded to it.
  const uint32_t kept_bytes = sa.mode() == EspMode::kTransport ? p.l4_offset : 0;
  const uint32_t way_mtu = sa.mode() == EspMode::kTransport ? p.mtu_bytes : way.mtu_bytes;
  const bool is_cut = from_host && p.ip_bytes > way_mtu;
  p.mtu_bytes = is_cut ? sa.shape().inner_mtu(way_mtu, kept_bytes) : way_mtu;
  if (sa.mode() == EspMode::kTransport) return;
  p.l4_offset = sa.shape().outer_bytes;
  p.out = way.route.interface;
  p.next_hop = way.route.next_hop;
  p.neighbor = way.neighbor.value;
}

void finish_udp_checksums(MbufSpan run, std::span<const crypto::EspJob> jobs) {
  for (size_t i = 0; i < run.size(); ++i) {
    uint8_t* udp = jobs[i].esp - sizeof(UdpHeader);
    const auto* end = rte_pktmbuf_mtod_offset(run[i], uint8_t*, run[i]->data_len);
    finish_udp_checksum(packet(run[i]).tuple, {udp, static_cast<size_t>(end - udp)});
  }
}

DropReason why_no_number(SequenceStop stop) {
  return stop == SequenceStop::kExhausted ? DropReason::kEspSequenceExhausted
                                          : DropReason::kEspSequenceNotReserved;
}

// Packets of the run that the SA may take: room, limits. Returns how many, at the front.
size_t admit(const Context& ctx, const Sa& sa, MbufSpan run) {
  return partition(run, [&](rte_mbuf* mbuf) {
    if (!make_room(sa, mbuf)) return stop(mbuf, DropReason::kEspTooLong);
    return !sa.is_limited() || count_within_limits(ctx, sa, packet(mbuf).ip_bytes) ||
           stop(mbuf, DropReason::kEspOutExpired);
  });
}

void refuse(MbufSpan run, DropReason reason) {
  for (rte_mbuf* mbuf : run) stop(mbuf, reason);
}

void encrypt_run(Context& ctx, const Sa& sa, MbufSpan run) {
  OuterWay way;
  if (sa.mode() == EspMode::kTunnel) {
    way = {
        .route = ctx.tables->outer_route(sa).route, .neighbor = kNoNeighbor, .mtu_bytes = ctx.outer_mtu(sa)};
    if (way.route.verdict != RouteVerdict::kForward) return refuse(run, reason_of(way.route.verdict));
    way.neighbor = ctx.neighbors->find(way.route.interface, way.route.next_hop);
  }
  if (sa.counters().has_expired(kExpiredHard)) return refuse(run, DropReason::kOutNoState);
  const size_t ready = admit(ctx, sa, run);
  const SequenceRun numbers = take_numbers(ctx, sa, static_cast<uint32_t>(ready));
  if (numbers.stop == SequenceStop::kNotReserved)
    count(ctx, sa.counters().no_reserve, ready - numbers.granted);
  refuse(run.subspan(numbers.granted, ready - numbers.granted), why_no_number(numbers.stop));

  if (ctx.observer && ctx.observer->wants(sa.index())) [[unlikely]]
    ctx.observer->encrypting(sa, run.first(numbers.granted));

  std::array<crypto::EspJob, kBurst * 2> jobs;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < numbers.granted; ++i) {
    bytes += packet(run[i]).ip_bytes;
    jobs[i] = encapsulate(ctx, sa, run[i], numbers.first + i);
    become_outer(sa, way, run[i]);
  }
  // A rehearsal takes no number, so there is no nonce that it could encrypt with.
  if (!ctx.scratch) ctx.esp->seal(sa.key(), {jobs.data(), numbers.granted});
  if (sa.has(kSaEncap)) finish_udp_checksums(run.first(numbers.granted), jobs);
  if (sa.is_limited()) return;
  count(ctx, sa.counters().packets, numbers.granted);
  count(ctx, sa.counters().bytes, bytes);
}

// The next template's SA, if the policy has one more.
void turn_to_next_template(const Context& ctx, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  p.sa = kNoSa;
  if (++p.template_at >= p.templates) return;
  p.sa = next_sa(ctx, (*ctx.tables->spd)[p.policy], p.template_at);
  if (p.sa == kNoSa && p.template_at < p.templates) stop(mbuf, DropReason::kOutNoState);
}

// One template of all packets that have an SA to be encrypted with. False: none had.
bool encrypt_layer(Context& ctx, MbufSpan burst) {
  std::array<rte_mbuf*, kBurst * 2> plain;
  size_t count = 0;
  for (rte_mbuf* mbuf : burst)
    if (packet(mbuf).sa != kNoSa && packet(mbuf).reason == DropReason::kNone) plain[count++] = mbuf;
  if (count == 0) return false;
  for_each_run({plain.data(), count}, [&](SaIndex index, MbufSpan run) {
    if (const Sa* sa = ctx.sad->at(index)) return encrypt_run(ctx, *sa, run);
    refuse(run, DropReason::kOutNoState);
  });
  for (rte_mbuf* mbuf : MbufSpan(plain.data(), count)) turn_to_next_template(ctx, mbuf);
  return true;
}

// Whether the ESP packet must take the way of the gateway's own packets: where NAT can change it, once; or
// when it is for a tunnel interface, from which nothing leaves as it is.
bool goes_through_again(const Context& ctx, const Packet& p) {
  if (!(p.flags & kEncrypted)) return false;
  return (ctx.tables->esp_through_nat && p.path != kEncryptedHere) || ctx.tables->tunnels->is_tunnel(p.out);
}

bool send_again(rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  if (++p.depth > kMaxDepth) return stop(mbuf, DropReason::kTunnelLoop);
  p.flags |= kFromGateway;
  p.path = kEncryptedHere;
  p.flow = kNone32;
  return stop_again(mbuf, Entry::kMade);
}

}  // namespace

uint16_t esp_output(Context& ctx, MbufSpan burst) {
  if (!encrypt_layer(ctx, burst)) return static_cast<uint16_t>(burst.size());
  while (encrypt_layer(ctx, burst)) {
  }
  return partition(burst, [&](rte_mbuf* mbuf) {
    const Packet& p = packet(mbuf);
    if (p.reason != DropReason::kNone) return false;
    return !goes_through_again(ctx, p) || send_again(mbuf);
  });
}

}  // namespace espalier::dataplane
