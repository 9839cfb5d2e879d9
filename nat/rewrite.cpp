#include "nat/rewrite.hpp"

#include <algorithm>

#include "nat/ip_header.hpp"

namespace espalier::nat {
namespace {

constexpr size_t kIcmpHeader = 8;
constexpr size_t kMostChanged =
    20;  // of what follows the IP header: TCP's is the longest that is ever changed

be16 read16(std::span<const uint8_t> packet, size_t at) {
  return be16::from_raw(detail::load16(&packet[at]));
}

// Where things lie in an ICMP error; offsets from the beginning of the packet.
struct Quote {
  IpHeader outer;
  IpHeader inner;       // of the quoted packet
  size_t ip = 0;        // where that begins
  size_t l4 = 0;        // where what follows its headers begins
  size_t l4_bytes = 0;  // quoted of that
};

std::optional<Quote> find_quote(std::span<const uint8_t> packet) {
  const auto outer = read_ip_header(packet);
  if (!outer || !is_icmp(outer->family, outer->protocol)) return {};
  const size_t icmp = outer->l4_offset;
  if (packet.size() < icmp + kIcmpHeader || !is_icmp_error(outer->family, packet[icmp])) return {};
  const auto inner = read_ip_header(packet.subspan(icmp + kIcmpHeader));
  if (!inner || inner->family != outer->family) return {};
  Quote quote{.outer = *outer, .inner = *inner};
  quote.ip = icmp + kIcmpHeader;
  quote.l4 = quote.ip + inner->l4_offset;
  // Behind a short quoted packet there may be padding and extensions (RFC 4884), which are no part of it.
  quote.l4_bytes = std::min<size_t>(packet.size() - quote.l4, inner->total_bytes - inner->l4_offset);
  return quote;
}

// The quoted packet's tuple; ports that are not there stay 0.
Tuple read_tuple(std::span<const uint8_t> packet, const Quote& quote) {
  Tuple tuple;
  tuple.source = quote.inner.source;
  tuple.destination = quote.inner.destination;
  tuple.protocol = quote.inner.protocol;
  if (has_ports(tuple.protocol) && quote.l4_bytes >= 4) {
    tuple.source_port = read16(packet, quote.l4);
    tuple.destination_port = read16(packet, quote.l4 + 2);
  }
  if (has_identifier(tuple) && quote.l4_bytes >= detail::kIcmpId + 2) {
    tuple.source_port = read16(packet, quote.l4 + detail::kIcmpId);
    tuple.destination_port = read16(packet, quote.l4);
  }
  return tuple;
}

// What `quoted` becomes in one step; `sender` is the tuple under which its packet came to us. An ICMP
// identifier belongs to both ends.
Tuple undo_step(Tuple quoted, const Tuple& sender, NatStep step) {
  const bool identifier = has_identifier(quoted);
  if (identifier || step == NatStep::kDestination) quoted.source_port = sender.source_port;
  if (!identifier && step == NatStep::kSource) quoted.destination_port = sender.destination_port;
  if (step == NatStep::kDestination)
    quoted.source = sender.source;
  else
    quoted.destination = sender.destination;
  return quoted;
}

void change_icmp_checksum(std::span<uint8_t> packet, const Quote& quote, ChecksumDelta delta) {
  uint8_t* const at = &packet[quote.outer.l4_offset + detail::kIcmpChecksum];
  detail::store16(at, delta.apply(detail::load16(at)));
}

// Rewrites the quoted packet; the ICMP checksum follows what changed in it.
void rewrite_quote(std::span<uint8_t> packet, const Quote& quote, const Rewrite& rewrite) {
  const size_t changed = quote.l4 - quote.ip + std::min(quote.l4_bytes, kMostChanged);
  const auto region = packet.subspan(quote.ip, changed);
  const uint16_t before = fold(sum_of(region));
  apply(rewrite, &packet[quote.ip], packet.data() + quote.l4, static_cast<uint32_t>(quote.l4_bytes));
  change_icmp_checksum(packet, quote, ChecksumDelta{}.change(before, fold(sum_of(region))));
}

// The outer header: one address, as packets of the error's direction have it after the step. It is a part of
// what ICMPv6 sums up (the pseudo header), not of what ICMP does.
void rewrite_outer(std::span<uint8_t> packet, const Quote& quote, const FlowPath& path, NatStep step) {
  Tuple from;
  from.source = quote.outer.source;
  from.destination = quote.outer.destination;
  from.protocol = quote.outer.protocol;
  Tuple to = from;
  (step == NatStep::kDestination ? to.destination : to.source) =
      step == NatStep::kDestination ? path.routed.destination : path.sent.source;
  const Rewrite rewrite = make_rewrite(from, to);
  apply(rewrite, packet.data(), nullptr, 0);
  if (rewrite.family == Family::kIpv6) change_icmp_checksum(packet, quote, rewrite.l4_delta);
}

}  // namespace

std::optional<Tuple> icmp_error_tuple(std::span<const uint8_t> packet) {
  const auto quote = find_quote(packet);
  if (!quote) return {};
  const Tuple quoted = read_tuple(packet, *quote);
  if (has_ports(quoted.protocol) && quote->l4_bytes < 4) return {};
  if (has_identifier(quoted) && quote->l4_bytes < kIcmpHeader) return {};
  return inverse(quoted);
}

bool translate_icmp_error(std::span<uint8_t> packet, const Tuple& original, const Tuple& reply,
                          FlowDirection direction, NatStep step) {
  const auto quote = find_quote(packet);
  if (!quote || quote->inner.protocol != original.protocol || quote->inner.family != original.family())
    return false;
  const FlowPath path = path_of(original, reply, direction);
  // A redirect names a route of the sender's own network; translated it would be a lie (as in Linux).
  const bool redirect = original.is_v4() && packet[quote->outer.l4_offset] == kIcmpRedirect;
  if (redirect && path.sent != path.received) return false;
  const bool nothing_to_do =
      step == NatStep::kDestination ? path.routed == path.received : path.sent == path.routed;
  if (nothing_to_do) return true;
  const Tuple& sender = direction == FlowDirection::kOriginal ? reply : original;
  const Tuple quoted = read_tuple(packet, *quote);
  const Tuple undone = undo_step(quoted, sender, step);
  rewrite_quote(packet, *quote, make_rewrite(quoted, undone));
  rewrite_outer(packet, *quote, path, step);
  return true;
}

}  // namespace espalier::nat
