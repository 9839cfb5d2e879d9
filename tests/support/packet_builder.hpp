// Packets for tests, in one expression:
//
//   udp("10.0.0.1:4000", "10.0.0.2:5000").ttl(3).df().payload(100).bytes()
//   esp_tunnel(key, 7, "203.0.113.2", "203.0.113.1", echo_request("10.0.0.1", "10.0.0.2").bytes()).bytes()
//   ethernet(kGateway, kHost, tcp("10.0.0.1:1", "10.0.0.2:80").flags("S").bytes())
//
// bytes() is the IPv4 packet with all lengths and checksums right unless a setter says otherwise. Setters
// that do not fit the protocol are a programming error and throw std::logic_error. Defaults: TTL 64, TOS 0,
// id 0x1001, DF clear, 16 counting bytes of payload for UDP and ICMP echo, none for TCP.
#pragma once

#include <optional>

#include "tests/support/esp_codec.hpp"

namespace espalier::test {

class Packet {
 public:
  Packet& ttl(uint8_t value);
  Packet& tos(uint8_t value);
  Packet& id(uint16_t value);
  Packet& df(bool on = true);
  Packet& options(ByteView ip_options);  // a multiple of 4 bytes, at most 40
  Packet& payload(size_t count);         // counting_bytes(count)
  Packet& payload(Bytes bytes);
  Packet& no_checksum();                    // UDP: the checksum field is 0
  Packet& bad_checksum();                   // TCP, UDP, ICMP: one bit wrong
  Packet& flags(std::string_view letters);  // TCP: of "FSRPAUEC"
  Packet& sequence(uint32_t value);         // TCP
  Packet& acknowledgment(uint32_t value);   // TCP
  Packet& tcp_options(ByteView options);    // TCP: a multiple of 4 bytes, at most 40

  Bytes bytes() const;

 private:
  friend Packet udp(std::string_view, std::string_view);
  friend Packet tcp(std::string_view, std::string_view);
  friend Packet icmp(uint8_t, uint8_t, uint32_t, std::string_view, std::string_view, ByteView);
  friend Packet ip(uint8_t, std::string_view, std::string_view, ByteView);

  Bytes l4_header() const;
  Bytes l4() const;
  void require_protocol(uint8_t protocol) const;

  Ipv4Address source_;
  Ipv4Address destination_;
  uint8_t protocol_ = 0;
  uint8_t ttl_ = 64;
  uint8_t tos_ = 0;
  uint16_t id_ = 0x1001;
  bool df_ = false;
  Bytes options_;
  bool raw_ = false;  // the payload is the whole of the IP payload
  uint16_t source_port_ = 0;
  uint16_t destination_port_ = 0;
  uint8_t icmp_type_ = 0;
  uint8_t icmp_code_ = 0;
  uint32_t icmp_rest_ = 0;
  uint8_t tcp_flags_ = 0x02;
  uint32_t tcp_sequence_ = 1;
  uint32_t tcp_acknowledgment_ = 0;
  Bytes tcp_options_;
  bool checksum_ = true;
  bool damaged_checksum_ = false;
  Bytes payload_;
};

// Endpoints are "address:port".
Packet udp(std::string_view source, std::string_view destination);
Packet tcp(std::string_view source, std::string_view destination);
// `rest` is the second word of the ICMP header: id and sequence number, or unused and MTU.
Packet icmp(uint8_t type, uint8_t code, uint32_t rest, std::string_view source, std::string_view destination,
            ByteView payload);
Packet echo_request(std::string_view source, std::string_view destination, uint16_t id = 7,
                    uint16_t sequence = 1);
Packet echo_reply(std::string_view source, std::string_view destination, uint16_t id = 7,
                  uint16_t sequence = 1);
// Any protocol: `payload` is all that follows the IP header.
Packet ip(uint8_t protocol, std::string_view source, std::string_view destination, ByteView payload);
// An IP packet with ESP around `inner` (tunnel mode).
Packet esp_tunnel(const EspKey& key, uint64_t sequence, std::string_view source, std::string_view destination,
                  ByteView inner, const SealOptions& options = {});

// The fragments of an IPv4 packet without options, none longer than `mtu_bytes` (RFC 791 section 3.2). DF is
// kept.
std::vector<Bytes> fragments(ByteView ip_packet, size_t mtu_bytes);

inline constexpr uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr uint16_t kEtherTypeArp = 0x0806;
Bytes ethernet(const MacAddress& destination, const MacAddress& source, ByteView payload,
               uint16_t ether_type = kEtherTypeIpv4);
// An ARP packet for Ethernet and IPv4 (RFC 826): operation 1 asks, 2 answers.
Bytes arp(uint16_t operation, const MacAddress& sender_mac, Ipv4Address sender, const MacAddress& target_mac,
          Ipv4Address target);

}  // namespace espalier::test
