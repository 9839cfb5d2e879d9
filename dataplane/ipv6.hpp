// The chain of extension headers of an IPv6 packet (RFC 8200 section 4): where the upper-layer header is, and
// where the fragment header is or would go.
//
// One walk serves all who ask: parse, reassembly, fragmentation, ICMP errors and what they quote. It is
// bounded (kMaxIpv6Extensions) and never reads beyond the bytes that it is given. Extension headers are those
// that RFC 4301 section 4.4.1.1 skips for a selector: hop-by-hop options, routing, destination options,
// fragment. AH and ESP are upper layers, as they are in IPv4.
//
// Any thread; pure.
#pragma once

#include <span>

#include "dataplane/wire.hpp"

namespace espalier::dataplane {

inline constexpr unsigned kMaxIpv6Extensions = 8;

// All offsets are in bytes from the IPv6 header.
struct Ipv6Headers {
  // The upper-layer header; in a fragment but the first: its payload, which begins with no header.
  uint16_t l4_offset = sizeof(Ipv6Header);
  uint16_t protocol_field = offsetof(Ipv6Header, next_header);  // of the byte that names `protocol`
  uint8_t protocol = kProtoNoNext;  // in a fragment but the first: what the fragment header names

  // Cut off, more than kMaxIpv6Extensions, hop-by-hop options that are not first, a second fragment header,
  // or a routing header of type 0 with segments left (RFC 5095). Nothing else here means anything then.
  bool bad = false;
  // A routing header whose segments are not done: the destination address is not where the packet ends. It
  // may be forwarded, but is not for the gateway, which is no segment of anybody's route.
  bool has_segments_left = false;

  // The fragment header, 0: none; an atomic one (RFC 6946) counts. And the byte that names it.
  uint16_t fragment_header = 0;
  uint16_t fragment_field = 0;
  bool is_later_fragment = false;  // and its offset is not 0
  // Where a fragment header is put in: behind the headers that routers on the way look at, which for Linux
  // are hop-by-hop options, routing, and the destination options before that. And the byte to name it.
  uint16_t unfragmentable_bytes = sizeof(Ipv6Header);
  uint16_t unfragmentable_field = offsetof(Ipv6Header, next_header);

  bool is_fragment() const { return fragment_header != 0; }
};

constexpr bool is_ipv6_extension(uint8_t next_header) {
  return next_header == kProtoHopByHop || next_header == kProtoRouting || next_header == kProtoFragment ||
         next_header == kProtoDestinationOptions;
}

// The walk for a packet that has extension headers; find_ipv6_headers() is for all.
Ipv6Headers walk_ipv6_extensions(std::span<const uint8_t> packet);

// `packet` begins with a whole IPv6 header and ends where its payload does, or earlier: a quote in an ICMP
// error is cut off. Does not look at lengths and addresses of the IPv6 header, nor at what is at l4_offset,
// which may be the packet's end.
inline Ipv6Headers find_ipv6_headers(std::span<const uint8_t> packet) {
  const uint8_t first = packet[offsetof(Ipv6Header, next_header)];
  if (is_ipv6_extension(first)) [[unlikely]]
    return walk_ipv6_extensions(packet);
  Ipv6Headers headers;
  headers.protocol = first;
  return headers;
}

}  // namespace espalier::dataplane
