// What the tests of nat/ share: short ways to write tuples and packets, and a checksum that is as naive as
// RFC 1071 section 4.1 and shares no code with ours.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "nat/session_table.hpp"

namespace espalier::nat {

inline Ipv4Address ip(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return Ipv4Address::from_host(uint32_t{a} << 24 | uint32_t{b} << 16 | uint32_t{c} << 8 | d);
}

inline Tuple tuple(uint8_t protocol, Ipv4Address source, uint16_t source_port, Ipv4Address destination,
                   uint16_t destination_port) {
  Tuple t;
  t.protocol = protocol;
  t.source = source;
  t.destination = destination;
  t.source_port = be16::from_host(source_port);
  t.destination_port = be16::from_host(destination_port);
  return t;
}

inline Tuple udp(Ipv4Address source, uint16_t source_port, Ipv4Address destination,
                 uint16_t destination_port) {
  return tuple(kProtoUdp, source, source_port, destination, destination_port);
}

inline Tuple echo(Ipv4Address source, Ipv4Address destination, uint16_t id) {
  return tuple(kProtoIcmp, source, id, destination, kIcmpEcho << 8);
}

// The n-th of many different flows.
inline Tuple numbered_flow(uint32_t n, uint8_t protocol = kProtoUdp) {
  return tuple(protocol, Ipv4Address::from_host(0x0a000000 + n / 50000),
               static_cast<uint16_t>(1024 + n % 50000), ip(198, 51, 100, 9), 53);
}

inline std::unique_ptr<SessionTable> make_table(uint32_t capacity, uint16_t workers = 1) {
  SessionTable::Config config{.capacity = capacity, .workers = workers};
  std::mt19937_64 random(7);
  for (auto& word : config.key) word = random();
  auto table = SessionTable::create(config);
  if (!table) throw std::runtime_error(table.error().text);
  return std::move(*table);
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

// Writes both checksums of an IPv4 packet without options, from nothing. `l4_checksum_at`: its offset, 0:
// none.
inline void fill_checksums(std::vector<uint8_t>& packet, size_t l4_checksum_at) {
  put16(packet, 10, 0);
  put16(packet, 10, naive_checksum({packet.begin(), packet.begin() + 20}));
  if (l4_checksum_at == 0) return;
  put16(packet, l4_checksum_at, 0);
  std::vector<uint8_t> covered(packet.begin() + 20, packet.end());
  if (packet[9] != kProtoIcmp) {
    std::vector<uint8_t> pseudo(packet.begin() + 12, packet.begin() + 20);
    pseudo.insert(pseudo.end(), {0, packet[9], static_cast<uint8_t>(covered.size() >> 8),
                                 static_cast<uint8_t>(covered.size())});
    covered.insert(covered.begin(), pseudo.begin(), pseudo.end());
  }
  const uint16_t result = naive_checksum(covered);
  put16(packet, l4_checksum_at, packet[9] == kProtoUdp && result == 0 ? 0xffff : result);
}

constexpr size_t l4_checksum_offset(uint8_t protocol) {
  if (protocol == kProtoTcp) return 20 + 16;
  if (protocol == kProtoUdp) return 20 + 6;
  return protocol == kProtoIcmp ? 20 + 2 : 0;
}

// An IPv4 packet with this tuple, right checksums and random contents of `l4_bytes` behind the IPv4 header.
inline std::vector<uint8_t> make_packet(const Tuple& t, size_t l4_bytes, std::mt19937& random) {
  std::vector<uint8_t> packet(20 + l4_bytes);
  for (size_t i = 20; i < packet.size(); ++i) packet[i] = static_cast<uint8_t>(random());
  packet[0] = 0x45;
  put16(packet, 2, static_cast<uint16_t>(packet.size()));
  put16(packet, 4, static_cast<uint16_t>(random()));
  packet[8] = 64;
  packet[9] = t.protocol;
  put32(packet, 12, t.source.host());
  put32(packet, 16, t.destination.host());
  if (has_ports(t.protocol)) {
    put16(packet, 20, t.source_port.host());
    put16(packet, 22, t.destination_port.host());
  } else if (t.protocol == kProtoIcmp) {
    put16(packet, 20, t.destination_port.host());
    put16(packet, 24, t.source_port.host());
  }
  fill_checksums(packet, l4_checksum_offset(t.protocol));
  return packet;
}

}  // namespace espalier::nat
