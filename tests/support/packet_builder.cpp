#include "tests/support/packet_builder.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace espalier::test {
namespace {

constexpr size_t kIpHeaderBytes = 20;
constexpr std::string_view kTcpFlagLetters = "FSRPAUEC";
constexpr uint16_t kDontFragment = 0x4000;
constexpr uint16_t kMoreFragments = 0x2000;

struct Endpoint {
  Ipv4Address address;
  uint16_t port = 0;
};

Endpoint parse_endpoint(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) throw std::invalid_argument("no port in '" + std::string(text) + "'");
  const std::string_view port = text.substr(colon + 1);
  Endpoint endpoint{parse_address(text.substr(0, colon)), 0};
  const auto result = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (result.ec != std::errc() || result.ptr != port.data() + port.size())
    throw std::invalid_argument("not a port in '" + std::string(text) + "'");
  return endpoint;
}

Bytes require_words(ByteView bytes) {
  if (bytes.size() % 4 != 0 || bytes.size() > 40)
    throw std::logic_error("options are 0 to 40 bytes, in fours");
  return copy(bytes);
}

void fix_ip_checksum(MutableView header) {
  put16(header, 10, 0);
  put16(header, 10, internet_checksum(header));
}

size_t checksum_offset(uint8_t protocol) {
  switch (protocol) {
    case kProtoTcp:
      return 16;
    case kProtoUdp:
      return 6;
    case kProtoIcmp:
      return 2;
  }
  throw std::logic_error("a protocol without a checksum");
}

}  // namespace

Packet& Packet::ttl(uint8_t value) {
  ttl_ = value;
  return *this;
}

Packet& Packet::tos(uint8_t value) {
  tos_ = value;
  return *this;
}

Packet& Packet::id(uint16_t value) {
  id_ = value;
  return *this;
}

Packet& Packet::df(bool on) {
  df_ = on;
  return *this;
}

Packet& Packet::options(ByteView ip_options) {
  options_ = require_words(ip_options);
  return *this;
}

Packet& Packet::payload(size_t count) {
  return payload(counting_bytes(count));
}

Packet& Packet::payload(Bytes bytes) {
  payload_ = std::move(bytes);
  return *this;
}

Packet& Packet::no_checksum() {
  require_protocol(kProtoUdp);
  checksum_ = false;
  return *this;
}

Packet& Packet::bad_checksum() {
  if (raw_) throw std::logic_error("a protocol without a checksum");
  damaged_checksum_ = true;
  return *this;
}

Packet& Packet::flags(std::string_view letters) {
  require_protocol(kProtoTcp);
  tcp_flags_ = 0;
  for (const char letter : letters) {
    const size_t bit = kTcpFlagLetters.find(letter);
    if (bit == std::string_view::npos) throw std::invalid_argument("TCP flags are of FSRPAUEC");
    tcp_flags_ = static_cast<uint8_t>(tcp_flags_ | 1 << bit);
  }
  return *this;
}

Packet& Packet::sequence(uint32_t value) {
  require_protocol(kProtoTcp);
  tcp_sequence_ = value;
  return *this;
}

Packet& Packet::acknowledgment(uint32_t value) {
  require_protocol(kProtoTcp);
  tcp_acknowledgment_ = value;
  return *this;
}

Packet& Packet::tcp_options(ByteView options) {
  require_protocol(kProtoTcp);
  tcp_options_ = require_words(options);
  return *this;
}

void Packet::require_protocol(uint8_t protocol) const {
  if (raw_ || protocol_ != protocol) throw std::logic_error("this packet's protocol has no such field");
}

// With a checksum of zero.
Bytes Packet::l4_header() const {
  Bytes header;
  if (raw_) return header;
  if (protocol_ == kProtoIcmp) {
    append8(header, icmp_type_);
    append8(header, icmp_code_);
    append16(header, 0);
    append32(header, icmp_rest_);
    return header;
  }
  append16(header, source_port_);
  append16(header, destination_port_);
  if (protocol_ == kProtoUdp) {
    append16(header, static_cast<uint16_t>(8 + payload_.size()));
    append16(header, 0);
    return header;
  }
  append32(header, tcp_sequence_);
  append32(header, tcp_acknowledgment_);
  append8(header, static_cast<uint8_t>((20 + tcp_options_.size()) / 4 << 4));
  append8(header, tcp_flags_);
  append16(header, 8192);  // window
  append32(header, 0);     // checksum, urgent pointer
  append(header, tcp_options_);
  return header;
}

Bytes Packet::l4() const {
  Bytes bytes = l4_header();
  append(bytes, payload_);
  if (raw_ || !checksum_) return bytes;
  const bool pseudo = protocol_ != kProtoIcmp;
  const uint16_t start = pseudo ? pseudo_header_sum(source_, destination_, protocol_, bytes.size()) : 0;
  uint16_t sum = internet_checksum(bytes, start);
  if (protocol_ == kProtoUdp && sum == 0) sum = 0xffff;  // RFC 768: zero means none
  if (damaged_checksum_) sum ^= 0x0100;
  put16(bytes, checksum_offset(protocol_), sum);
  return bytes;
}

Bytes Packet::bytes() const {
  const Bytes body = l4();
  const size_t header_bytes = kIpHeaderBytes + options_.size();
  Bytes packet;
  append8(packet, static_cast<uint8_t>(4 << 4 | header_bytes / 4));
  append8(packet, tos_);
  append16(packet, static_cast<uint16_t>(header_bytes + body.size()));
  append16(packet, id_);
  append16(packet, df_ ? kDontFragment : 0);
  append8(packet, ttl_);
  append8(packet, protocol_);
  append16(packet, 0);
  append32(packet, source_.host());
  append32(packet, destination_.host());
  append(packet, options_);
  fix_ip_checksum(packet);
  append(packet, body);
  return packet;
}

Packet udp(std::string_view source, std::string_view destination) {
  const Endpoint from = parse_endpoint(source);
  const Endpoint to = parse_endpoint(destination);
  Packet packet;
  packet.protocol_ = kProtoUdp;
  packet.source_ = from.address, packet.source_port_ = from.port;
  packet.destination_ = to.address, packet.destination_port_ = to.port;
  return packet.payload(16);
}

Packet tcp(std::string_view source, std::string_view destination) {
  Packet packet = udp(source, destination);
  packet.protocol_ = kProtoTcp;
  return packet.payload(0);
}

Packet icmp(uint8_t type, uint8_t code, uint32_t rest, std::string_view source, std::string_view destination,
            ByteView payload) {
  Packet packet;
  packet.protocol_ = kProtoIcmp;
  packet.source_ = parse_address(source);
  packet.destination_ = parse_address(destination);
  packet.icmp_type_ = type;
  packet.icmp_code_ = code;
  packet.icmp_rest_ = rest;
  return packet.payload(copy(payload));
}

Packet echo_request(std::string_view source, std::string_view destination, uint16_t id, uint16_t sequence) {
  return icmp(8, 0, static_cast<uint32_t>(id) << 16 | sequence, source, destination, counting_bytes(16));
}

Packet echo_reply(std::string_view source, std::string_view destination, uint16_t id, uint16_t sequence) {
  return icmp(0, 0, static_cast<uint32_t>(id) << 16 | sequence, source, destination, counting_bytes(16));
}

Packet ip(uint8_t protocol, std::string_view source, std::string_view destination, ByteView payload) {
  Packet packet;
  packet.raw_ = true;
  packet.protocol_ = protocol;
  packet.source_ = parse_address(source);
  packet.destination_ = parse_address(destination);
  return packet.payload(copy(payload));
}

Packet esp_tunnel(const EspKey& key, uint64_t sequence, std::string_view source, std::string_view destination,
                  ByteView inner, const SealOptions& options) {
  return ip(kProtoEsp, source, destination, seal_esp(key, sequence, inner, options));
}

std::vector<Bytes> fragments(ByteView ip_packet, size_t mtu_bytes) {
  if ((get8(ip_packet, 0) & 15) * 4 != kIpHeaderBytes || mtu_bytes < kIpHeaderBytes + 8)
    throw std::logic_error("fragments() takes packets without options and an MTU of at least 28");
  const ByteView body = ip_packet.subspan(kIpHeaderBytes);
  const size_t step = (mtu_bytes - kIpHeaderBytes) / 8 * 8;
  const uint16_t first_word = get16(ip_packet, 6);
  std::vector<Bytes> parts;
  for (size_t at = 0; at < body.size(); at += step) {
    const ByteView slice = body.subspan(at, std::min(step, body.size() - at));
    const bool last = at + slice.size() == body.size();
    const auto word = static_cast<uint16_t>(first_word + at / 8);
    Bytes part = copy(ip_packet.first(kIpHeaderBytes));
    put16(part, 2, static_cast<uint16_t>(kIpHeaderBytes + slice.size()));
    put16(part, 6, last ? word : static_cast<uint16_t>(word | kMoreFragments));
    fix_ip_checksum(part);
    append(part, slice);
    parts.push_back(std::move(part));
  }
  return parts;
}

Bytes ethernet(const MacAddress& destination, const MacAddress& source, ByteView payload,
               uint16_t ether_type) {
  Bytes frame;
  append(frame, destination);
  append(frame, source);
  append16(frame, ether_type);
  append(frame, payload);
  return frame;
}

Bytes arp(uint16_t operation, const MacAddress& sender_mac, Ipv4Address sender, const MacAddress& target_mac,
          Ipv4Address target) {
  Bytes packet;
  append16(packet, 1);  // Ethernet
  append16(packet, kEtherTypeIpv4);
  append8(packet, 6);
  append8(packet, 4);
  append16(packet, operation);
  append(packet, sender_mac);
  append32(packet, sender.host());
  append(packet, target_mac);
  append32(packet, target.host());
  return packet;
}

}  // namespace espalier::test
