// How many there can be of what a configuration names. Who reads a configuration refuses more, with a line
// number; the dataplane refuses more whatever it is sent. Further limits stand with what they are the size
// of: statistics.hpp (interfaces, NAT rules, policies, workers), sa_cells.hpp (SAs, replay windows).
#pragma once

#include <cstddef>
#include <cstdint>

namespace espalier::limits {

inline constexpr size_t kPorts = 64;  // interfaces with a device
inline constexpr size_t kAddresses = 65536;
inline constexpr size_t kNeighbors = 32768;  // half of the dataplane's table: the rest is for learned ones
inline constexpr uint32_t kRoutes = 1u << 21;
inline constexpr uint32_t kSessions = 1u << 26;

}  // namespace espalier::limits
