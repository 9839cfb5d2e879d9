// IP headers that the gateway puts around packets, for GRE and ESP.
#pragma once

#include "dataplane/packet.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {

inline constexpr uint8_t kOuterHopLimit = 64;  // Linux: net.ipv4.ip_default_ttl, net.ipv6.conf.*.hop_limit

// RFC 6040 section 4.1 in Linux's way: CE becomes ECT(0) outside.
constexpr uint8_t encapsulated_traffic_class(uint8_t inner) {
  return (inner & 3) == 3 ? (inner & ~3) | 2 : inner;
}
constexpr uint8_t encapsulated_ecn(uint8_t inner) {
  return encapsulated_traffic_class(inner) & 3;
}

struct OuterFields {
  IpAddress source;  // both of one family, which decides the header
  IpAddress destination;
  uint8_t traffic_class = 0;
  uint8_t hop_limit = kOuterHopLimit;
  uint8_t protocol = 0;
  bool dont_fragment = false;  // IPv4
  uint16_t id = 0;             // IPv4, host order
};

// Of the header that `fields` describe; from values rather than from what was just stored in parts, which a
// wide load waits for.
inline uint16_t outer_checksum(const OuterFields& fields, be16 total, be16 id, be16 fragment) {
  const uint64_t sum = uint64_t{0x45u | uint32_t{fields.traffic_class} << 8} + total.raw() + id.raw() +
                       fragment.raw() + (fields.hop_limit | uint32_t{fields.protocol} << 8) +
                       fields.source.v4().be.raw() + fields.destination.v4().be.raw();
  return static_cast<uint16_t>(~nat::fold(sum));
}

// Writes an IPv4 or IPv6 header without options to `at`, complete with its checksum. `total_bytes`: of the
// packet.
inline void write_outer_header(const OuterFields& fields, uint16_t total_bytes, uint8_t* at) {
  if (fields.source.is_v4()) {
    const be16 total = be16::from_host(total_bytes), id = be16::from_host(fields.id);
    const be16 fragment = be16::from_host(fields.dont_fragment ? Ipv4Header::kDontFragment : 0);
    *reinterpret_cast<Ipv4Header*>(at) = {.version_ihl = 0x45,
                                          .tos = fields.traffic_class,
                                          .total_length = total,
                                          .id = id,
                                          .fragment = fragment,
                                          .ttl = fields.hop_limit,
                                          .protocol = fields.protocol,
                                          .checksum = outer_checksum(fields, total, id, fragment),
                                          .source = fields.source.v4(),
                                          .destination = fields.destination.v4()};
    return;
  }
  *reinterpret_cast<Ipv6Header*>(at) = {
      .version_class_flow = be32::from_host(6u << 28 | uint32_t{fields.traffic_class} << 20),
      .payload_length = be16::from_host(static_cast<uint16_t>(total_bytes - sizeof(Ipv6Header))),
      .next_header = fields.protocol,
      .hop_limit = fields.hop_limit,
      .source = fields.source,
      .destination = fields.destination};
}

// Sets the checksum of a UDP header that the gateway wrote with 0: `udp` is all of it with its payload. IPv4
// has none (RFC 3948 section 2.1); IPv6 demands it (RFC 8200 section 8.1), and Linux refuses ESP in UDP
// without.
inline void finish_udp_checksum(const Tuple& outer, std::span<uint8_t> udp) {
  if (outer.is_v4()) return;
  auto& header = *reinterpret_cast<UdpHeader*>(udp.data());
  header.checksum = nat::l4_checksum(outer.source, outer.destination, kProtoUdp, udp);
}

// Makes room for `bytes` in front of the packet and for an Ethernet header before them, by moving it within
// its buffer where there is too little. False: the buffer is too small.
inline bool make_headroom(rte_mbuf* mbuf, uint32_t bytes) {
  const uint32_t wanted = bytes + kMaxL2Bytes;
  if (rte_pktmbuf_headroom(mbuf) >= wanted) [[likely]]
    return true;
  const uint32_t shift = wanted - rte_pktmbuf_headroom(mbuf);
  if (rte_pktmbuf_tailroom(mbuf) < shift) return false;
  auto* data = rte_pktmbuf_mtod(mbuf, uint8_t*);
  std::memmove(data + shift, data, mbuf->data_len);
  mbuf->data_off = static_cast<uint16_t>(mbuf->data_off + shift);
  return true;
}

}  // namespace espalier::dataplane
