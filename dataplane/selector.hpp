// Packets as traffic selectors see them (RFC 4301 section 4.4.1.1): for policies, and for SAs that have a
// selector of their own.
#pragma once

#include "control/shared/types.hpp"

namespace espalier::dataplane {

// Host order; for ICMP and ICMPv6 type and code, 0 where the packet has no ports.
struct SelectorPorts {
  uint16_t source = 0;
  uint16_t destination = 0;
};

inline SelectorPorts selector_ports(const Tuple& tuple) {
  const uint16_t destination = tuple.destination_port.host();
  if (tuple.protocol == kProtoIcmp || tuple.protocol == kProtoIcmpv6)
    return {static_cast<uint16_t>(destination >> 8), static_cast<uint16_t>(destination & 0xff)};
  return {tuple.source_port.host(), destination};
}

inline bool covers(const Selector& selector, const Tuple& tuple) {
  const SelectorPorts ports = selector_ports(tuple);
  return selector.matches(tuple.source, tuple.destination, tuple.protocol, ports.source, ports.destination);
}

}  // namespace espalier::dataplane
