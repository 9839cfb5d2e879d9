// The tuples of a session, and how they relate.
//
// A session has two: `original` is what its first packet carried when it came in, `reply` is what the answers
// carry when they come in. Without NAT reply is inverse(original); NAT changes reply only, as in
// nf_conntrack. So a packet of direction d comes in with the tuple of d and leaves as the inverse of the
// other one. All of it is written for one alias, Tuple; IPv6 brings a wider one.
#pragma once

#include <optional>

#include "control/shared/types.hpp"

namespace espalier::nat {

using Tuple = Ipv4Tuple;

enum class FlowDirection : uint8_t { kOriginal, kReply };

constexpr FlowDirection opposite(FlowDirection d) {
  return d == FlowDirection::kOriginal ? FlowDirection::kReply : FlowDirection::kOriginal;
}

// Whether NAT can tell flows of this protocol apart by more than their addresses. SCTP and the like have
// ports too, but a checksum (CRC32c) that an incremental update cannot follow: they go by address alone.
constexpr bool has_ports(uint8_t protocol) {
  return protocol == kProtoTcp || protocol == kProtoUdp;
}

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

constexpr uint8_t icmp_type(const Tuple& t) {
  return static_cast<uint8_t>(t.destination_port.host() >> 8);
}

constexpr bool is_icmp_error(uint8_t type) {
  return type == kIcmpUnreachable || type == kIcmpSourceQuench || type == kIcmpRedirect ||
         type == kIcmpTimeExceeded || type == kIcmpParameterProblem;
}

// The types that may start a session (RFC 792, RFC 950); an answer that nobody asked for is invalid.
constexpr bool is_icmp_query(uint8_t type) {
  return type == kIcmpEcho || type == kIcmpTimestamp || type == kIcmpInformation || type == kIcmpAddressMask;
}

// The type that answers `type`, or that `type` answers; nothing for types that are neither.
constexpr std::optional<uint8_t> inverse_icmp_type(uint8_t type) {
  if (type == kIcmpEcho) return kIcmpEchoReply;
  if (type == kIcmpEchoReply) return kIcmpEcho;
  if (type >= kIcmpTimestamp && type <= kIcmpAddressMaskReply) {
    const bool query = is_icmp_query(type);
    return static_cast<uint8_t>(query ? type + 1 : type - 1);
  }
  return std::nullopt;
}

// The tuple of the answers to packets of `t`; nothing for ICMP types that have no answer.
constexpr std::optional<Tuple> inverse(const Tuple& t) {
  Tuple r;
  r.source = t.destination;
  r.destination = t.source;
  r.protocol = t.protocol;
  if (t.protocol != kProtoIcmp) {
    r.source_port = t.destination_port;
    r.destination_port = t.source_port;
    return r;
  }
  const auto type = inverse_icmp_type(icmp_type(t));
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
  if (path.received.protocol != kProtoIcmp) path.routed.destination_port = path.sent.destination_port;
  if (path.received.protocol == kProtoIcmp && !forward) path.routed.source_port = path.sent.source_port;
  return path;
}

}  // namespace espalier::nat
