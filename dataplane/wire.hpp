// Protocol headers as they lie in a packet: packed, sizes and offsets asserted. Reach one only right after
// checking that the packet holds it.
#pragma once

#include "control/shared/types.hpp"
#include "nat/tuple.hpp"

namespace espalier::dataplane {

struct [[gnu::packed]] EthernetHeader {
  MacAddress destination;
  MacAddress source;
  be16 type;
};
static_assert(sizeof(EthernetHeader) == 14);

struct [[gnu::packed]] VlanTag {
  be16 control;  // priority 3 bits, DEI 1 bit, identifier 12 bits
  be16 type;
  uint16_t id() const { return control.host() & 0x0fff; }
};
static_assert(sizeof(VlanTag) == 4);

inline constexpr uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr uint16_t kEtherTypeArp = 0x0806;
inline constexpr uint16_t kEtherTypeIpv6 = 0x86dd;
inline constexpr uint16_t kEtherTypeVlan = 0x8100;
inline constexpr size_t kMaxL2Bytes = sizeof(EthernetHeader) + sizeof(VlanTag);

// RFC 791 section 3.1.
struct [[gnu::packed]] Ipv4Header {
  uint8_t version_ihl;
  uint8_t tos;
  be16 total_length;
  be16 id;
  be16 fragment;  // flags 3 bits, offset in 8-byte units 13 bits
  uint8_t ttl;
  uint8_t protocol;
  uint16_t checksum;  // raw: read and written by checksum arithmetic only
  Ipv4Address source;
  Ipv4Address destination;

  static constexpr uint16_t kDontFragment = 0x4000, kMoreFragments = 0x2000, kOffsetMask = 0x1fff;
  uint8_t header_bytes() const { return (version_ihl & 0x0f) * 4; }
  uint8_t version() const { return version_ihl >> 4; }
  bool dont_fragment() const { return fragment.host() & kDontFragment; }
  bool more_fragments() const { return fragment.host() & kMoreFragments; }
  uint32_t fragment_offset_bytes() const { return (fragment.host() & kOffsetMask) * 8u; }
  bool is_fragment() const { return fragment.host() & (kMoreFragments | kOffsetMask); }
  uint8_t ecn() const { return tos & 3; }
};
static_assert(sizeof(Ipv4Header) == 20 && offsetof(Ipv4Header, destination) == 16);

// RFC 8200 section 3.
struct [[gnu::packed]] Ipv6Header {
  be32 version_class_flow;  // version 4 bits, traffic class 8 bits, flow label 20 bits
  be16 payload_length;      // of all that follows
  uint8_t next_header;
  uint8_t hop_limit;
  IpAddress source;
  IpAddress destination;

  uint8_t version() const { return static_cast<uint8_t>(version_class_flow.host() >> 28); }
  uint8_t traffic_class() const { return static_cast<uint8_t>(version_class_flow.host() >> 20); }
  void set_traffic_class(uint8_t value) {
    version_class_flow = be32::from_host((version_class_flow.host() & 0xf00fffff) | uint32_t{value} << 20);
  }
};
static_assert(sizeof(Ipv6Header) == 40 && offsetof(Ipv6Header, destination) == 24);

// RFC 8200 section 4.5.
struct [[gnu::packed]] Ipv6FragmentHeader {
  uint8_t next_header;
  uint8_t reserved;
  be16 fragment;  // offset in 8-byte units 13 bits, 2 reserved bits, more 1 bit
  be32 id;
  static constexpr uint16_t kMoreFragments = 1;
  uint32_t offset_bytes() const { return fragment.host() & 0xfff8; }
  bool more_fragments() const { return fragment.host() & kMoreFragments; }
};
static_assert(sizeof(Ipv6FragmentHeader) == 8);

struct [[gnu::packed]] UdpHeader {
  be16 source_port;
  be16 destination_port;
  be16 length;
  uint16_t checksum;
};
static_assert(sizeof(UdpHeader) == 8);

struct [[gnu::packed]] TcpHeader {
  be16 source_port;
  be16 destination_port;
  be32 sequence;
  be32 acknowledgement;
  uint8_t data_offset;  // upper 4 bits, in 4-byte units
  uint8_t flags;
  be16 window;
  uint16_t checksum;
  be16 urgent;
};
static_assert(sizeof(TcpHeader) == 20);

// RFC 792; `rest` is identifier and sequence of queries, the next hop's MTU in the low half of type 3 code 4.
struct [[gnu::packed]] IcmpHeader {
  uint8_t type;
  uint8_t code;
  uint16_t checksum;
  be16 id;
  be16 sequence_or_mtu;
};
static_assert(sizeof(IcmpHeader) == 8);

using enum nat::IcmpType;
enum IcmpUnreachableCode : uint8_t {
  kIcmpNetUnreachable = 0,
  kIcmpHostUnreachable = 1,
  kIcmpProtocolUnreachable = 2,
  kIcmpPortUnreachable = 3,
  kIcmpFragmentationNeeded = 4,
  kIcmpAdminProhibited = 13,
};
// RFC 4443, RFC 4861; the header is IcmpHeader, packet too big has its MTU in the last four bytes.
using nat::Icmpv6Type;
using enum nat::Icmpv6Type;
enum Icmpv6UnreachableCode : uint8_t {
  kIcmpv6NoRoute = 0,
  kIcmpv6AdminProhibited = 1,
  kIcmpv6AddressUnreachable = 3,
  kIcmpv6PortUnreachable = 4,
};
constexpr bool is_icmpv6_error(uint8_t type) {
  return type < 128;
}
constexpr bool is_neighbor_discovery(uint8_t icmpv6_type) {
  return icmpv6_type >= kIcmpv6RouterSolicitation && icmpv6_type <= kIcmpv6Redirect;
}

constexpr bool is_icmp_error(uint8_t type) {
  return type == kIcmpUnreachable || type == kIcmpSourceQuench || type == kIcmpRedirect ||
         type == kIcmpTimeExceeded || type == kIcmpParameterProblem;
}

// RFC 4303 section 2.
struct [[gnu::packed]] EspHeader {
  be32 spi;
  be32 sequence;
};
struct [[gnu::packed]] EspTrailer {
  uint8_t pad_length;
  uint8_t next_header;
};
static_assert(sizeof(EspHeader) == 8 && sizeof(EspTrailer) == 2);

// RFC 2784 section 2, RFC 2890 section 2: checksum, key and sequence number follow where their bits are set.
struct [[gnu::packed]] GreHeader {
  be16 flags_version;
  be16 protocol;  // an EtherType
  static constexpr uint16_t kChecksum = 0x8000, kKey = 0x2000, kSequence = 0x1000;
};
static_assert(sizeof(GreHeader) == 4);

// RFC 826 for IPv4 over Ethernet.
struct [[gnu::packed]] ArpPacket {
  be16 hardware_type, protocol_type;
  uint8_t hardware_bytes, protocol_bytes;
  be16 operation;
  MacAddress sender_mac;
  Ipv4Address sender_ip;
  MacAddress target_mac;
  Ipv4Address target_ip;
};
static_assert(sizeof(ArpPacket) == 28);

}  // namespace espalier::dataplane
