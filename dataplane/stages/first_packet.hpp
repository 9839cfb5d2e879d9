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

// Fills in the egress of a packet from a decision that was made or found. False with kOutNoState: the policy
// protects and has no SA (any more).
bool apply_egress(Context& ctx, rte_mbuf* mbuf, const FlowDecision& decision);

// A policy of the current list lets pass in clear; asked where it has no SA.
bool is_bypass(const Context& ctx, PolicyIndex policy);

// The flow key of a parsed packet.
FlowKey flow_key(const Packet& p);

// A packet for the gateway itself: pings are answered, path MTU messages are learned from, what nobody
// listens for is refused. Leaves a reason, and in `d` the ICMP error to answer with.
void deliver(Context& ctx, rte_mbuf* mbuf, Decision& d);

// Makes the ICMP error that `d` asks for, if one may be sent about the packet and the limit leaves room, and
// puts it into ctx.made. The packet must be as its sender knows it, and Packet::in be an interface.
void answer_with_icmp_error(Context& ctx, rte_mbuf* mbuf, const Decision& d);

// The source address of an ICMP error about a packet that `d` stopped.
Ipv4Address error_source(const Context& ctx, const Packet& p, const Decision& d);

}  // namespace espalier::dataplane
