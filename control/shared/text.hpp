// Addresses as people read them.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>

#include <string>

#include "control/shared/types.hpp"

namespace espalier {

// "192.0.2.1"
inline std::string to_text(Ipv4Address address) {
  const uint32_t a = address.host();
  return fmt::format("{}.{}.{}.{}", a >> 24, a >> 16 & 0xff, a >> 8 & 0xff, a & 0xff);
}

// "192.0.2.1", "2001:db8::1" (RFC 5952)
inline std::string to_text(const IpAddress& address) {
  if (address.is_v4()) return to_text(address.v4());
  char text[INET6_ADDRSTRLEN];
  return ::inet_ntop(AF_INET6, &address, text, sizeof text);
}

// "192.0.2.0/24"; with host bits where the prefix has them.
inline std::string to_text(const IpPrefix& prefix) {
  return fmt::format("{}/{}", to_text(prefix.address), prefix.written_length());
}

}  // namespace espalier
