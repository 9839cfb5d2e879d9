// The small values that all processes speak of.
//
// Integers in network byte order (be16, be32, be64) are types of their own and give only .host(), so that
// a forgotten byte swap does not compile. Indices and identifiers (Spi, SaIndex, ...) are types of their own
// too. Everything here is trivially copyable: it travels through rings and shared memory as it stands.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace espalier {

static_assert(std::endian::native == std::endian::little, "Espalier runs on x86-64");

// An unsigned integer stored in network byte order. Packed (alignment 1), because it stands in packet headers
// at any address.
template <class Host>
class [[gnu::packed]] BigEndian {
 public:
  constexpr BigEndian() = default;
  static constexpr BigEndian from_host(Host value) { return BigEndian(swap(value)); }
  // `raw` already is in network byte order, as read from a packet.
  static constexpr BigEndian from_raw(Host raw) { return BigEndian(raw); }
  constexpr Host host() const { return swap(raw_); }
  // The bytes as they lie in memory; for hashing, comparing and checksum arithmetic only.
  constexpr Host raw() const { return raw_; }
  friend constexpr bool operator==(BigEndian, BigEndian) = default;
  // Orders by value, not by memory.
  friend constexpr std::strong_ordering operator<=>(BigEndian a, BigEndian b) {
    return a.host() <=> b.host();
  }

 private:
  explicit constexpr BigEndian(Host raw) : raw_(raw) {}
  static constexpr Host swap(Host value) {
    if constexpr (sizeof(Host) == 2) return __builtin_bswap16(value);
    if constexpr (sizeof(Host) == 4) return __builtin_bswap32(value);
    if constexpr (sizeof(Host) == 8) return __builtin_bswap64(value);
  }
  Host raw_ = 0;
};
using be16 = BigEndian<uint16_t>;
using be32 = BigEndian<uint32_t>;
using be64 = BigEndian<uint64_t>;

// An integer with a meaning: converts from and to its representation only when asked.
template <class Tag, class Rep>
struct Id {
  Rep value = 0;
  constexpr Id() = default;
  explicit constexpr Id(Rep v) : value(v) {}
  friend constexpr bool operator==(Id, Id) = default;
  friend constexpr auto operator<=>(Id, Id) = default;
};
using Spi = Id<struct SpiTag, uint32_t>;                  // host order, RFC 4303 section 2.1
using SeqNo = Id<struct SeqNoTag, uint64_t>;              // 64 bits: the high half is used with ESN only
using Reqid = Id<struct ReqidTag, uint32_t>;              // ties policy templates to SAs, as in `ip xfrm`
using SaIndex = Id<struct SaIndexTag, uint32_t>;          // slot in the vault, the cells and the SAD
using PolicyIndex = Id<struct PolicyIndexTag, uint32_t>;  // position in the configuration's policy list
using RouteIndex = Id<struct RouteIndexTag, uint32_t>;    // position in the route list
using InterfaceIndex = Id<struct InterfaceIndexTag, uint16_t>;  // position in the interface list
using WorkerId = Id<struct WorkerIdTag, uint16_t>;              // 0 .. workers-1
static_assert(!std::is_convertible_v<uint32_t, Spi> && !std::is_convertible_v<Spi, uint32_t>);

inline constexpr uint32_t kNone32 = 0xffffffff;
inline constexpr SaIndex kNoSa{kNone32};
inline constexpr PolicyIndex kNoPolicy{kNone32};
inline constexpr RouteIndex kNoRoute{kNone32};
inline constexpr InterfaceIndex kNoInterface{0xffff};

// An IPv4 address, in network byte order like every address in a packet.
struct [[gnu::packed]] Ipv4Address {
  be32 be;
  static constexpr Ipv4Address from_host(uint32_t value) { return {be32::from_host(value)}; }
  constexpr uint32_t host() const { return be.host(); }
  constexpr bool is_unspecified() const { return be.raw() == 0; }
  constexpr bool is_multicast() const { return (host() >> 28) == 0xe; }
  constexpr bool is_loopback() const { return (host() >> 24) == 127; }
  constexpr bool is_broadcast() const { return host() == 0xffffffff; }
  friend constexpr bool operator==(Ipv4Address, Ipv4Address) = default;
  friend constexpr auto operator<=>(Ipv4Address, Ipv4Address) = default;
};

// An address with a prefix length 0..32. `address` may have host bits (an interface's address);
// network() has none.
struct Ipv4Prefix {
  Ipv4Address address;
  uint8_t length = 0;
  constexpr uint32_t mask() const { return length == 0 ? 0 : ~0u << (32 - length); }
  constexpr Ipv4Address network() const { return Ipv4Address::from_host(address.host() & mask()); }
  constexpr Ipv4Address broadcast() const { return Ipv4Address::from_host(address.host() | ~mask()); }
  constexpr bool contains(Ipv4Address a) const { return ((a.host() ^ address.host()) & mask()) == 0; }
  constexpr bool overlaps(Ipv4Prefix o) const {
    return ((address.host() ^ o.address.host()) & (mask() & o.mask())) == 0;
  }
  friend constexpr bool operator==(Ipv4Prefix, Ipv4Prefix) = default;
};

// An inclusive range of ports in host order; the default takes every port.
struct PortRange {
  uint16_t low = 0;
  uint16_t high = 0xffff;
  constexpr bool contains(uint16_t port) const { return low <= port && port <= high; }
  constexpr bool is_any() const { return low == 0 && high == 0xffff; }
  constexpr bool overlaps(PortRange o) const { return low <= o.high && o.low <= high; }
  friend constexpr bool operator==(PortRange, PortRange) = default;
};

using MacAddress = std::array<uint8_t, 6>;

// IP protocol numbers that the code names.
enum IpProtocol : uint8_t {
  kProtoIcmp = 1,
  kProtoIpip = 4,
  kProtoTcp = 6,
  kProtoUdp = 17,
  kProtoGre = 47,
  kProtoEsp = 50
};
inline constexpr uint8_t kProtoAny = 0;  // in selectors and rules: every protocol

// The five values that identify a flow's packets of one direction. For ICMP queries both "ports" are as
// nf_conntrack has them: source_port = the query's identifier, destination_port = (type << 8 | code).
struct Ipv4Tuple {
  Ipv4Address source;
  Ipv4Address destination;
  be16 source_port;
  be16 destination_port;
  uint8_t protocol = 0;
  uint8_t reserved[3] = {};
  friend constexpr bool operator==(const Ipv4Tuple&, const Ipv4Tuple&) = default;
};
static_assert(sizeof(Ipv4Tuple) == 16);

// A traffic selector as in `ip xfrm policy` (RFC 4301 section 4.4.1.1). Ports apply to TCP, UDP; for ICMP
// source_port holds the type and destination_port the code, as in XFRM.
struct Selector {
  Ipv4Prefix source;
  Ipv4Prefix destination;
  uint8_t protocol = kProtoAny;
  uint8_t reserved = 0;
  PortRange source_port;
  PortRange destination_port;
  friend constexpr bool operator==(const Selector&, const Selector&) = default;

  // `source_port` and `destination_port` are host order, already (type, code) for ICMP, 0 where unknown.
  constexpr bool matches(Ipv4Address src, Ipv4Address dst, uint8_t proto, uint16_t sport,
                         uint16_t dport) const {
    return source.contains(src) && destination.contains(dst) &&
           (protocol == kProtoAny || protocol == proto) && source_port.contains(sport) &&
           destination_port.contains(dport);
  }
  constexpr bool overlaps(const Selector& o) const {
    return source.overlaps(o.source) && destination.overlaps(o.destination) &&
           (protocol == kProtoAny || o.protocol == kProtoAny || protocol == o.protocol) &&
           source_port.overlaps(o.source_port) && destination_port.overlaps(o.destination_port);
  }
};

}  // namespace espalier
