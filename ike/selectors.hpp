// Traffic selectors of a child SA: configured, offered, narrowed (RFC 7296 section 2.9), and as the
// dataplane's selectors.
#pragma once

#include "ike/wire/payload.hpp"

namespace espalier::ike {

// One side of a child SA as configured: every prefix with the protocol and the port.
struct SelectorSide {
  std::vector<IpPrefix> prefixes;
  uint8_t protocol = 0;
  PortRange ports;
};

// The most that one payload can carry: RFC 7296 section 3.13 counts them in a byte.
inline constexpr size_t kMaxSelectors = 255;

// At most kMaxSelectors prefixes (precondition).
std::vector<TrafficSelector> to_wire(const SelectorSide& side);
// What is in both, in the order of `ours`, nothing twice; at most kMaxSelectors, of which narrowing may leave
// some out. Empty: nothing.
std::vector<TrafficSelector> intersect(std::span<const TrafficSelector> ours,
                                       std::span<const TrafficSelector> theirs);
bool contains(std::span<const TrafficSelector> outer, const TrafficSelector& inner);
// Whether every selector of `inner` lies in one of `outer`: a response may not be wider than the offer.
bool within(std::span<const TrafficSelector> inner, std::span<const TrafficSelector> outer);
bool same(std::span<const TrafficSelector> a, std::span<const TrafficSelector> b);  // in any order
// The prefixes that a range consists of, from low to high: 10.0.0.0-10.0.2.255 is two.
std::vector<IpPrefix> prefixes_of(const TrafficSelector& selector);
// "10.0.0.0/21[tcp/443]", "[icmp/8]", "[icmp/3:1]", "10.0.0.1-10.0.0.9", "2001:db8::/32[tcp/opaque]"
std::string to_text(const TrafficSelector& selector);
std::string to_text(std::span<const TrafficSelector> selectors);  // with commas

}  // namespace espalier::ike
