// The order of the packet's way: the product itself, in one list.
//
// It is the order of Linux netfilter and XFRM (docs/packet-order.md has the observations behind each line):
// which stage comes before which is decided here and nowhere else. Stages of `kEveryPacket` are functions
// over a burst; those of `kFirstPacket` decide one packet and are walked by the first packet of a flow, by
// packets that fail one of the cached flow's per-packet questions, and by `explain`.
#pragma once

#include <array>

#include "dataplane/decision.hpp"

namespace espalier::dataplane {

// Returns how many packets at the front of the burst go on; the others carry a reason.
using BurstStage = uint16_t (*)(Context&, MbufSpan);
// Returns whether the packet goes on; if not it carries a reason. Changes nothing but the decision and the
// packet's record, so that `explain` can run it on live tables.
using DecideStage = bool (*)(Context&, rte_mbuf*, Decision&);

// Every packet.
uint16_t parse(Context&, MbufSpan);            // Ethernet, VLAN, IP, ports; the frame's faults
uint16_t reassemble(Context&, MbufSpan);       // what sessions or ESP need whole
uint16_t esp_input(Context&, MbufSpan);        // replay check, decrypt, window; the inner packet starts anew
uint16_t flow_lookup(Context&, MbufSpan);      // the flow's decision, or the walk through kFirstPacket
uint16_t local_input(Context&, MbufSpan);      // for the gateway: GRE, and ESP that had to take this way
uint16_t rewrite(Context&, MbufSpan);          // NAT, TTL, MSS
uint16_t tunnel_output(Context&, MbufSpan);    // into vti and gre interfaces: cut to size; GRE starts anew
uint16_t esp_output(Context&, MbufSpan);       // sequence numbers, headers, encrypt
uint16_t fragment_output(Context&, MbufSpan);  // what is larger than the way out
uint16_t transmit(Context&, MbufSpan);         // next hop, Ethernet

struct EveryPacketStage {
  const char* name;
  BurstStage run;
};

inline constexpr std::array kEveryPacket = {
    EveryPacketStage{"parse", parse},
    EveryPacketStage{"reassemble", reassemble},
    EveryPacketStage{"esp_input", esp_input},
    EveryPacketStage{"reassemble_decrypted", reassemble},
    EveryPacketStage{"flow_lookup", flow_lookup},
    EveryPacketStage{"local_input", local_input},
    EveryPacketStage{"rewrite", rewrite},
    EveryPacketStage{"tunnel_output", tunnel_output},
    EveryPacketStage{"esp_output", esp_output},
    EveryPacketStage{"fragment_output", fragment_output},
    EveryPacketStage{"transmit", transmit},
};

// First packets.
bool conntrack(Context&, rte_mbuf*, Decision&);
bool destination_nat(Context&, rte_mbuf*, Decision&);
bool route(Context&, rte_mbuf*, Decision&);
bool in_policy(Context&, rte_mbuf*, Decision&);
bool ttl(Context&, rte_mbuf*, Decision&);
bool out_policy(Context&, rte_mbuf*, Decision&);
bool size(Context&, rte_mbuf*, Decision&);
bool source_nat(Context&, rte_mbuf*, Decision&);
bool out_policy_after_snat(Context&, rte_mbuf*, Decision&);
bool tunnel_interface(Context&, rte_mbuf*, Decision&);

struct FirstPacketStage {
  const char* name;
  DecideStage decide;
  bool forwarded, to_gateway, from_gateway;  // whose way leads through it
};

// clang-format off
inline constexpr std::array kFirstPacket = {
    //               name                     function               fwd    in     out
    FirstPacketStage{"conntrack",             conntrack,             true,  true,  true},
    FirstPacketStage{"destination_nat",       destination_nat,       true,  true,  true},
    FirstPacketStage{"route",                 route,                 true,  true,  true},
    FirstPacketStage{"in_policy",             in_policy,             true,  true,  false},
    FirstPacketStage{"ttl",                   ttl,                   true,  false, false},
    FirstPacketStage{"out_policy",            out_policy,            true,  false, true},
    FirstPacketStage{"size",                  size,                  true,  false, false},
    FirstPacketStage{"source_nat",            source_nat,            true,  true,  true},
    FirstPacketStage{"out_policy_after_snat", out_policy_after_snat, true,  false, true},
    FirstPacketStage{"tunnel_interface",      tunnel_interface,      true,  false, true},
};
// clang-format on

// Which of statistics::Block::stages is the i-th of kFirstPacket's; those of kEveryPacket come before.
constexpr size_t first_packet_counter(size_t i) {
  return kEveryPacket.size() + i;
}

// Runs a burst (at most kBurst packets, which it takes over) through kEveryPacket, then what goes through
// once more (Context::again). Worker.
void run_pipeline(Context& ctx, MbufSpan burst, Entry entry);

// The one place where packets leave that do not go on: counted by reason and freed, or passed to the main
// lcore or another worker as Packet::exit says.
void leave(Context& ctx, rte_mbuf* mbuf);

}  // namespace espalier::dataplane
