// What NAT reads of an IP packet's headers where nobody parsed it yet: ICMP errors and what they quote.
//
// IPv6 extension headers are skipped as far as they stand before what can be translated: hop-by-hop options,
// routing, destination options, and the fragment header of a first fragment (RFC 8200 section 4). Behind an
// authentication header (AH) nothing may change, so AH is a protocol without ports.
#pragma once

#include <optional>
#include <span>

#include "control/shared/types.hpp"

namespace espalier::nat {

struct IpHeader {
  IpAddress source;
  IpAddress destination;
  Family family = Family::kIpv4;
  uint8_t protocol = 0;      // behind extension headers
  uint32_t l4_offset = 0;    // of what follows the headers; all before it is there
  uint32_t total_bytes = 0;  // of the packet as its header says, at least l4_offset; more than a quote has
};

// The headers at the beginning of `packet`. Nothing if they are cut off or malformed, or belong to a later
// fragment.
std::optional<IpHeader> read_ip_header(std::span<const uint8_t> packet);

}  // namespace espalier::nat
