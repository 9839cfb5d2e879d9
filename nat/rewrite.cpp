#include "nat/rewrite.hpp"

#include <algorithm>

namespace espalier::nat {
namespace {

constexpr size_t kMinHeader = 20;  // IPv4 without options, and TCP: as far as a quote is ever changed
constexpr size_t kIcmpHeader = 8;

be16 read16(std::span<const uint8_t> packet, size_t at) {
  return be16::from_raw(detail::load16(&packet[at]));
}

Ipv4Address read_address(std::span<const uint8_t> packet, size_t at) {
  Ipv4Address address;
  std::memcpy(&address, &packet[at], sizeof address);
  return address;
}

// The IPv4 header at `at`: its length if it is whole and belongs to no later fragment, else 0.
size_t header_bytes(std::span<const uint8_t> packet, size_t at) {
  if (packet.size() < at + kMinHeader || packet[at] >> 4 != 4) return 0;
  const size_t bytes = size_t{packet[at] & 0xfu} * 4;
  const bool first_fragment = (read16(packet, at + 6).host() & 0x1fff) == 0;
  return bytes >= kMinHeader && packet.size() >= at + bytes && first_fragment ? bytes : 0;
}

// Where things lie in an ICMP error.
struct Quote {
  size_t icmp = 0;      // offset of the ICMP header
  size_t ip = 0;        // of the quoted IPv4 header
  size_t l4 = 0;        // of what follows that
  size_t l4_bytes = 0;  // quoted of it
  uint8_t protocol = 0;
};

std::optional<Quote> find_quote(std::span<const uint8_t> packet) {
  Quote quote;
  quote.icmp = header_bytes(packet, 0);
  if (quote.icmp == 0 || packet[9] != kProtoIcmp || packet.size() < quote.icmp + kIcmpHeader) return {};
  if (!is_icmp_error(packet[quote.icmp])) return {};
  quote.ip = quote.icmp + kIcmpHeader;
  const size_t quoted_header = header_bytes(packet, quote.ip);
  if (quoted_header == 0) return {};
  const size_t quoted_total = read16(packet, quote.ip + 2).host();
  if (quoted_total < quoted_header) return {};
  quote.l4 = quote.ip + quoted_header;
  // Behind a short quoted packet there may be padding and extensions (RFC 4884), which are no part of it.
  quote.l4_bytes = std::min(packet.size() - quote.l4, quoted_total - quoted_header);
  quote.protocol = packet[quote.ip + 9];
  return quote;
}

// The quoted packet's tuple; ports that are not there stay 0.
Tuple read_tuple(std::span<const uint8_t> packet, const Quote& quote) {
  Tuple tuple;
  tuple.source = read_address(packet, quote.ip + 12);
  tuple.destination = read_address(packet, quote.ip + 16);
  tuple.protocol = quote.protocol;
  if (has_ports(quote.protocol) && quote.l4_bytes >= 4) {
    tuple.source_port = read16(packet, quote.l4);
    tuple.destination_port = read16(packet, quote.l4 + 2);
  }
  if (quote.protocol == kProtoIcmp && quote.l4_bytes >= detail::kIcmpId + 2) {
    tuple.source_port = read16(packet, quote.l4 + detail::kIcmpId);
    tuple.destination_port = read16(packet, quote.l4);
  }
  return tuple;
}

// What `quoted` becomes in one step; `sender` is the tuple under which its packet came to us. An ICMP
// identifier belongs to both ends.
Tuple undo_step(Tuple quoted, const Tuple& sender, NatStep step) {
  const bool icmp = quoted.protocol == kProtoIcmp;
  if (icmp || step == NatStep::kDestination) quoted.source_port = sender.source_port;
  if (!icmp && step == NatStep::kSource) quoted.destination_port = sender.destination_port;
  if (step == NatStep::kDestination)
    quoted.source = sender.source;
  else
    quoted.destination = sender.destination;
  return quoted;
}

// Rewrites the quoted packet; the ICMP checksum follows what changed in it.
void rewrite_quote(std::span<uint8_t> packet, const Quote& quote, const Rewrite& rewrite) {
  const size_t changed = quote.l4 - quote.ip + std::min(quote.l4_bytes, kMinHeader);
  const auto region = packet.subspan(quote.ip, changed);
  const uint16_t before = fold(sum_of(region));
  apply(rewrite, &packet[quote.ip], packet.data() + quote.l4, static_cast<uint32_t>(quote.l4_bytes));
  uint8_t* const checksum_at = &packet[quote.icmp + detail::kIcmpChecksum];
  const auto delta = ChecksumDelta{}.change(before, fold(sum_of(region)));
  detail::store16(checksum_at, delta.apply(detail::load16(checksum_at)));
}

// The outer header: one address, as packets of the error's direction have it after the step.
void rewrite_outer(std::span<uint8_t> packet, const FlowPath& path, NatStep step) {
  Tuple from;
  from.source = read_address(packet, 12);
  from.destination = read_address(packet, 16);
  Tuple to = from;
  (step == NatStep::kDestination ? to.destination : to.source) =
      step == NatStep::kDestination ? path.routed.destination : path.sent.source;
  apply(make_rewrite(from, to), packet.data(), nullptr, 0);
}

}  // namespace

std::optional<Tuple> icmp_error_tuple(std::span<const uint8_t> packet) {
  const auto quote = find_quote(packet);
  if (!quote) return {};
  if (has_ports(quote->protocol) && quote->l4_bytes < 4) return {};
  if (quote->protocol == kProtoIcmp && quote->l4_bytes < kIcmpHeader) return {};
  return inverse(read_tuple(packet, *quote));
}

bool translate_icmp_error(std::span<uint8_t> packet, const Tuple& original, const Tuple& reply,
                          FlowDirection direction, NatStep step) {
  const auto quote = find_quote(packet);
  if (!quote || quote->protocol != original.protocol) return false;
  const FlowPath path = path_of(original, reply, direction);
  // A redirect names a route of the sender's own network; translated it would be a lie (as in Linux).
  if (packet[quote->icmp] == kIcmpRedirect && path.sent != path.received) return false;
  const bool nothing_to_do =
      step == NatStep::kDestination ? path.routed == path.received : path.sent == path.routed;
  if (nothing_to_do) return true;
  const Tuple& sender = direction == FlowDirection::kOriginal ? reply : original;
  const Tuple quoted = read_tuple(packet, *quote);
  const Tuple undone = undo_step(quoted, sender, step);
  rewrite_quote(packet, *quote, make_rewrite(quoted, undone));
  rewrite_outer(packet, path, step);
  return true;
}

}  // namespace espalier::nat
