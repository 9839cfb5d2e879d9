#include "dataplane/icmp.hpp"

#include <algorithm>

#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint8_t kTtl = 64;
constexpr uint8_t kHighestKnownIcmpType = 18;
constexpr uint8_t kTosMask = 0x1e;              // what Linux takes over of the TOS (RFC 1349)
constexpr uint8_t kInternetworkControl = 0xc0;  // precedence 6, RFC 1812 section 4.3.2.5
constexpr uint16_t kErrorHeaders = sizeof(Ipv4Header) + sizeof(IcmpHeader);

bool is_host(Ipv4Address a) {
  const bool is_this_network = a.host() >> 24 == 0;
  return !is_this_network && !a.is_loopback() && !a.is_multicast() && !a.is_broadcast();
}

// What ICMP puts in place of ports, see Ipv4Tuple.
be16 type_and_code(const IcmpHeader& icmp) {
  return be16::from_host(static_cast<uint16_t>(icmp.type << 8 | icmp.code));
}

// A header without options of a packet of the gateway, but for the addresses.
void write_ip_header(Ipv4Header& ip, uint8_t tos, uint16_t total_bytes, uint16_t id, Ipv4Address source,
                     Ipv4Address destination) {
  ip = {.version_ihl = 0x45,
        .tos = tos,
        .total_length = be16::from_host(total_bytes),
        .id = be16::from_host(id),
        .fragment = {},
        .ttl = kTtl,
        .protocol = kProtoIcmp,
        .checksum = 0,
        .source = source,
        .destination = destination};
  ip.checksum = nat::checksum({reinterpret_cast<const uint8_t*>(&ip), sizeof ip});
}

// The record of a packet of the gateway that begins with write_ip_header()'s header.
Packet own_record(const Ipv4Header& ip, be16 source_port, const IcmpHeader& icmp) {
  Packet record{};
  record.tuple = {.source = ip.source,
                  .destination = ip.destination,
                  .source_port = source_port,
                  .destination_port = type_and_code(icmp),
                  .protocol = kProtoIcmp};
  record.in = kNoInterface;
  record.flags = kFromGateway;
  record.l4_offset = sizeof(Ipv4Header);
  record.ip_bytes = ip.total_length.host();
  return record;
}

// What of the packet the frame really holds.
std::span<uint8_t> whole_packet(rte_mbuf* mbuf) {
  return bytes(mbuf).first(std::min(mbuf->data_len, ip_header(mbuf).total_length.host()));
}

}  // namespace

bool may_answer_with_icmp_error(rte_mbuf* about) {
  const Ipv4Header& ip = ip_header(about);
  if (!is_host(ip.source) || ip.destination.is_multicast() || ip.destination.is_broadcast()) return false;
  if (ip.fragment_offset_bytes() != 0) return false;
  if (ip.protocol != kProtoIcmp) return true;
  const auto icmp = whole_packet(about).subspan(ip.header_bytes());
  return !icmp.empty() && icmp[0] <= kHighestKnownIcmpType && !is_icmp_error(icmp[0]);
}

rte_mbuf* make_icmp_error(rte_mbuf* about, IcmpAnswer answer, Ipv4Address source, uint16_t id,
                          rte_mempool* pool) {
  const auto quotable = whole_packet(about);
  const auto quote = quotable.first(std::min<size_t>(quotable.size(), kMaxIcmpErrorBytes - kErrorHeaders));
  rte_mbuf* error = rte_pktmbuf_alloc(pool);
  if (error == nullptr) return nullptr;
  const auto total_bytes = static_cast<uint16_t>(kErrorHeaders + quote.size());
  error->data_len = total_bytes;
  error->pkt_len = total_bytes;
  std::copy(quote.begin(), quote.end(), bytes(error).begin() + kErrorHeaders);

  const Ipv4Header& original = ip_header(about);
  Ipv4Header& ip = ip_header(error);
  write_ip_header(ip, (original.tos & kTosMask) | kInternetworkControl, total_bytes, id, source,
                  original.source);
  auto& icmp = *rte_pktmbuf_mtod_offset(error, IcmpHeader*, sizeof(Ipv4Header));
  icmp = {.type = answer.type,
          .code = answer.code,
          .checksum = 0,
          .id = {},
          .sequence_or_mtu = be16::from_host(answer.mtu_bytes)};
  icmp.checksum = nat::checksum(bytes(error).subspan(sizeof(Ipv4Header)));

  packet(error) = own_record(ip, {}, icmp);
  packet(error).flags |= kIcmpError | (packet(about).path == kClear ? 0 : kAboutDecrypted);
  return error;
}

bool turn_echo_into_reply(rte_mbuf* request, uint16_t id) {
  const Ipv4Header asked = ip_header(request);
  const auto whole = whole_packet(request);
  if (asked.protocol != kProtoIcmp || asked.is_fragment() || whole.size() != asked.total_length.host() ||
      whole.size() < asked.header_bytes() + sizeof(IcmpHeader))
    return false;
  const auto message = whole.subspan(asked.header_bytes());
  auto& icmp = *reinterpret_cast<IcmpHeader*>(message.data());
  if (icmp.type != kIcmpEcho || nat::checksum(message) != 0) return false;

  const be16 asked_word = type_and_code(icmp);
  icmp.type = kIcmpEchoReply;
  icmp.checksum = nat::ChecksumDelta().change(asked_word, type_and_code(icmp)).apply(icmp.checksum);

  const auto total_bytes = static_cast<uint16_t>(sizeof(Ipv4Header) + message.size());
  rte_pktmbuf_trim(request, static_cast<uint16_t>(request->data_len - whole.size()));
  rte_pktmbuf_adj(request, asked.header_bytes() - sizeof(Ipv4Header));
  Ipv4Header& ip = ip_header(request);
  write_ip_header(ip, asked.tos, total_bytes, id, asked.destination, asked.source);
  packet(request) = own_record(ip, icmp.id, icmp);
  return true;
}

bool parse_quote(std::span<const uint8_t> icmp_payload, Quote& quote) {
  constexpr size_t kQuotedL4Bytes = 8;
  if (icmp_payload.size() < sizeof(Ipv4Header)) return false;
  const auto& ip = *reinterpret_cast<const Ipv4Header*>(icmp_payload.data());
  if (ip.version() != 4 || ip.header_bytes() < sizeof(Ipv4Header) ||
      icmp_payload.size() < ip.header_bytes() + kQuotedL4Bytes)
    return false;
  quote.tuple = {.source = ip.source,
                 .destination = ip.destination,
                 .source_port = {},
                 .destination_port = {},
                 .protocol = ip.protocol};
  quote.l4_offset = ip.header_bytes();
  quote.is_fragment = ip.fragment_offset_bytes() != 0;
  if (quote.is_fragment) return true;

  const uint8_t* l4 = icmp_payload.data() + quote.l4_offset;
  if (ip.protocol == kProtoTcp || ip.protocol == kProtoUdp) {
    const auto& udp = *reinterpret_cast<const UdpHeader*>(l4);  // TCP's ports stand where UDP's do
    quote.tuple.source_port = udp.source_port;
    quote.tuple.destination_port = udp.destination_port;
  } else if (ip.protocol == kProtoIcmp) {
    const auto& icmp = *reinterpret_cast<const IcmpHeader*>(l4);
    quote.tuple.source_port = icmp.id;
    quote.tuple.destination_port = type_and_code(icmp);
  }
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
