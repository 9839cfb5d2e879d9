#include "tests/golden/host_model.hpp"

#include <arpa/inet.h>

#include <algorithm>

#include "tests/support/ip_view.hpp"
#include "tests/support/packet_builder.hpp"

namespace espalier::test {
namespace {

constexpr uint8_t kTosOfErrors = 0xc0, kTosKept = 0x1e;  // precedence: internetwork control; RT_TOS
constexpr size_t kQuoteBytes = 548, kTcpHeaderBytes = 20;
constexpr size_t kHeader6Bytes = 40, kQuote6Bytes = 1280 - kHeader6Bytes - 8;  // RFC 4443 section 2.4 (c)
constexpr uint8_t kTcpFin = 1, kTcpSyn = 2, kTcpRst = 4, kTcpAck = 16;

std::string address_text(ByteView address) {
  char text[INET6_ADDRSTRLEN];
  if (::inet_ntop(address.size() == 16 ? AF_INET6 : AF_INET, address.data(), text, sizeof text) == nullptr)
    throw std::logic_error("an address of neither family");
  return text;
}

// RFC 4443 section 3.1, code 4.
Bytes port_unreachable6(ByteView packet) {
  const ByteView quote = packet.first(std::min(packet.size(), kQuote6Bytes));
  Bytes answer;
  append32(answer, 0x60000000);
  append16(answer, static_cast<uint16_t>(8 + quote.size()));
  append16(answer, kProtoIcmpv6 << 8 | 64);
  append(answer, packet.subspan(24, 16));
  append(answer, packet.subspan(8, 16));
  append32(answer, 0x01040000);
  append32(answer, 0);
  append(answer, quote);
  const ByteView view(answer);
  const uint16_t pseudo = pseudo_header_sum(view.subspan(8, 32), kProtoIcmpv6, 8 + quote.size());
  put16(answer, kHeader6Bytes + 2, internet_checksum(view.subspan(kHeader6Bytes), pseudo));
  return answer;
}

Bytes port_unreachable(ByteView packet, uint16_t ip_id) {
  const ByteView quote = packet.first(std::min(packet.size(), kQuoteBytes));
  return icmp(3, 3, 0, address_text(packet.subspan(16, 4)), address_text(packet.subspan(12, 4)), quote)
      .tos(kTosOfErrors | (packet[1] & kTosKept))
      .id(ip_id)
      .bytes();
}

// RFC 9293 section 3.5.2: what makes the reset acceptable to whom it is for.
std::optional<Bytes> reset(ByteView packet, const IpView& view) {
  const ByteView segment = packet.subspan(view.header_bytes);
  if (segment.size() < kTcpHeaderBytes || (segment[13] & kTcpRst)) return std::nullopt;
  const bool acknowledges = segment[13] & kTcpAck;
  const size_t taken = segment.size() - (segment[12] >> 4) * size_t{4} + (segment[13] & kTcpSyn ? 1 : 0) +
                       (segment[13] & kTcpFin ? 1 : 0);
  Bytes answer;
  append16(answer, get16(segment, 2));
  append16(answer, get16(segment, 0));
  append32(answer, acknowledges ? get32(segment, 8) : 0);
  append32(answer, acknowledges ? 0 : get32(segment, 4) + static_cast<uint32_t>(taken));
  append8(answer, kTcpHeaderBytes / 4 << 4);
  append8(answer, acknowledges ? kTcpRst : kTcpRst | kTcpAck);
  answer.resize(kTcpHeaderBytes);  // window, checksum and urgent pointer are 0
  put16(answer, 16,
        internet_checksum(answer, pseudo_header_sum(view.addresses(packet), kProtoTcp, answer.size())));
  return ip(kProtoTcp, address_text(packet.subspan(16, 4)), address_text(packet.subspan(12, 4)), answer)
      .tos(packet[1])
      .id(0)
      .df()
      .bytes();
}

}  // namespace

std::optional<Datagram> datagram_of(ByteView packet) {
  const auto view = view_ip(packet);
  if (!view || view->protocol != kProtoUdp || view->is_fragment()) return std::nullopt;
  const ByteView body = packet.subspan(view->header_bytes);
  if (body.size() < 8 || get16(body, 4) < 8 || get16(body, 4) > body.size()) return std::nullopt;
  const ByteView source = packet.subspan(view->addresses_at, view->address_bytes);
  return Datagram{get16(body, 2), address_text(source), get16(body, 0),
                  copy(body.subspan(8, get16(body, 4) - size_t{8}))};
}

std::optional<Bytes> refusal_of(ByteView packet, uint16_t ip_id) {
  const auto view = view_ip(packet);
  if (!view || view->is_fragment()) return std::nullopt;
  if (view->protocol == kProtoUdp)
    return view->v6 ? port_unreachable6(packet) : port_unreachable(packet, ip_id);
  if (view->protocol == kProtoTcp && !view->v6) return reset(packet, *view);
  return std::nullopt;
}

}  // namespace espalier::test
