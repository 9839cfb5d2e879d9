// What is legal and yet probably not meant: warnings, each with its remedy. Judged from one file, so what
// only the peer's file could tell (both ends initiating) is said where one end can already go wrong.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "control/config/diagnostics.hpp"
#include "control/config/topology.hpp"

namespace espalier::config {

// Traffic that a tunnel is for: an outbound protect policy, or one pair of prefixes of a site-to-site tunnel.
// Not what a VTI's policies select: only what is routed into the VTI comes to them, and it never leaves in
// clear.
struct Protected {
  int line = 0;
  std::string name;  // "policy 3", "OFFICE-B tunnel 0"
  IpPrefix local, remote;
  uint8_t protocol = 0;
  PortRange local_port, remote_port;
  EspMode mode = EspMode::kTunnel;
  std::vector<IpAddress> peers;  // outer destinations, as far as they are addresses
};
std::vector<Protected> protected_traffic(const Model& model);

// All lints. Precondition: validate() found no error. `mode`: permissions of the configuration file, if it is
// one.
void lint(const Model& model, const Topology& topology, std::optional<mode_t> mode, Diagnostics& diagnostics);

// The parts.
void lint_source_nat(const Model& model, const Topology& topology, const std::vector<Protected>& traffic,
                     Diagnostics& diagnostics);
void lint_xfrm(const Model& model, const Topology& topology, Diagnostics& diagnostics);
void lint_vpn(const Model& model, const Topology& topology, Diagnostics& diagnostics);
void lint_selectors(const std::vector<Protected>& traffic, Diagnostics& diagnostics);
void lint_tunnel_interfaces(const Model& model, const Topology& topology,
                            const std::vector<Protected>& traffic, Diagnostics& diagnostics);
// Permissions of the file and, on disk, of the files that it names.
void lint_secrets(const Model& model, std::optional<mode_t> mode, Diagnostics& diagnostics);

}  // namespace espalier::config
