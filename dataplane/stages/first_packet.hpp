// The walk of one packet through pipeline.hpp's kFirstPacket, and what follows from it.
#pragma once

#include "dataplane/pipeline.hpp"

namespace espalier::dataplane {

// Whether packets of `way` pass the stage.
bool is_on_the_way(const FirstPacketStage& stage, Way way);

// Walks the first-packet stages with a fresh decision. False: a stage stopped the packet, the reason is set.
// `stopped_at`, if not null, is the index of that stage in kFirstPacket, or their number. Changes nothing but
// the decision and the packet's record.
bool walk(Context& ctx, rte_mbuf* mbuf, Decision& d, size_t* stopped_at = nullptr);

// Worker: walks a packet that no cached decision serves and settles the result: the session is confirmed, the
// decision recorded, an ICMP error made, what is for the gateway delivered. True: the packet goes on with
// Packet::flow set; false: a reason is set.
bool first_packet(Context& ctx, rte_mbuf* mbuf);

// Fills in the egress of a packet from a decision that was made or found. False: the policy protects and has
// no SA any more (kOutNoState), or the packet must not leave without one.
bool apply_egress(Context& ctx, rte_mbuf* mbuf, const FlowDecision& decision);

// Whether later packets of the flow may replay a decision. Fragments and ICMP errors have keys that say too
// little; what the gateway made is rare, but for what it wraps.
inline bool may_record(const Packet& p) {
  return !(p.flags & (kFragment | kIcmpError)) &&
         (!(p.flags & kFromGateway) || p.path == kMadeHere || p.path == kEncryptedHere);
}

// Shows a packet that was stopped for want of an SA to the main lcore, which reports it (message::Acquire)
// and drops it. `out`: the interface that it was routed to; `policy`: that protects it, if it got that far.
void ask_for_sa(Context& ctx, rte_mbuf* mbuf, InterfaceIndex out, PolicyIndex policy);

// A packet for the gateway itself. `d.service` is set for what `local_input` takes. Of the others pings are
// answered, path MTU messages are learned from, the host gets the rest, or it is refused: a reason is left,
// and in `d` the ICMP error to answer with.
void deliver(Context& ctx, rte_mbuf* mbuf, Decision& d);

// Makes the ICMP error that `d` asks for, if one may be sent about the packet and the limit leaves room, and
// puts it into ctx.again. The packet must be as its sender knows it, and Packet::in be an interface.
void answer_with_icmp_error(Context& ctx, rte_mbuf* mbuf, const Decision& d);

// The source address of an ICMP error about a packet that `d` stopped.
IpAddress error_source(const Context& ctx, const Packet& p, const Decision& d);

}  // namespace espalier::dataplane
