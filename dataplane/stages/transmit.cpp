// Stages `fragment_output` and `transmit`: the last steps of a packet. What is larger than its way out is
// cut, what has no next hop yet waits at the main lcore, the rest gets its Ethernet header. Configuration:
// interfaces, neighbours.
#include <algorithm>
#include <array>

#include "dataplane/fragment.hpp"
#include "dataplane/link_local.hpp"
#include "dataplane/pipeline.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/unreachable.hpp"

namespace espalier::dataplane {
namespace {

// The neighbour was unknown when the flow was decided, or forgotten since: looks again, and tells the flow.
void find_neighbor_again(Context& ctx, Packet& p) {
  p.neighbor = ctx.neighbors->find(p.out, p.next_hop).value;
  if (p.flow != kNone32 && !(p.flags & kEncrypted)) (*ctx.flows)[p.flow].decision.neighbor = p.neighbor;
}

NeighborTable::State resolve(const Context& ctx, const Packet& p, MacAddress& mac) {
  return ctx.neighbors->resolve(NeighborRef{p.neighbor}, mac, ctx.scratch == nullptr);
}

// Nobody has to be asked about a next hop that failed just now, and the packets that one may hold are held
// already: so a flood to a host that does not exist costs the main lcore nothing.
bool stop_without_next_hop(Context& ctx, rte_mbuf* mbuf, NeighborTable::State state) {
  switch (state) {
    case NeighborTable::State::kFailed:
      answer_host_unreachable(ctx, mbuf);
      return stop(mbuf, DropReason::kNeighborUnresolved);
    case NeighborTable::State::kQueueFull:
      return stop(mbuf, DropReason::kNeighborQueueFull);
    case NeighborTable::State::kUnresolved:
    case NeighborTable::State::kGone:
    case NeighborTable::State::kUsable:
      break;
  }
  return stop_for_main(mbuf, DropReason::kNeighborUnresolved);
}

bool send(Context& ctx, rte_mbuf* mbuf) {
  Packet& p = packet(mbuf);
  MacAddress destination;
  if (p.next_hop.is_multicast()) {
    ctx.transmitter->send_ip(mbuf, ctx.interface(p.out), multicast_mac(p.next_hop));
    return true;
  }
  auto state = resolve(ctx, p, destination);
  if (state == NeighborTable::State::kGone) {
    find_neighbor_again(ctx, p);
    state = resolve(ctx, p, destination);
  }
  if (state != NeighborTable::State::kUsable) return stop_without_next_hop(ctx, mbuf, state);
  ctx.transmitter->send_ip(mbuf, ctx.interface(p.out), destination);
  return true;
}

// Sends the fragments of a packet, which stays to be counted: the first fragment stands for it, the others
// are packets that the gateway made.
bool send_in_fragments(Context& ctx, rte_mbuf* whole) {
  std::array<rte_mbuf*, kMaxFragments> fragments;
  DropReason reason = DropReason::kNone;
  const uint16_t count =
      fragment(whole, output_limit(packet(whole)), ctx.next_fragment_id(), ctx.pool, fragments, reason);
  if (count == 0) return stop(whole, reason);
  ctx.stats->made.add(count - 1);
  for (uint16_t i = 0; i < count; ++i)
    if (!send(ctx, fragments[i])) leave(ctx, fragments[i]);
  stop(whole, DropReason::kUsedFragment);
  packet(whole).exit = Exit::kHeld;
  return false;
}

// What was reassembled, or decrypted from it, lies in one of a few large mbufs. It must not take that along
// to where it waits: for its next hop, or in a device's ring, which would keep all of them for as long as
// nothing else is sent. What is no larger than its way out fits an ordinary one.
bool take_out_of_jumbo(Context& ctx, rte_mbuf*& mbuf) {
  if (mbuf->buf_len != Reassembler::kJumboRoom) return true;
  if (kPacketHeadroom + mbuf->data_len > rte_pktmbuf_data_room_size(ctx.pool)) return true;
  rte_mbuf* copy = rte_pktmbuf_alloc(ctx.pool);
  if (copy == nullptr) return stop(mbuf, DropReason::kNoMbuf);
  copy->port = mbuf->port;
  copy->data_len = mbuf->data_len;
  copy->pkt_len = mbuf->pkt_len;
  std::ranges::copy(bytes(mbuf), bytes(copy).begin());
  packet(copy) = packet(mbuf);
  rte_pktmbuf_free(mbuf);
  mbuf = copy;
  return true;
}

}  // namespace

uint16_t fragment_output(Context& ctx, MbufSpan burst) {
  return partition(burst, [&](rte_mbuf* mbuf) {
    return packet(mbuf).ip_bytes <= output_limit(packet(mbuf)) || send_in_fragments(ctx, mbuf);
  });
}

uint16_t transmit(Context& ctx, MbufSpan burst) {
  return partition(burst, [&](rte_mbuf*& mbuf) { return take_out_of_jumbo(ctx, mbuf) && send(ctx, mbuf); });
}

}  // namespace espalier::dataplane
