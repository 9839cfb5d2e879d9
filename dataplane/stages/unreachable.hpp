// A packet whose next hop does not answer ARP or neighbour discovery: its sender is told (RFC 1812
// section 5.2.7.1, RFC 792).
//
// Such a packet passed all stages: it may be translated, or ESP by now. Linux sends the error about it to its
// new source, where conntrack translates error and quote back; here the record still has the addresses that
// the packet came with, so the translation is undone before it is quoted, which gives the same bytes.
#pragma once

#include "dataplane/context.hpp"

namespace espalier::dataplane {

// Any thread with a context of its own. Puts ICMP "host unreachable" or ICMPv6 "address unreachable" for the
// sender of `mbuf` into ctx.again, limited as all ICMP errors are; the packet is changed back to how it was
// received, the TTL apart, and stays the caller's. Nothing for ESP and other packets of the gateway itself:
// the error would be for the gateway, where Linux ignores it. Packet::in must be an interface of ctx.tables.
void answer_host_unreachable(Context& ctx, rte_mbuf* mbuf);

}  // namespace espalier::dataplane
