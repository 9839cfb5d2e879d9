// Stage `tunnel_output`: packets that were routed into a tunnel interface. What is longer than its MTU is cut
// before it is wrapped, as on any interface; so are IPv6 datagrams for a policy's tunnel. A vti's packets go
// on to `esp_output`. Around a gre interface's packets GRE is put (RFC 2784, RFC 2890), and that is a packet
// of the gateway itself: it goes through routing, policies and NAT like others. Configuration: gre and vti
// interfaces.
#include <algorithm>
#include <array>

#include "dataplane/fragment.hpp"
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/outer_header.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/way_out.hpp"

namespace espalier::dataplane {
namespace {

// Cuts the packet into the list of those that go through again; false: it stays to be counted.
bool cut(Context& ctx, rte_mbuf* whole) {
  std::array<rte_mbuf*, kMaxFragments> fragments;
  DropReason reason = DropReason::kNone;
  const uint16_t count =
      fragment(whole, output_limit(packet(whole)), ctx.next_fragment_id(), ctx.pool, fragments, reason);
  if (count == 0) return stop(whole, reason);
  ctx.stats->made.add(count - 1);
  for (uint16_t i = 0; i < count; ++i) {
    if (i != 0) packet(fragments[i]).flags &= ~kReassembled;  // in Linux the first is the packet itself
    stop_again(fragments[i], Entry::kToTunnel);
    leave(ctx, fragments[i]);
  }
  stop(whole, DropReason::kUsedFragment);
  packet(whole).exit = Exit::kHeld;
  return false;
}

void write_gre_header(const GreTunnel& tunnel, Family inner, uint8_t* at) {
  const uint16_t flags = tunnel.has_key ? GreHeader::kKey : 0;
  const uint16_t type = inner == Family::kIpv4 ? kEtherTypeIpv4 : kEtherTypeIpv6;
  *reinterpret_cast<GreHeader*>(at) = {.flags_version = be16::from_host(flags),
                                       .protocol = be16::from_host(type)};
  if (tunnel.has_key) std::memcpy(at + sizeof(GreHeader), &tunnel.key, sizeof tunnel.key);
}

// The record of the GRE packet: one that the gateway makes, on behalf of what is inside.
void become_gre(const GreTunnel& tunnel, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  const uint16_t inherited = p.flags & kAboutProtected;
  const uint8_t depth = p.depth, story = p.story;
  p = {.tuple = {.source = tunnel.local, .destination = tunnel.remote, .protocol = kProtoGre},
       .path = kMadeHere,
       .in = tunnel.interface,
       .depth = depth,
       .story = story};
  p.flags =
      static_cast<uint16_t>(kFromGateway | kDontFragment | inherited | (tunnel.protect ? kMustProtect : 0));
  p.ip_bytes = mbuf->data_len;
  p.l4_offset = static_cast<uint16_t>(tunnel.outer_bytes() - tunnel.header_bytes());
}

// Linux's ip_tunnel_xmit: the DSCP is the tunnel's own (0), ECN and a TTL of 0 are the inner packet's, DF is
// set. Its ip6_tnl_xmit copies no ECN.
bool wrap(Context& ctx, const GreTunnel& tunnel, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  if (p.depth >= kMaxDepth) return stop(mbuf, DropReason::kTunnelLoop);
  const uint32_t total = tunnel.outer_bytes() + p.ip_bytes;
  if (total > 65535 || !make_headroom(mbuf, tunnel.outer_bytes())) return stop(mbuf, DropReason::kEspTooLong);
  const OuterFields fields{
      .source = tunnel.local,
      .destination = tunnel.remote,
      .traffic_class = tunnel.local.is_v4() ? encapsulated_ecn(traffic_class(mbuf)) : uint8_t{0},
      .hop_limit = tunnel.ttl ? tunnel.ttl : hop_limit(mbuf),
      .protocol = kProtoGre,
      .dont_fragment = true,
      .id = ctx.next_ip_id(),
  };
  const Family inner = p.tuple.family();
  ctx.stats->sent[tunnel.interface.value].add(1, p.ip_bytes);
  auto* front =
      reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf, static_cast<uint16_t>(tunnel.outer_bytes())));
  write_outer_header(fields, static_cast<uint16_t>(total), front);
  write_gre_header(tunnel, inner, front + tunnel.outer_bytes() - tunnel.header_bytes());
  become_gre(tunnel, mbuf);
  ++packet(mbuf).depth;
  return stop_again(mbuf, Entry::kMade);
}

// What came in fragments and is too big for a policy's tunnel is cut again before it is encrypted, if it is
// of IPv6 (Linux: __xfrm6_output); packets of IPv4 are cut behind that.
bool is_cut_inside(const Context& ctx, const Packet& p) {
  if (p.sa == kNoSa || p.tuple.is_v4() || !(p.flags & kReassembled)) return false;
  if (p.ip_bytes <= output_limit(p)) return false;  // its pieces would be no smaller, and come here again
  const Sa* sa = ctx.sad->at(p.sa);
  if (sa == nullptr || sa->mode() != EspMode::kTunnel) return false;
  return p.ip_bytes > protected_mtu(ctx, (*ctx.tables->spd)[p.policy], Family::kIpv6, p.mtu_bytes);
}

bool enter(Context& ctx, rte_mbuf* mbuf) {
  const Packet& p = packet(mbuf);
  if (!p.into_tunnel) return !is_cut_inside(ctx, p) || cut(ctx, mbuf);
  if (!ctx.interface(p.out).enabled) return stop(mbuf, DropReason::kEgressDown);
  if (p.ip_bytes > output_limit(p)) return cut(ctx, mbuf);
  if (const GreTunnel* gre = ctx.tables->tunnels->gre(p.out)) return wrap(ctx, *gre, mbuf);
  ctx.stats->sent[p.out.value].add(1, p.ip_bytes);
  return true;
}

}  // namespace

uint16_t tunnel_output(Context& ctx, MbufSpan burst) {
  return partition(burst, [&](rte_mbuf* mbuf) { return enter(ctx, mbuf); });
}

}  // namespace espalier::dataplane
