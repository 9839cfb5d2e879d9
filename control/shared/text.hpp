// Addresses as people read them.
#pragma once

#include <fmt/format.h>

#include <string>

#include "control/shared/types.hpp"

namespace espalier {

// "192.0.2.1"
inline std::string to_text(Ipv4Address address) {
  const uint32_t a = address.host();
  return fmt::format("{}.{}.{}.{}", a >> 24, a >> 16 & 0xff, a >> 8 & 0xff, a & 0xff);
}

// "192.0.2.0/24"; with host bits where the prefix has them.
inline std::string to_text(const Ipv4Prefix& prefix) {
  return fmt::format("{}/{}", to_text(prefix.address), prefix.length);
}

}  // namespace espalier
