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

// An IPv4 address as it lies in an IPv4 header. Everything that may be of either family has an IpAddress.
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

using uint128 = unsigned __int128;

enum class Family : uint8_t { kIpv4, kIpv6 };

// An address of either family, in network byte order: an IPv6 address as it lies in a header, or an IPv4
// address as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). So one tuple, one selector and one session table
// serve both families and every mixture of them. That no IPv6 packet on a wire has a mapped address is
// checked where packets are parsed. The default value is of no family's use: "unspecified".
struct [[gnu::packed]] IpAddress {
  be64 high, low;

  constexpr IpAddress() = default;
  constexpr IpAddress(be64 h, be64 l) : high(h), low(l) {}
  constexpr IpAddress(Ipv4Address a)  // NOLINT: every IPv4 address is one
      : low(be64::from_raw(kMapped | uint64_t{a.be.raw()} << 32)) {}
  static constexpr IpAddress from_host(uint128 value) {
    return {be64::from_host(static_cast<uint64_t>(value >> 64)),
            be64::from_host(static_cast<uint64_t>(value))};
  }
  constexpr uint128 host() const { return uint128{high.host()} << 64 | low.host(); }

  constexpr bool is_v4() const { return high.raw() == 0 && static_cast<uint32_t>(low.raw()) == kMapped; }
  constexpr Family family() const { return is_v4() ? Family::kIpv4 : Family::kIpv6; }
  constexpr Ipv4Address v4() const {
    return {be32::from_raw(static_cast<uint32_t>(low.raw() >> 32))};
  }  // of is_v4()

  // Of either family: 0.0.0.0 or ::.
  constexpr bool is_unspecified() const {
    return high.raw() == 0 && (low.raw() == 0 || low.raw() == kMapped);
  }
  constexpr bool is_multicast() const { return is_v4() ? v4().is_multicast() : (high.host() >> 56) == 0xff; }
  constexpr bool is_loopback() const {
    return is_v4() ? v4().is_loopback() : high.raw() == 0 && low.host() == 1;
  }
  constexpr bool is_broadcast() const { return is_v4() && v4().is_broadcast(); }
  constexpr bool is_link_local() const { return (high.host() >> 54) == 0x3fa; }  // fe80::/10
  friend constexpr bool operator==(IpAddress, IpAddress) = default;
  friend constexpr auto operator<=>(IpAddress, IpAddress) = default;  // within a family by value

 private:
  static constexpr uint64_t kMapped = 0xffff0000;  // the bytes 00 00 ff ff, as they lie in memory
};
static_assert(sizeof(IpAddress) == 16);
static_assert(IpAddress(Ipv4Address::from_host(0x01020304)).host() == 0xffff01020304);
static_assert(IpAddress(Ipv4Address::from_host(0x01020304)).v4().host() == 0x01020304);

// An address with a prefix length. `address` may have host bits (an interface's address); network() has none.
// `length` counts all 128 bits: an IPv4 prefix has 96 more than people write. A prefix holds addresses of its
// own family only: ::/0 is every IPv6 address and no IPv4 address.
struct IpPrefix {
  IpAddress address;
  uint8_t length = 0;

  static constexpr uint8_t kMappedBits = 96;
  // `length` as people write it: 0..32 or 0..128.
  static constexpr IpPrefix of(IpAddress address, uint8_t length) {
    return {address, static_cast<uint8_t>(address.is_v4() ? length + kMappedBits : length)};
  }
  static constexpr IpPrefix any(Family family) {
    return family == Family::kIpv4 ? of(Ipv4Address{}, 0) : IpPrefix{};
  }
  static constexpr IpPrefix host(IpAddress address) { return {address, 128}; }

  constexpr bool is_v4() const { return length >= kMappedBits && address.is_v4(); }
  constexpr Family family() const { return is_v4() ? Family::kIpv4 : Family::kIpv6; }
  constexpr uint8_t written_length() const { return is_v4() ? length - kMappedBits : length; }
  constexpr bool is_host() const { return length == 128; }
  constexpr uint128 mask() const { return length == 0 ? 0 : ~uint128{0} << (128 - length); }
  constexpr IpAddress network() const { return IpAddress::from_host(address.host() & mask()); }
  constexpr IpAddress last() const {
    return IpAddress::from_host(address.host() | ~mask());
  }  // IPv4: broadcast
  constexpr bool contains(IpAddress a) const {
    return ((a.host() ^ address.host()) & mask()) == 0 && (length >= kMappedBits || !a.is_v4());
  }
  constexpr bool overlaps(IpPrefix o) const {
    return family() == o.family() && ((address.host() ^ o.address.host()) & (mask() & o.mask())) == 0;
  }
  friend constexpr bool operator==(IpPrefix, IpPrefix) = default;
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
  kProtoHopByHop = 0,
  kProtoIcmp = 1,
  kProtoIpip = 4,
  kProtoTcp = 6,
  kProtoUdp = 17,
  kProtoIpv6 = 41,
  kProtoRouting = 43,
  kProtoFragment = 44,
  kProtoGre = 47,
  kProtoEsp = 50,
  kProtoAh = 51,
  kProtoIcmpv6 = 58,
  kProtoNoNext = 59,
  kProtoDestinationOptions = 60,
};
inline constexpr uint8_t kProtoAny = 0;  // in selectors and rules: every protocol

// The five values that identify a flow's packets of one direction. For ICMP and ICMPv6 queries both "ports"
// are as nf_conntrack has them: source_port = the query's identifier, destination_port = (type << 8 | code).
// For GRE with a key, and for ESP, both are 0.
struct Tuple {
  IpAddress source{};
  IpAddress destination{};
  be16 source_port{};
  be16 destination_port{};
  uint8_t protocol = 0;
  uint8_t reserved[3] = {};
  constexpr bool is_v4() const { return destination.is_v4(); }
  constexpr Family family() const { return destination.family(); }
  friend constexpr bool operator==(const Tuple&, const Tuple&) = default;
};
static_assert(sizeof(Tuple) == 40);

// A traffic selector as in `ip xfrm policy` (RFC 4301 section 4.4.1.1). Ports apply to TCP, UDP; for ICMP
// and ICMPv6 source_port holds the type and destination_port the code, as in XFRM. Both prefixes are of one
// family, and packets of the other never match.
struct Selector {
  IpPrefix source;
  IpPrefix destination;
  uint8_t protocol = kProtoAny;
  uint8_t reserved = 0;
  PortRange source_port;
  PortRange destination_port;
  friend constexpr bool operator==(const Selector&, const Selector&) = default;

  // `source_port` and `destination_port` are host order, already (type, code) for ICMP, 0 where unknown.
  constexpr bool matches(IpAddress src, IpAddress dst, uint8_t proto, uint16_t sport, uint16_t dport) const {
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
