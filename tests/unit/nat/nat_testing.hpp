// What the tests of nat/ share: short ways to write tuples and packets, and a checksum that is as naive as
// RFC 1071 section 4.1 and shares no code with ours.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "nat/session_table.hpp"

namespace espalier::nat {

inline Ipv4Address ip(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return Ipv4Address::from_host(uint32_t{a} << 24 | uint32_t{b} << 16 | uint32_t{c} << 8 | d);
}

// Of either family, as people write it.
inline IpAddress ip(const char* text) {
  Ipv4Address v4;
  if (inet_pton(AF_INET, text, &v4) == 1) return v4;
  IpAddress v6;
  if (inet_pton(AF_INET6, text, &v6) != 1) throw std::runtime_error(std::string("no address: ") + text);
  return v6;
}

inline Tuple tuple(uint8_t protocol, IpAddress source, uint16_t source_port, IpAddress destination,
                   uint16_t destination_port) {
  Tuple t;
  t.protocol = protocol;
  t.source = source;
  t.destination = destination;
  t.source_port = be16::from_host(source_port);
  t.destination_port = be16::from_host(destination_port);
  return t;
}

inline Tuple udp(IpAddress source, uint16_t source_port, IpAddress destination, uint16_t destination_port) {
  return tuple(kProtoUdp, source, source_port, destination, destination_port);
}

inline Tuple echo(IpAddress source, IpAddress destination, uint16_t id) {
  if (source.is_v4()) return tuple(kProtoIcmp, source, id, destination, kIcmpEcho << 8);
  return tuple(kProtoIcmpv6, source, id, destination, kIcmpv6Echo << 8);
}

// The n-th of many different flows.
inline Tuple numbered_flow(uint32_t n, uint8_t protocol = kProtoUdp) {
  return tuple(protocol, Ipv4Address::from_host(0x0a000000 + n / 50000),
               static_cast<uint16_t>(1024 + n % 50000), ip(198, 51, 100, 9), 53);
}

inline Tuple numbered_flow_v6(uint32_t n, uint8_t protocol = kProtoUdp) {
  return tuple(protocol, IpAddress::from_host(ip("2001:db8:1::").host() + n / 50000),
               static_cast<uint16_t>(1024 + n % 50000), ip("2001:db8:9::9"), 53);
}

inline std::unique_ptr<SessionTable> make_table(uint32_t capacity, uint16_t workers = 1) {
  SessionTable::Config config{.capacity = capacity, .workers = workers};
  std::mt19937_64 random(7);
  for (auto& word : config.key) word = random();
  auto table = SessionTable::create(config);
  if (!table) throw std::runtime_error(table.error().text);
  return std::move(*table);
}

inline SettingsRecord settings(uint32_t session_limit, uint32_t udp_s = 30) {
  SettingsRecord s;
  s.session_limit = session_limit;
  s.udp_s = udp_s;
  return s;
}

inline PendingSession pending(const Tuple& original, uint8_t tcp_flags = kTcpSyn) {
  const auto begun = begin_session(original, {.bytes = 100, .tcp_flags = tcp_flags});
  if (!begun) throw std::runtime_error("no session can begin with this packet");
  return *begun;
}

// The naive checksum: byte pairs, added as numbers.
inline uint16_t naive_checksum(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += i % 2 == 0 ? bytes[i] * 256u : bytes[i];
  while (sum > 0xffff) sum = sum % 0x10000 + sum / 0x10000;
  return static_cast<uint16_t>(0xffff - sum);
}

inline void put16(std::vector<uint8_t>& bytes, size_t at, uint16_t value) {
  bytes.at(at) = static_cast<uint8_t>(value >> 8);
  bytes.at(at + 1) = static_cast<uint8_t>(value);
}

inline void put32(std::vector<uint8_t>& bytes, size_t at, uint32_t value) {
  put16(bytes, at, static_cast<uint16_t>(value >> 16));
  put16(bytes, at + 2, static_cast<uint16_t>(value));
}

inline void put_address(std::vector<uint8_t>& bytes, size_t at, IpAddress address) {
  if (address.is_v4()) return put32(bytes, at, address.v4().host());
  for (size_t i = 0; i < 16; ++i) bytes.at(at + i) = static_cast<uint8_t>(address.host() >> (120 - 8 * i));
}

constexpr size_t header_bytes(Family family) {
  return family == Family::kIpv4 ? 20 : 40;
}

constexpr Family family_of(uint8_t first_byte) {
  return first_byte >> 4 == 6 ? Family::kIpv6 : Family::kIpv4;
}

// Writes all checksums of an IPv4 packet without options, or of an IPv6 packet without extension headers,
// from nothing. `l4_checksum_at`: its offset, 0: none.
inline void fill_checksums(std::vector<uint8_t>& packet, size_t l4_checksum_at) {
  const bool v4 = family_of(packet[0]) == Family::kIpv4;
  const size_t l4 = v4 ? 20 : 40;
  if (v4) {
    put16(packet, 10, 0);
    put16(packet, 10, naive_checksum({packet.begin(), packet.begin() + 20}));
  }
  if (l4_checksum_at == 0) return;
  put16(packet, l4_checksum_at, 0);
  const uint8_t protocol = packet[v4 ? 9 : 6];
  const auto at = [&](size_t i) { return packet.begin() + static_cast<ptrdiff_t>(i); };
  std::vector<uint8_t> covered(at(l4), packet.end());
  if (protocol != kProtoIcmp) {
    std::vector<uint8_t> pseudo(at(v4 ? 12 : 8), at(l4));
    pseudo.insert(pseudo.end(), {0, protocol, static_cast<uint8_t>(covered.size() >> 8),
                                 static_cast<uint8_t>(covered.size())});
    covered.insert(covered.begin(), pseudo.begin(), pseudo.end());
  }
  const uint16_t result = naive_checksum(covered);
  put16(packet, l4_checksum_at, protocol == kProtoUdp && result == 0 ? 0xffff : result);
}

// From the beginning of what follows the IP header.
constexpr size_t l4_checksum_place(uint8_t protocol) {
  if (protocol == kProtoTcp) return 16;
  if (protocol == kProtoUdp) return 6;
  return 2;
}

// From the beginning of the packet; 0: none.
constexpr size_t l4_checksum_offset(const Tuple& t) {
  const bool has_one = has_ports(t.protocol) || has_identifier(t);
  return has_one ? header_bytes(t.family()) + l4_checksum_place(t.protocol) : 0;
}

inline void put_header(std::vector<uint8_t>& packet, const Tuple& t, uint16_t id) {
  if (t.is_v4()) {
    packet[0] = 0x45;
    put16(packet, 2, static_cast<uint16_t>(packet.size()));
    put16(packet, 4, id);
    packet[8] = 64;
    packet[9] = t.protocol;
  } else {
    packet[0] = 0x60;
    put16(packet, 4, static_cast<uint16_t>(packet.size() - 40));
    packet[6] = t.protocol;
    packet[7] = 64;
  }
}

// Writes the tuple into a packet without options or extension headers, its checksums from nothing.
inline void put_tuple(std::vector<uint8_t>& packet, const Tuple& t) {
  const size_t l4 = header_bytes(t.family());
  put_address(packet, t.is_v4() ? 12 : 8, t.source);
  put_address(packet, t.is_v4() ? 16 : 24, t.destination);
  if (has_ports(t.protocol)) {
    put16(packet, l4, t.source_port.host());
    put16(packet, l4 + 2, t.destination_port.host());
  } else if (has_identifier(t)) {
    put16(packet, l4, t.destination_port.host());
    put16(packet, l4 + 4, t.source_port.host());
  }
  fill_checksums(packet, l4_checksum_offset(t));
}

// A packet with this tuple, right checksums and random contents of `l4_bytes` behind the IP header.
inline std::vector<uint8_t> make_packet(const Tuple& t, size_t l4_bytes, std::mt19937& random) {
  const size_t l4 = header_bytes(t.family());
  std::vector<uint8_t> packet(l4 + l4_bytes);
  for (size_t i = l4; i < packet.size(); ++i) packet[i] = static_cast<uint8_t>(random());
  put_header(packet, t, static_cast<uint16_t>(random()));
  put_tuple(packet, t);
  return packet;
}

}  // namespace espalier::nat
