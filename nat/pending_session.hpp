// A session in the making: from the first packet of a flow until it is about to leave the gateway.
//
// It is a value on the worker's stack. The first-packet stages write into it (begin, destination NAT, source
// NAT); only SessionTable::confirm() makes it known to anybody, so a packet that is dropped on its way leaves
// nothing behind, as in Linux. `explain` does all of it but the last step.
#pragma once

#include <expected>

#include "control/shared/drop_reason.hpp"
#include "nat/tcp_state.hpp"

namespace espalier::nat {

// What a session's state wants to know of a packet.
struct PacketFacts {
  uint32_t bytes = 0;     // of the IP packet, for the counters
  uint8_t tcp_flags = 0;  // TCP only
};

struct PendingSession {
  Tuple original;
  Tuple reply;  // inverse of what the packet looks like after the NAT steps done so far
  PacketFacts first_packet{};
  TcpTrack tcp{};
  // The rules that translated or excluded it: position for the counters, the operator's number; none:
  // kNone32, 0.
  uint32_t destination_rule_index = kNone32;
  uint32_t destination_rule_number = 0;
  uint32_t source_rule_index = kNone32;
  uint32_t source_rule_number = 0;
  bool masqueraded = false;  // by an interface's address: the session ends when it leaves by another one

  // The packet's tuple after the NAT steps done so far.
  Tuple packet_tuple() const { return *inverse(reply); }
};

// Begins a session with its first packet, not yet translated. kSessionInvalid: nothing can start with it (an
// unasked ICMP answer, a RST, a SYN ACK, meaningless TCP flags, a packet from a socket to itself). kNone: no
// sessions are kept of such packets (is_untracked), they pass as they are.
constexpr std::expected<PendingSession, DropReason> begin_session(const Tuple& tuple, PacketFacts facts) {
  if (is_untracked(tuple)) return std::unexpected(DropReason::kNone);
  PendingSession pending;
  pending.original = tuple;
  pending.first_packet = facts;
  const auto reply = inverse(tuple);
  if (!reply || *reply == tuple) return std::unexpected(DropReason::kSessionInvalid);
  if (has_identifier(tuple) && !is_icmp_query(tuple.family(), icmp_type(tuple)))
    return std::unexpected(DropReason::kSessionInvalid);
  if (tuple.protocol == kProtoTcp && !begin_tcp(pending.tcp, facts.tcp_flags))
    return std::unexpected(DropReason::kSessionInvalid);
  pending.reply = *reply;
  return pending;
}

}  // namespace espalier::nat
