// IPv6 packets and extension headers for tests, put together byte by byte from RFC 8200 and RFC 4443.
#pragma once

#include <arpa/inet.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "tests/support/bytes.hpp"

namespace espalier::test {

inline constexpr const char *kHost6 = "2001:db8:1::45", *kPeer6 = "2001:db8:f::9",
                            *kGateway6 = "2001:db8:1::1";

inline IpAddress address6(const char* text) {
  IpAddress address;
  if (inet_pton(AF_INET6, text, &address) != 1) throw std::invalid_argument(text);
  return address;
}

inline Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) append(all, part);
  return all;
}

struct Ipv6Fields {
  const char* source = kHost6;
  const char* destination = kPeer6;
  uint8_t traffic_class = 0;
  uint8_t hop_limit = 64;
  uint32_t flow_label = 0;
};

inline Bytes ipv6(uint8_t next_header, const Bytes& payload, const Ipv6Fields& fields = {}) {
  Bytes packet;
  append32(packet, 6u << 28 | uint32_t{fields.traffic_class} << 20 | fields.flow_label);
  append16(packet, static_cast<uint16_t>(payload.size()));
  append8(packet, next_header);
  append8(packet, fields.hop_limit);
  for (const char* text : {fields.source, fields.destination}) {
    const IpAddress address = address6(text);
    append(packet, {reinterpret_cast<const uint8_t*>(&address), sizeof address});
  }
  append(packet, payload);
  return packet;
}

// Hop-by-hop or destination options of `bytes`, all padding (PadN, RFC 8200 section 4.2).
inline Bytes options_header(uint8_t next_header, size_t bytes = 8) {
  Bytes header(bytes, 0);
  header[0] = next_header;
  header[1] = static_cast<uint8_t>(bytes / 8 - 1);
  for (size_t at = 2; at < bytes;) {  // one option holds at most 257 bytes
    const size_t option_bytes = std::min<size_t>(bytes - at, 200);
    header[at] = 1;
    header[at + 1] = static_cast<uint8_t>(option_bytes - 2);
    at += option_bytes;
  }
  return header;
}

inline Bytes routing_header(uint8_t next_header, uint8_t type, uint8_t segments_left) {
  Bytes header(24, 0);
  header[0] = next_header;
  header[1] = 2;
  header[2] = type;
  header[3] = segments_left;
  return header;
}

inline Bytes fragment_header(uint8_t next_header, uint32_t offset, bool more, uint32_t id = 7) {
  Bytes header = {next_header, 0};
  append16(header, static_cast<uint16_t>(offset | (more ? 1 : 0)));
  append32(header, id);
  return header;
}

// The checksum field for `message` with a pseudo header (RFC 8200 section 8.1).
inline uint16_t checksum6(const char* source, const char* destination, uint8_t protocol, ByteView message) {
  Bytes pseudo;
  for (const char* text : {source, destination}) {
    const IpAddress address = address6(text);
    append(pseudo, {reinterpret_cast<const uint8_t*>(&address), sizeof address});
  }
  append32(pseudo, static_cast<uint32_t>(message.size()));
  append32(pseudo, protocol);
  return internet_checksum(message, ones_sum(pseudo));
}

inline Bytes icmpv6(uint8_t type, uint8_t code, uint32_t rest, const Bytes& payload,
                    const char* source = kHost6, const char* destination = kPeer6) {
  Bytes message = {type, code, 0, 0};
  append32(message, rest);
  append(message, payload);
  put16(message, 2, checksum6(source, destination, kProtoIcmpv6, message));
  return message;
}

inline Bytes udp6(size_t payload_bytes, const char* source = kHost6, const char* destination = kPeer6) {
  Bytes datagram;
  for (const size_t field : {size_t{4000}, size_t{5000}, payload_bytes + 8, size_t{0}})
    append16(datagram, static_cast<uint16_t>(field));
  append(datagram, counting_bytes(payload_bytes));
  put16(datagram, 6, checksum6(source, destination, kProtoUdp, datagram));
  return datagram;
}

}  // namespace espalier::test
