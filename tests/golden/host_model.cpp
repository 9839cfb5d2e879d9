#include "tests/golden/host_model.hpp"

#include <arpa/inet.h>

#include <algorithm>

#include "tests/support/ip_view.hpp"
#include "tests/support/packet_builder.hpp"

namespace espalier::test {
namespace {

constexpr uint8_t kTosOfErrors = 0xc0, kTosKept = 0x1e;  // precedence: internetwork control; RT_TOS
constexpr size_t kQuoteBytes = 548;
constexpr size_t kHeader6Bytes = 40, kQuote6Bytes = 1280 - kHeader6Bytes - 8;  // RFC 4443 section 2.4 (c)

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

std::optional<Bytes> port_unreachable(ByteView packet, uint16_t ip_id) {
  const auto view = view_ip(packet);
  if (!view) return std::nullopt;
  if (view->v6) return port_unreachable6(packet);
  const ByteView quote = packet.first(std::min(packet.size(), kQuoteBytes));
  return icmp(3, 3, 0, address_text(packet.subspan(16, 4)), address_text(packet.subspan(12, 4)), quote)
      .tos(kTosOfErrors | (packet[1] & kTosKept))
      .id(ip_id)
      .bytes();
}

}  // namespace espalier::test
