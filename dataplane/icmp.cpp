#include "dataplane/icmp.hpp"

#include <algorithm>
#include <cassert>

#include "dataplane/ipv6.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint8_t kTtl = 64;
constexpr uint8_t kHighestKnownIcmpType = 18;
constexpr uint8_t kTosMask = 0x1e;               // what Linux takes over of the TOS (RFC 1349)
constexpr uint8_t kInternetworkControl = 0xc0;   // precedence 6, RFC 1812 section 4.3.2.5
constexpr uint8_t kIcmpv6UnknownNextHeader = 1;  // code of a parameter problem, RFC 4443 section 3.4

// What differs between the families.
struct IcmpFamily {
  uint8_t protocol;
  uint8_t echo;
  uint8_t echo_reply;
  uint16_t ip_header_bytes;
  uint16_t max_error_bytes;
};
constexpr IcmpFamily kIcmpv4{kProtoIcmp, kIcmpEcho, kIcmpEchoReply, sizeof(Ipv4Header), kMaxIcmpErrorBytes};
constexpr IcmpFamily kIcmpv6{kProtoIcmpv6, kIcmpv6Echo, kIcmpv6EchoReply, sizeof(Ipv6Header),
                             kMaxIcmpv6ErrorBytes};
const IcmpFamily& icmp_family(rte_mbuf* mbuf) {
  return is_ipv4(mbuf) ? kIcmpv4 : kIcmpv6;
}

bool is_host(Ipv4Address a) {
  const bool is_this_network = a.host() >> 24 == 0;
  return !is_this_network && !a.is_loopback() && !a.is_multicast() && !a.is_broadcast();
}

bool is_host(IpAddress a) {
  if (a.is_v4()) return is_host(a.v4());
  return !a.is_unspecified() && !a.is_loopback() && !a.is_multicast();
}

// What ICMP puts in place of ports, see Tuple.
be16 type_and_code(const IcmpHeader& icmp) {
  return be16::from_host(static_cast<uint16_t>(icmp.type << 8 | icmp.code));
}

// What the frame really holds of the packet.
std::span<uint8_t> whole_packet(rte_mbuf* mbuf) {
  const size_t total_bytes = is_ipv4(mbuf) ? ipv4_header(mbuf).total_length.host()
                                           : sizeof(Ipv6Header) + ipv6_header(mbuf).payload_length.host();
  return bytes(mbuf).first(std::min<size_t>(mbuf->data_len, total_bytes));
}

// The addresses and the TOS or traffic class of a packet that the gateway makes.
struct OwnHeader {
  IpAddress source;
  IpAddress destination;
  uint8_t tos;
  uint16_t ipv4_id;
};

void write_ipv4_header(rte_mbuf* mbuf, const OwnHeader& own) {
  Ipv4Header& ip = ipv4_header(mbuf);
  ip = {.version_ihl = 0x45,
        .tos = own.tos,
        .total_length = be16::from_host(mbuf->data_len),
        .id = be16::from_host(own.ipv4_id),
        .fragment = {},
        .ttl = kTtl,
        .protocol = kProtoIcmp,
        .checksum = 0,
        .source = own.source.v4(),
        .destination = own.destination.v4()};
  ip.checksum = nat::checksum({reinterpret_cast<const uint8_t*>(&ip), sizeof ip});
}

void write_ipv6_header(rte_mbuf* mbuf, const OwnHeader& own) {
  ipv6_header(mbuf) = {
      .version_class_flow = be32::from_host(6u << 28 | uint32_t{own.tos} << 20),
      .payload_length = be16::from_host(static_cast<uint16_t>(mbuf->data_len - sizeof(Ipv6Header))),
      .next_header = kProtoIcmpv6,
      .hop_limit = kTtl,
      .source = own.source,
      .destination = own.destination};
}

// Gives a packet of the gateway its IP header, without options, and its record. Its length is right and its
// ICMP message complete; `identifier` is what the tuple has of that.
void finish_own_packet(rte_mbuf* mbuf, const IcmpFamily& family, const OwnHeader& own, be16 identifier) {
  own.source.is_v4() ? write_ipv4_header(mbuf, own) : write_ipv6_header(mbuf, own);
  const auto& icmp = *rte_pktmbuf_mtod_offset(mbuf, const IcmpHeader*, family.ip_header_bytes);
  Packet record{};
  record.tuple = {.source = own.source,
                  .destination = own.destination,
                  .source_port = identifier,
                  .destination_port = type_and_code(icmp),
                  .protocol = family.protocol};
  record.in = kNoInterface;
  record.flags = kFromGateway;
  record.l4_offset = family.ip_header_bytes;
  record.ip_bytes = mbuf->data_len;
  packet(mbuf) = record;
}

bool may_answer_ipv4(rte_mbuf* about) {
  const Ipv4Header& ip = ipv4_header(about);
  if (!is_host(ip.source) || ip.destination.is_multicast() || ip.destination.is_broadcast()) return false;
  if (ip.fragment_offset_bytes() != 0) return false;
  if (ip.protocol != kProtoIcmp) return true;
  const auto icmp = whole_packet(about).subspan(ip.header_bytes());
  return !icmp.empty() && icmp[0] <= kHighestKnownIcmpType && !is_icmp_error(icmp[0]);
}

bool may_answer_ipv6(rte_mbuf* about) {
  const Ipv6Header& ip = ipv6_header(about);
  if (!is_host(ip.source) || ip.destination.is_multicast()) return false;
  const auto whole = whole_packet(about);
  const Ipv6Headers headers = find_ipv6_headers(whole);
  if (headers.bad) return false;
  if (headers.protocol != kProtoIcmpv6 || headers.is_later_fragment) return true;
  const auto icmp = whole.subspan(headers.l4_offset);
  return !icmp.empty() && !is_icmpv6_error(icmp[0]) && icmp[0] != kIcmpv6Redirect;
}

// The first word of an ICMP error, checksum apart, and its last, in host order.
struct ErrorWords {
  uint8_t type;
  uint8_t code;
  uint32_t rest = 0;
};

ErrorWords ipv4_error(IcmpAnswer answer) {
  switch (answer.reason) {
    case IcmpReason::kNetUnreachable:
      return {kIcmpUnreachable, kIcmpNetUnreachable};
    case IcmpReason::kHostUnreachable:
      return {kIcmpUnreachable, kIcmpHostUnreachable};
    case IcmpReason::kProhibited:
      return {kIcmpUnreachable, kIcmpAdminProhibited};
    case IcmpReason::kPortUnreachable:
      return {kIcmpUnreachable, kIcmpPortUnreachable};
    case IcmpReason::kProtocolUnreachable:
      return {kIcmpUnreachable, kIcmpProtocolUnreachable};
    case IcmpReason::kTimeExceeded:
      return {kIcmpTimeExceeded, 0};
    case IcmpReason::kTooBig:
      return {kIcmpUnreachable, kIcmpFragmentationNeeded, std::min<uint32_t>(answer.mtu_bytes, 0xffff)};
    case IcmpReason::kNone:
      break;
  }
  assert(!"an answer without a reason");
  return {};
}

ErrorWords ipv6_error(IcmpAnswer answer, rte_mbuf* about) {
  switch (answer.reason) {
    case IcmpReason::kNetUnreachable:
      return {kIcmpv6Unreachable, kIcmpv6NoRoute};
    case IcmpReason::kHostUnreachable:
      return {kIcmpv6Unreachable, kIcmpv6AddressUnreachable};
    case IcmpReason::kProhibited:
      return {kIcmpv6Unreachable, kIcmpv6AdminProhibited};
    case IcmpReason::kPortUnreachable:
      return {kIcmpv6Unreachable, kIcmpv6PortUnreachable};
    case IcmpReason::kProtocolUnreachable:  // points to the byte that names it
      return {kIcmpv6ParameterProblem, kIcmpv6UnknownNextHeader,
              find_ipv6_headers(whole_packet(about)).protocol_field};
    case IcmpReason::kTimeExceeded:
      return {kIcmpv6TimeExceeded, 0};
    case IcmpReason::kTooBig:
      return {kIcmpv6PacketTooBig, 0, answer.mtu_bytes};
    case IcmpReason::kNone:
      break;
  }
  assert(!"an answer without a reason");
  return {};
}

IcmpHeader error_header(const ErrorWords& words) {
  return {.type = words.type,
          .code = words.code,
          .checksum = 0,
          .id = be16::from_host(static_cast<uint16_t>(words.rest >> 16)),
          .sequence_or_mtu = be16::from_host(static_cast<uint16_t>(words.rest))};
}

// Where an error goes and what it looks like outside. Linux gives those of ICMPv6 no traffic class.
OwnHeader error_ip_header(rte_mbuf* about, IpAddress source, uint16_t ipv4_id) {
  if (!is_ipv4(about)) return {source, ipv6_header(about).source, 0, 0};
  const Ipv4Header& original = ipv4_header(about);
  const auto tos = static_cast<uint8_t>((original.tos & kTosMask) | kInternetworkControl);
  return {source, original.source, tos, ipv4_id};
}

// The message of a whole packet that may be an ICMP one of its family, and what is around it.
struct Request {
  std::span<uint8_t> message;  // empty: it is not
  OwnHeader reply;             // the IP header that answers it
};

Request read_ipv4_request(rte_mbuf* mbuf, uint16_t ipv4_id) {
  const Ipv4Header& ip = ipv4_header(mbuf);
  const auto whole = whole_packet(mbuf);
  if (ip.protocol != kProtoIcmp || ip.is_fragment() || whole.size() != ip.total_length.host() ||
      whole.size() < ip.header_bytes())
    return {};
  return {whole.subspan(ip.header_bytes()), {ip.destination, ip.source, ip.tos, ipv4_id}};
}

Request read_ipv6_request(rte_mbuf* mbuf) {
  const Ipv6Header& ip = ipv6_header(mbuf);
  const auto whole = whole_packet(mbuf);
  const Ipv6Headers headers = find_ipv6_headers(whole);
  if (headers.bad || headers.protocol != kProtoIcmpv6 || headers.is_fragment() || headers.has_segments_left ||
      whole.size() != sizeof ip + ip.payload_length.host())
    return {};
  return {whole.subspan(headers.l4_offset), {ip.destination, ip.source, ip.traffic_class(), 0}};
}

bool is_echo_request(const Request& request, const IcmpFamily& family) {
  const auto& own = request.reply;
  return request.message.size() >= sizeof(IcmpHeader) && request.message[0] == family.echo &&
         !own.source.is_multicast() &&
         nat::l4_checksum_is_right(own.source, own.destination, family.protocol, request.message);
}

// The headers of a quote. False when it ends within them.
bool parse_ipv4_quote(std::span<const uint8_t> packet, Quote& quote) {
  if (packet.size() < sizeof(Ipv4Header)) return false;
  const auto& ip = *reinterpret_cast<const Ipv4Header*>(packet.data());
  quote.tuple = {.source = ip.source,
                 .destination = ip.destination,
                 .source_port = {},
                 .destination_port = {},
                 .protocol = ip.protocol};
  quote.l4_offset = ip.header_bytes();
  quote.is_fragment = ip.fragment_offset_bytes() != 0;
  return quote.l4_offset >= sizeof ip;
}

bool parse_ipv6_quote(std::span<const uint8_t> packet, Quote& quote) {
  if (packet.size() < sizeof(Ipv6Header)) return false;
  const auto& ip = *reinterpret_cast<const Ipv6Header*>(packet.data());
  const Ipv6Headers headers = find_ipv6_headers(packet);
  quote.tuple = {.source = ip.source,
                 .destination = ip.destination,
                 .source_port = {},
                 .destination_port = {},
                 .protocol = headers.protocol};
  quote.l4_offset = headers.l4_offset;
  quote.is_fragment = headers.is_later_fragment;
  return !headers.bad && !ip.source.is_v4() && !ip.destination.is_v4();
}

// What stands for ports at `l4`, where 8 bytes are.
void read_ports(const uint8_t* l4, Tuple& tuple) {
  if (tuple.protocol == kProtoTcp || tuple.protocol == kProtoUdp) {
    const auto& udp = *reinterpret_cast<const UdpHeader*>(l4);  // TCP's ports stand where UDP's do
    tuple.source_port = udp.source_port;
    tuple.destination_port = udp.destination_port;
  } else if (tuple.protocol == (tuple.is_v4() ? kProtoIcmp : kProtoIcmpv6)) {
    const auto& icmp = *reinterpret_cast<const IcmpHeader*>(l4);
    tuple.source_port = icmp.id;
    tuple.destination_port = type_and_code(icmp);
  }
}

}  // namespace

bool may_answer_with_icmp_error(rte_mbuf* about) {
  return is_ipv4(about) ? may_answer_ipv4(about) : may_answer_ipv6(about);
}

rte_mbuf* make_icmp_error(rte_mbuf* about, IcmpAnswer answer, IpAddress source, uint16_t ipv4_id,
                          rte_mempool* pool) {
  const IcmpFamily& family = icmp_family(about);
  const size_t header_bytes = family.ip_header_bytes + sizeof(IcmpHeader);
  const auto quotable = whole_packet(about);
  const auto quote = quotable.first(std::min(quotable.size(), family.max_error_bytes - header_bytes));
  rte_mbuf* error = rte_pktmbuf_alloc(pool);
  if (error == nullptr) return nullptr;
  error->data_len = static_cast<uint16_t>(header_bytes + quote.size());
  error->pkt_len = error->data_len;
  std::ranges::copy(quote, bytes(error).begin() + static_cast<ptrdiff_t>(header_bytes));

  const OwnHeader own = error_ip_header(about, source, ipv4_id);
  auto& icmp = *rte_pktmbuf_mtod_offset(error, IcmpHeader*, family.ip_header_bytes);
  icmp = error_header(is_ipv4(about) ? ipv4_error(answer) : ipv6_error(answer, about));
  icmp.checksum = nat::l4_checksum(own.source, own.destination, family.protocol,
                                   bytes(error).subspan(family.ip_header_bytes));
  finish_own_packet(error, family, own, {});
  const bool came_protected = (packet(about).flags & kCameProtected) || packet(about).path != kClear;
  packet(error).flags |= kIcmpError | (came_protected ? kAboutProtected : 0);
  packet(error).story = answer_story(packet(about).story);
  return error;
}

bool turn_echo_into_reply(rte_mbuf* mbuf, uint16_t ipv4_id) {
  const IcmpFamily& family = icmp_family(mbuf);
  const Request request = is_ipv4(mbuf) ? read_ipv4_request(mbuf, ipv4_id) : read_ipv6_request(mbuf);
  if (!is_echo_request(request, family)) return false;

  auto& icmp = *reinterpret_cast<IcmpHeader*>(request.message.data());
  const be16 asked = type_and_code(icmp);
  icmp.type = family.echo_reply;  // swapped addresses leave the sum of a pseudo header as it is
  icmp.checksum = nat::ChecksumDelta().change(asked, type_and_code(icmp)).apply(icmp.checksum);

  const be16 identifier = icmp.id;
  const uint8_t* const header = request.message.data() - family.ip_header_bytes;
  const auto packet_bytes = static_cast<uint16_t>(family.ip_header_bytes + request.message.size());
  rte_pktmbuf_adj(mbuf, static_cast<uint16_t>(header - bytes(mbuf).data()));
  rte_pktmbuf_trim(mbuf, static_cast<uint16_t>(mbuf->data_len - packet_bytes));
  finish_own_packet(mbuf, family, request.reply, identifier);
  return true;
}

bool parse_quote(std::span<const uint8_t> icmp_payload, Quote& quote) {
  constexpr size_t kQuotedL4Bytes = 8;
  if (icmp_payload.empty()) return false;
  const uint8_t version = icmp_payload[0] >> 4;
  if (version != 4 && version != 6) return false;
  if (!(version == 4 ? parse_ipv4_quote(icmp_payload, quote) : parse_ipv6_quote(icmp_payload, quote)))
    return false;
  if (icmp_payload.size() < quote.l4_offset + kQuotedL4Bytes) return false;
  if (!quote.is_fragment) read_ports(icmp_payload.data() + quote.l4_offset, quote.tuple);
  return true;
}

bool IcmpRateLimit::take(uint32_t per_second, uint64_t now_ms) {
  if (per_second == 0) return true;
  constexpr uint64_t kToken = 1000, kBucketMs = 50;
  const uint64_t full = std::max<uint64_t>(kToken, per_second * kBucketMs);
  // A pause long enough to fill it needs no exact count, which could overflow.
  const uint64_t passed_ms = std::min<uint64_t>(now_ms - last_ms_, full / per_second + 1);
  thousandths_ = std::min(full, std::min(thousandths_, full) + passed_ms * per_second);
  last_ms_ = now_ms;
  if (thousandths_ < kToken) return false;
  thousandths_ -= kToken;
  return true;
}

}  // namespace espalier::dataplane
