#include "tests/golden/host_model.hpp"

#include <arpa/inet.h>

#include <algorithm>

#include "tests/support/ip_view.hpp"
#include "tests/support/packet_builder.hpp"

namespace espalier::test {
namespace {

constexpr uint8_t kTosOfErrors = 0xc0;  // precedence: internetwork control
constexpr size_t kQuoteBytes = 548;

std::string address_text(ByteView address) {
  char text[INET6_ADDRSTRLEN];
  if (::inet_ntop(address.size() == 16 ? AF_INET6 : AF_INET, address.data(), text, sizeof text) == nullptr)
    throw std::logic_error("an address of neither family");
  return text;
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

std::optional<Bytes> port_unreachable(ByteView packet) {
  const auto view = view_ip(packet);
  if (!view || view->v6) return std::nullopt;
  const ByteView quote = packet.first(std::min(packet.size(), kQuoteBytes));
  return icmp(3, 3, 0, address_text(packet.subspan(16, 4)), address_text(packet.subspan(12, 4)), quote)
      .tos(kTosOfErrors)
      .bytes();
}

}  // namespace espalier::test
