// The tuples of a session, and how they relate.
//
// A session has two: `original` is what its first packet carried when it came in, `reply` is what the answers
// carry when they come in. Without NAT reply is inverse(original); NAT changes reply only, as in
// nf_conntrack. So a packet of direction d comes in with the tuple of d and leaves as the inverse of the
// other one. Both families are one code: only the numbers of ICMP's types differ.
#pragma once

#include <optional>

#include "control/shared/types.hpp"

namespace espalier::nat {

using Tuple = espalier::Tuple;

enum class FlowDirection : uint8_t { kOriginal, kReply };

constexpr FlowDirection opposite(FlowDirection d) {
  return d == FlowDirection::kOriginal ? FlowDirection::kReply : FlowDirection::kOriginal;
}

// Whether NAT can tell flows of this protocol apart by more than their addresses. SCTP and the like have
// ports too, but a checksum (CRC32c) that an incremental update cannot follow: they go by address alone.
constexpr bool has_ports(uint8_t protocol) {
  return protocol == kProtoTcp || protocol == kProtoUdp;
}

// RFC 792, RFC 950.
enum IcmpType : uint8_t {
  kIcmpEchoReply = 0,
  kIcmpUnreachable = 3,
  kIcmpSourceQuench = 4,
  kIcmpRedirect = 5,
  kIcmpEcho = 8,
  kIcmpTimeExceeded = 11,
  kIcmpParameterProblem = 12,
  kIcmpTimestamp = 13,
  kIcmpTimestampReply = 14,
  kIcmpInformation = 15,
  kIcmpInformationReply = 16,
  kIcmpAddressMask = 17,
  kIcmpAddressMaskReply = 18,
};

// RFC 4443, RFC 2710, RFC 4861, RFC 4620, RFC 3810.
enum Icmpv6Type : uint8_t {
  kIcmpv6Unreachable = 1,
  kIcmpv6PacketTooBig = 2,
  kIcmpv6TimeExceeded = 3,
  kIcmpv6ParameterProblem = 4,
  kIcmpv6Echo = 128,
  kIcmpv6EchoReply = 129,
  kIcmpv6ListenerQuery = 130,
  kIcmpv6ListenerReport = 131,
  kIcmpv6ListenerDone = 132,
  kIcmpv6RouterSolicitation = 133,
  kIcmpv6RouterAdvertisement = 134,
  kIcmpv6NeighborSolicitation = 135,
  kIcmpv6NeighborAdvertisement = 136,
  kIcmpv6Redirect = 137,
  kIcmpv6NodeQuery = 139,
  kIcmpv6NodeReply = 140,
  kIcmpv6ListenerReport2 = 143,
};

// Whether `protocol` is the ICMP of `family`; the other family's is a protocol without ports as any.
constexpr bool is_icmp(Family family, uint8_t protocol) {
  return protocol == (family == Family::kIpv4 ? kProtoIcmp : kProtoIcmpv6);
}

// Whether NAT can tell flows between the same addresses apart by an ICMP identifier (source_port).
constexpr bool has_identifier(const Tuple& t) {
  return is_icmp(t.family(), t.protocol);
}

// Of a tuple with an identifier.
constexpr uint8_t icmp_type(const Tuple& t) {
  return static_cast<uint8_t>(t.destination_port.host() >> 8);
}

// Of ICMPv6 every type below 128 is one, known or not (RFC 4443 section 2.1).
constexpr bool is_icmp_error(Family family, uint8_t type) {
  if (family == Family::kIpv6) return type < 128;
  return type == kIcmpUnreachable || type == kIcmpSourceQuench || type == kIcmpRedirect ||
         type == kIcmpTimeExceeded || type == kIcmpParameterProblem;
}

// The types that may start a session; an answer that nobody asked for is invalid.
constexpr bool is_icmp_query(Family family, uint8_t type) {
  if (family == Family::kIpv6) return type == kIcmpv6Echo || type == kIcmpv6NodeQuery;
  return type == kIcmpEcho || type == kIcmpTimestamp || type == kIcmpInformation || type == kIcmpAddressMask;
}

// Neighbour discovery and multicast listeners: talk of one link, of which no session is kept and to which NAT
// does nothing (as in nf_conntrack).
constexpr bool is_untracked(const Tuple& t) {
  if (t.protocol != kProtoIcmpv6 || t.is_v4()) return false;
  const uint8_t type = icmp_type(t);
  return (type >= kIcmpv6ListenerQuery && type <= kIcmpv6Redirect) || type == kIcmpv6ListenerReport2;
}

// The number behind the query, but for IPv4's echo.
constexpr uint8_t icmp_answer(Family family, uint8_t query) {
  const bool ipv4_echo = family == Family::kIpv4 && query == kIcmpEcho;
  return static_cast<uint8_t>(ipv4_echo ? kIcmpEchoReply : query + 1);
}

// The type that answers `type`, or that `type` answers; nothing for types that are neither.
constexpr std::optional<uint8_t> inverse_icmp_type(Family family, uint8_t type) {
  if (is_icmp_query(family, type)) return icmp_answer(family, type);
  const bool echo_reply = family == Family::kIpv4 && type == kIcmpEchoReply;
  const auto query = static_cast<uint8_t>(echo_reply ? kIcmpEcho : type - 1);
  if (is_icmp_query(family, query) && icmp_answer(family, query) == type) return query;
  return std::nullopt;
}

// The tuple of the answers to packets of `t`; nothing for ICMP types that have no answer.
constexpr std::optional<Tuple> inverse(const Tuple& t) {
  Tuple r;
  r.source = t.destination;
  r.destination = t.source;
  r.protocol = t.protocol;
  if (!has_identifier(t)) {
    r.source_port = t.destination_port;
    r.destination_port = t.source_port;
    return r;
  }
  const auto type = inverse_icmp_type(t.family(), icmp_type(t));
  if (!type) return std::nullopt;
  r.source_port = t.source_port;  // both directions carry the identifier
  r.destination_port =
      be16::from_host(static_cast<uint16_t>(*type << 8 | (t.destination_port.host() & 0xff)));
  return r;
}

// What a tuple of a session looks like on its way; both tuples of a session are invertible, so this always
// is.
struct FlowPath {
  Tuple received;  // as it came in
  Tuple routed;    // after destination NAT: what routing, policies' first lookup and source NAT see
  Tuple sent;      // after source NAT
};

// The way of packets of `direction`. Of an ICMP query the identifier changes with the source address in
// direction original and with the destination address in direction reply.
// Precondition: both are tuples of one session.
constexpr FlowPath path_of(const Tuple& original, const Tuple& reply, FlowDirection direction) {
  const bool forward = direction == FlowDirection::kOriginal;
  FlowPath path;
  path.received = forward ? original : reply;
  path.sent = inverse(forward ? reply : original).value_or(path.received);
  path.routed = path.received;
  path.routed.destination = path.sent.destination;
  const bool identifier = has_identifier(path.received);
  if (!identifier) path.routed.destination_port = path.sent.destination_port;
  if (identifier && !forward) path.routed.source_port = path.sent.source_port;
  return path;
}

}  // namespace espalier::nat
