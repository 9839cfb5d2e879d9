// Changing a packet's addresses, ports or ICMP identifier, with its checksums.
//
// A Rewrite is made once per direction of a flow and lies in its flow entry; apply() is what every packet
// pays. ICMP errors quote a packet that was translated, so they are translated with it (RFC 5508
// section 4.2); they are rare and go through functions of their own.
#pragma once

#include "nat/checksum.hpp"
#include "nat/tuple.hpp"

namespace espalier::nat {

// What apply() writes. 44 bytes, trivially copyable: a part of the flow entry.
struct Rewrite {
  IpAddress source;
  IpAddress destination;
  be16 source_port;  // ICMP queries: the identifier
  be16 destination_port;
  ChecksumDelta ip_delta{};  // IPv4 only: IPv6 headers have no checksum
  ChecksumDelta l4_delta{};
  // Decides where ports and checksum lie; others than TCP, UDP and the family's ICMP: addresses only.
  uint8_t protocol = 0;
  Family family = Family::kIpv4;
  uint8_t reserved[2] = {};
};
static_assert(sizeof(Rewrite) == 44 && std::is_trivially_copyable_v<Rewrite>);

// From the tuple that packets come with to the one that they leave with; of the same family and protocol.
constexpr Rewrite make_rewrite(const Tuple& from, const Tuple& to) {
  Rewrite r{.source = to.source,
            .destination = to.destination,
            .source_port = to.source_port,
            .destination_port = to.destination_port,
            .protocol = to.protocol,
            .family = to.family()};
  r.ip_delta.change(from.source, to.source).change(from.destination, to.destination);
  if (to.protocol != kProtoIcmp) r.l4_delta = r.ip_delta;  // the pseudo header
  r.l4_delta.change(from.source_port, to.source_port);
  if (!has_identifier(to)) r.l4_delta.change(from.destination_port, to.destination_port);
  return r;
}

namespace detail {

inline uint16_t load16(const uint8_t* at) {
  uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
inline void store16(uint8_t* at, uint16_t value) {
  std::memcpy(at, &value, sizeof value);
}

inline constexpr uint32_t kTcpChecksum = 16, kUdpChecksum = 6, kIcmpChecksum = 2, kIcmpId = 4;

inline void apply_ipv4(const Rewrite& r, uint8_t* ip) {
  const Ipv4Address addresses[2] = {r.source.v4(), r.destination.v4()};
  std::memcpy(ip + 12, addresses, sizeof addresses);
  store16(ip + 10, r.ip_delta.apply(load16(ip + 10)));
}

inline void apply_ports(const Rewrite& r, uint8_t* l4, uint32_t l4_bytes) {
  if (l4_bytes < 4) return;
  store16(l4, r.source_port.raw());
  store16(l4 + 2, r.destination_port.raw());
  if (r.protocol == kProtoTcp && l4_bytes >= kTcpChecksum + 2)
    store16(l4 + kTcpChecksum, r.l4_delta.apply(load16(l4 + kTcpChecksum)));
  if (r.protocol == kProtoUdp && l4_bytes >= kUdpChecksum + 2)
    store16(l4 + kUdpChecksum, r.l4_delta.apply_udp(load16(l4 + kUdpChecksum)));
}

inline void apply_icmp_id(const Rewrite& r, uint8_t* l4, uint32_t l4_bytes) {
  if (l4_bytes < kIcmpId + 2) return;
  store16(l4 + kIcmpId, r.source_port.raw());
  store16(l4 + kIcmpChecksum, r.l4_delta.apply(load16(l4 + kIcmpChecksum)));
}

}  // namespace detail

// Writes the new addresses into the IPv4 or IPv6 header at `ip` and the ports or the identifier into the
// header at `l4`, with all checksums. `l4` is null for fragments after the first; `l4_bytes` are there of it,
// and what lies beyond them is left as it is. The packet must be of the tuple that the Rewrite was made from.
inline void apply(const Rewrite& r, uint8_t* ip, uint8_t* l4, uint32_t l4_bytes) {
  if (r.family == Family::kIpv4)
    detail::apply_ipv4(r, ip);
  else
    std::memcpy(ip + 8, &r.source, 2 * sizeof(IpAddress));  // source and destination are neighbours in both
  if (l4 == nullptr) return;
  if (has_ports(r.protocol)) return detail::apply_ports(r, l4, l4_bytes);
  if (is_icmp(r.family, r.protocol)) detail::apply_icmp_id(r, l4, l4_bytes);
}
static_assert(offsetof(Rewrite, destination) == offsetof(Rewrite, source) + sizeof(IpAddress));

// The tuple under which the session of an ICMP error is found: the inverse of the quoted packet's. The error
// travels in the direction that the lookup gives. `packet` begins with the outer IP header and ends with the
// packet. Nothing if it is no ICMP or ICMPv6 error, or what it quotes is of another family, malformed, a
// later fragment, or too short for ports (the session cannot be told then).
std::optional<Tuple> icmp_error_tuple(std::span<const uint8_t> packet);

// Which of a packet's ends a step changes: destination NAT before routing, source NAT after it.
enum class NatStep : uint8_t { kDestination, kSource };

// Translates an ICMP error about a packet of the session (original, reply); `direction` is that of the error.
// As in Linux each step does its part of both headers, or nothing where `direction` has no such translation:
//  kDestination: outer destination as for packets of `direction`; quoted source back to what its sender used.
//  kSource: outer source becomes the one that packets of `direction` leave with, whichever router sent the
//           error (inside addresses stay inside); quoted destination likewise.
// The quoted checksums and the ICMP checksum are updated, a wrong one stays wrong. Quotes may be cut anywhere
// after the IP header and its extensions: what is not there is not written. Returns false, and writes
// nothing, for what icmp_error_tuple() finds malformed and for a quote of another protocol than the
// session's.
bool translate_icmp_error(std::span<uint8_t> packet, const Tuple& original, const Tuple& reply,
                          FlowDirection direction, NatStep step);

}  // namespace espalier::nat
