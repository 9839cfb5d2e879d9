#include "dataplane/nd.hpp"

#include <cstring>

#include "dataplane/link_local.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane::nd {
namespace {

constexpr uint8_t kHopLimit = 255;  // RFC 4861: who sees it knows that no router sent it on
constexpr uint8_t kQueryHopLimit = 1;

// RFC 4861 sections 4.3 and 4.4: one form for both.
struct [[gnu::packed]] NeighborMessage {
  uint8_t type;
  uint8_t code;
  uint16_t checksum;  // raw
  be32 flags;
  IpAddress target;
};
static_assert(sizeof(NeighborMessage) == 24);
constexpr uint32_t kRouter = 0x8000'0000, kSolicited = 0x4000'0000, kOverride = 0x2000'0000;

// RFC 3810 section 5.1; what follows names sources, which our groups do not have.
struct [[gnu::packed]] QueryMessage {
  uint8_t type;
  uint8_t code;
  uint16_t checksum;
  be16 response_code;
  be16 reserved;
  IpAddress group;
};
static_assert(sizeof(QueryMessage) == sizeof(NeighborMessage));

// RFC 4861 section 4.6, RFC 3971 section 5.3.2: options of 8 bytes, a link-layer address or a nonce.
enum OptionType : uint8_t { kSourceMac = 1, kTargetMac = 2, kNonce = 14 };
struct [[gnu::packed]] Option {
  OptionType type;
  uint8_t units;  // of 8 bytes
  uint8_t value[6];
};
static_assert(sizeof(Option) == 8);

// RFC 2711: hop-by-hop options with a router alert for MLD, padded.
constexpr uint8_t kRouterAlert[8] = {kProtoIcmpv6, 0, 5, 2, 0, 0, 1, 0};

struct [[gnu::packed]] ReportHeader {
  uint8_t type;
  uint8_t code;
  uint16_t checksum;
  be16 reserved;
  be16 records;
};
struct [[gnu::packed]] ReportRecord {
  uint8_t type;
  uint8_t auxiliary_words;
  be16 sources;
  IpAddress group;
};
constexpr uint8_t kModeIsExclude = 2, kChangeToExclude = 4;
static_assert(sizeof(ReportHeader) == 8 && sizeof(ReportRecord) == 20);

// The sum that a right checksum makes 0xffff (RFC 8200 section 8.1).
uint16_t sum_with_pseudo_header(const IpAddress& source, const IpAddress& destination,
                                std::span<const uint8_t> icmp) {
  struct [[gnu::packed]] {
    IpAddress source, destination;
    be32 bytes;
    be32 protocol;
  } const pseudo{source, destination, be32::from_host(static_cast<uint32_t>(icmp.size())),
                 be32::from_host(kProtoIcmpv6)};
  const auto* const bytes = reinterpret_cast<const uint8_t*>(&pseudo);
  return nat::fold(nat::sum_of({bytes, sizeof pseudo}) + nat::sum_of(icmp));
}

// --- Reading ---

bool is_station(const MacAddress& mac) {
  return !(mac[0] & 1) && mac != MacAddress{};
}

bool is_unicast(IpAddress a) {
  return !a.is_unspecified() && !a.is_multicast() && !a.is_loopback() && !a.is_v4();
}

// False: an option of length zero or beyond the end (section 4.6), or a MAC address that no station has.
bool parse_options(std::span<const uint8_t> options, OptionType mac_type, Message& message) {
  while (!options.empty()) {
    const size_t bytes = options.size() < 2 ? 0 : size_t{options[1]} * sizeof(Option);
    if (bytes == 0 || bytes > options.size()) return false;
    Option option;
    std::memcpy(&option, options.data(), sizeof option);
    if (option.type == mac_type) {
      MacAddress mac;
      std::memcpy(mac.data(), option.value, mac.size());
      if (!is_station(mac) || option.units != 1) return false;
      message.mac = mac;
    } else if (option.type == kNonce && option.units == 1) {
      std::memcpy(&message.nonce, option.value, sizeof option.value);
    }
    options = options.subspan(bytes);
  }
  return true;
}

// Section 7.1.1.
bool parse_solicitation(std::span<const uint8_t> icmp, const Ipv6Header& ip, Message& message) {
  message.kind = Message::Kind::kSolicitation;
  if (!parse_options(icmp.subspan(sizeof(NeighborMessage)), kSourceMac, message)) return false;
  if (is_unicast(ip.source)) return true;
  return ip.source == IpAddress{} && !message.mac && ip.destination == solicited_node(message.target);
}

// Section 7.1.2.
bool parse_advertisement(std::span<const uint8_t> icmp, const Ipv6Header& ip, uint32_t flags,
                         Message& message) {
  message.kind = Message::Kind::kAdvertisement;
  message.is_solicited = flags & kSolicited;
  message.overrides = flags & kOverride;
  return is_unicast(ip.source) && !(message.is_solicited && ip.destination.is_multicast()) &&
         parse_options(icmp.subspan(sizeof(NeighborMessage)), kTargetMac, message);
}

bool parse_neighbor_message(std::span<const uint8_t> icmp, const Ipv6Header& ip, Message& message) {
  NeighborMessage fields;
  if (icmp.size() < sizeof fields) return false;
  std::memcpy(&fields, icmp.data(), sizeof fields);
  message.target = fields.target;
  if (fields.code != 0 || !is_unicast(fields.target)) return false;
  return fields.type == kIcmpv6NeighborSolicitation
             ? parse_solicitation(icmp, ip, message)
             : parse_advertisement(icmp, ip, fields.flags.host(), message);
}

// RFC 3810 section 5.1.3: a floating-point number above 32767.
uint32_t response_delay_ms(uint16_t code) {
  if (code < 0x8000) return code;
  return ((code & 0x0fffu) | 0x1000u) << ((code >> 12 & 7) + 3);
}

bool parse_query(std::span<const uint8_t> icmp, const Ipv6Header& ip, Message& message) {
  QueryMessage fields;
  if (icmp.size() < sizeof fields || ip.hop_limit != kQueryHopLimit || !ip.source.is_link_local())
    return false;
  std::memcpy(&fields, icmp.data(), sizeof fields);
  message.kind = Message::Kind::kQuery;
  message.target = fields.group;
  message.delay_ms = response_delay_ms(fields.response_code.host());
  return true;
}

// --- Writing ---

template <class Part>
void append(std::vector<uint8_t>& to, const Part& part) {
  const size_t end = to.size();
  to.resize(end + sizeof part);
  std::memcpy(&to[end], &part, sizeof part);
}

// The header of a packet whose ICMPv6 message is to follow; close() completes it.
std::vector<uint8_t> open(IpAddress source, IpAddress destination, uint8_t hop_limit,
                          uint8_t next_header = kProtoIcmpv6) {
  std::vector<uint8_t> packet;
  append(packet, Ipv6Header{.version_class_flow = be32::from_host(0x6000'0000),
                            .payload_length = {},
                            .next_header = next_header,
                            .hop_limit = hop_limit,
                            .source = source,
                            .destination = destination});
  return packet;
}

std::vector<uint8_t> close(std::vector<uint8_t> packet, size_t l4_offset = sizeof(Ipv6Header)) {
  Ipv6Header ip;
  std::memcpy(&ip, packet.data(), sizeof ip);
  ip.payload_length = be16::from_host(static_cast<uint16_t>(packet.size() - sizeof ip));
  std::memcpy(packet.data(), &ip, sizeof ip);
  const auto sum = sum_with_pseudo_header(ip.source, ip.destination, std::span(packet).subspan(l4_offset));
  const auto checksum = static_cast<uint16_t>(~sum);
  std::memcpy(&packet[l4_offset + offsetof(NeighborMessage, checksum)], &checksum, sizeof checksum);
  return packet;
}

void append_option(std::vector<uint8_t>& packet, OptionType type, const void* six_bytes) {
  Option option{type, 1, {}};
  std::memcpy(option.value, six_bytes, sizeof option.value);
  append(packet, option);
}

NeighborMessage fields(Icmpv6Type type, uint32_t flags, IpAddress target) {
  return {.type = type, .code = 0, .checksum = 0, .flags = be32::from_host(flags), .target = target};
}

}  // namespace

bool parse(std::span<const uint8_t> packet, size_t l4_offset, Message& message) {
  message = {};
  Ipv6Header ip;
  if (packet.size() < sizeof ip || l4_offset < sizeof ip) return false;
  std::memcpy(&ip, packet.data(), sizeof ip);
  const size_t bytes = sizeof ip + ip.payload_length.host();
  if (packet.size() < bytes || bytes < l4_offset + sizeof(IcmpHeader)) return false;
  const auto icmp = packet.subspan(l4_offset, bytes - l4_offset);
  if (sum_with_pseudo_header(ip.source, ip.destination, icmp) != 0xffff) return false;
  message.source = ip.source;
  const uint8_t type = icmp[0];
  if (type == kMldQuery) return parse_query(icmp, ip, message);
  if (ip.hop_limit != kHopLimit || !is_neighbor_discovery(type)) return false;
  const bool is_neighbors = type == kIcmpv6NeighborSolicitation || type == kIcmpv6NeighborAdvertisement;
  return !is_neighbors || parse_neighbor_message(icmp, ip, message);
}

std::vector<uint8_t> make_solicitation(IpAddress source, IpAddress destination, IpAddress target,
                                       const MacAddress& own_mac) {
  std::vector<uint8_t> packet = open(source, destination, kHopLimit);
  append(packet, fields(kIcmpv6NeighborSolicitation, 0, target));
  append_option(packet, kSourceMac, own_mac.data());
  return close(std::move(packet));
}

std::vector<uint8_t> make_check(IpAddress target, uint64_t nonce) {
  std::vector<uint8_t> packet = open({}, solicited_node(target), kHopLimit);
  append(packet, fields(kIcmpv6NeighborSolicitation, 0, target));
  append_option(packet, kNonce, &nonce);
  return close(std::move(packet));
}

std::vector<uint8_t> make_advertisement(IpAddress target, IpAddress destination, const MacAddress& own_mac,
                                        bool is_solicited) {
  std::vector<uint8_t> packet = open(target, destination, kHopLimit);
  append(packet,
         fields(kIcmpv6NeighborAdvertisement, kRouter | kOverride | (is_solicited ? kSolicited : 0), target));
  append_option(packet, kTargetMac, own_mac.data());
  return close(std::move(packet));
}

std::vector<uint8_t> make_report(IpAddress source, std::span<const IpAddress> groups, bool joined) {
  std::vector<uint8_t> packet = open(source, kMldRouters, kQueryHopLimit, kProtoHopByHop);
  append(packet, kRouterAlert);
  const size_t l4_offset = packet.size();
  append(packet, ReportHeader{.type = kMldReport,
                              .code = 0,
                              .checksum = 0,
                              .reserved = {},
                              .records = be16::from_host(static_cast<uint16_t>(groups.size()))});
  for (const IpAddress& group : groups)
    append(packet, ReportRecord{.type = joined ? kChangeToExclude : kModeIsExclude,
                                .auxiliary_words = 0,
                                .sources = {},
                                .group = group});
  return close(std::move(packet), l4_offset);
}

}  // namespace espalier::dataplane::nd
