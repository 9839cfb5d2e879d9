#include "tests/support/ip_view.hpp"

#include <algorithm>

namespace espalier::test {
namespace {

constexpr size_t kTagBytes = 4;
constexpr uint16_t kIpv4EtherType = 0x0800, kIpv6EtherType = 0x86dd, kVlanEtherType = 0x8100;
constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestinationOptions = 60, kIcmpv6 = 58;

std::optional<IpView> view_ipv4(ByteView packet) {
  const size_t header_bytes = (packet[0] & 15) * size_t{4};
  if (packet.size() < kIpv4HeaderBytes || header_bytes < kIpv4HeaderBytes || packet.size() < header_bytes)
    return std::nullopt;
  const uint16_t word = get16(packet, 6);
  IpView view;
  view.header_bytes = header_bytes;
  view.declared_bytes = get16(packet, 2);
  view.protocol = packet[9];
  view.addresses_at = 12;
  view.address_bytes = 4;
  view.more = (word & 0x2000) != 0;
  view.fragment_offset = (word & 0x1fff) * size_t{8};
  view.id = get16(packet, 4);
  return view;
}

void note_fragment_header(IpView& view, ByteView packet, size_t named_at) {
  const size_t at = view.header_bytes;
  view.fragment_header = at;
  view.next_header_at = named_at;
  view.more = (get16(packet, at + 2) & 1) != 0;
  view.fragment_offset = get16(packet, at + 2) & 0xfff8u;
  view.id = get32(packet, at + 4);
}

// Walks over the extension headers (RFC 8200 section 4).
std::optional<IpView> view_ipv6(ByteView packet) {
  if (packet.size() < kIpv6HeaderBytes) return std::nullopt;
  IpView view;
  view.v6 = true;
  view.header_bytes = kIpv6HeaderBytes;
  view.declared_bytes = kIpv6HeaderBytes + get16(packet, 4);
  view.addresses_at = 8;
  view.address_bytes = 16;
  size_t named_at = 6;
  for (;;) {
    view.protocol = packet[named_at];
    const bool sized =
        view.protocol == kHopByHop || view.protocol == kRouting || view.protocol == kDestinationOptions;
    if (!sized && view.protocol != kFragment) return view;
    const size_t at = view.header_bytes;
    if (packet.size() < at + kFragmentHeaderBytes) return std::nullopt;
    if (view.protocol == kFragment) note_fragment_header(view, packet, named_at);
    named_at = at;
    view.header_bytes += sized ? (packet[at + 1] + size_t{1}) * 8 : kFragmentHeaderBytes;
    if (packet.size() < view.header_bytes) return std::nullopt;
    if (view.fragment_offset != 0) {  // what follows is the middle of something
      view.protocol = packet[named_at];
      return view;
    }
  }
}

}  // namespace

std::optional<IpView> view_ip(ByteView packet) {
  if (packet.empty()) return std::nullopt;
  if (packet[0] >> 4 == 4) return view_ipv4(packet);
  if (packet[0] >> 4 == 6) return view_ipv6(packet);
  return std::nullopt;
}

Bytes port_scope(ByteView addresses, uint16_t other_port) {
  Bytes ends[] = {copy(addresses.first(addresses.size() / 2)), copy(addresses.subspan(addresses.size() / 2))};
  if (ends[1] < ends[0]) std::swap(ends[0], ends[1]);
  Bytes scope = ends[0];
  append(scope, ends[1]);
  append16(scope, other_port);
  return scope;
}

size_t network_offset(ByteView frame) {
  size_t at = kEthernetBytes;
  while (frame.size() >= at + kTagBytes && get16(frame, at - 2) == kVlanEtherType) at += kTagBytes;
  return at;
}

ByteView ip_packet_of(ByteView frame) {
  if (frame.size() <= kEthernetBytes) return {};
  const size_t at = network_offset(frame);
  if (frame.size() <= at) return {};
  const uint16_t type = get16(frame, at - 2);
  const ByteView body = frame.subspan(at);
  const bool right = (type == kIpv4EtherType && body[0] >> 4 == 4 && body.size() >= kIpv4HeaderBytes) ||
                     (type == kIpv6EtherType && body[0] >> 4 == 6 && body.size() >= kIpv6HeaderBytes);
  if (!right) return {};
  const size_t declared = type == kIpv4EtherType ? get16(body, 2) : kIpv6HeaderBytes + size_t{get16(body, 4)};
  return body.first(std::min(body.size(), declared));
}

uint16_t pseudo_header_sum(ByteView addresses, uint8_t protocol, size_t l4_bytes) {
  Bytes header = copy(addresses);
  append16(header, protocol);
  append32(header, static_cast<uint32_t>(l4_bytes));
  return ones_sum(header);
}

bool has_pseudo_header(uint8_t protocol) {
  return protocol != kProtoIcmp;
}

bool is_icmp_error(uint8_t protocol, uint8_t type) {
  if (protocol == kIcmpv6) return type >= 1 && type <= 4;
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

bool is_echo(uint8_t protocol, uint8_t type) {
  return protocol == kIcmpv6 ? type == 128 || type == 129 : type == 0 || type == 8;
}

}  // namespace espalier::test
