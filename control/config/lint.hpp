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
  std::string name;                // "policy 3", "OFFICE-B tunnel 0"
  const Policy* policy = nullptr;  // null: of a peer
  IpPrefix local, remote;
  uint8_t protocol = 0;
  PortRange local_port, remote_port;
  EspMode mode = EspMode::kTunnel;
  IpAddress own;                 // outer source; unspecified: not known
  std::vector<IpAddress> peers;  // outer destinations, as far as they are addresses
};
std::vector<Protected> protected_traffic(const Model& model);

// All lints. Precondition: validate() found no error. `mode`: permissions of the configuration file, if it is
// one.
void lint(const Model& model, const Topology& topology, std::optional<mode_t> mode, Diagnostics& diagnostics);

// The parts: what source NAT takes out of tunnels; what it does to the gateway's own ESP; which policies see
// the addresses before destination NAT.
void lint_source_nat(const Model& model, const Topology& topology, const std::vector<Protected>& traffic,
                     Diagnostics& diagnostics);
void lint_nat_of_esp(const Model& model, const Topology& topology, Diagnostics& diagnostics);
void lint_destination_nat(const Model& model, Diagnostics& diagnostics);

// What tunnels are for; tunnel interfaces; VTIs with their states, routes and policies.
void lint_selectors(const Model& model, const std::vector<Protected>& traffic, Diagnostics& diagnostics);
void lint_tunnel_interfaces(const Model& model, const Topology& topology,
                            const std::vector<Protected>& traffic, Diagnostics& diagnostics);
void lint_vtis(const Model& model, const Topology& topology, Diagnostics& diagnostics);

// States and templates that do not find each other; policies that do not do what they say; vpn.ipsec.
void lint_states(const Model& model, const Topology& topology, Diagnostics& diagnostics);
void lint_policies(const Model& model, const Topology& topology, Diagnostics& diagnostics);
void lint_vpn(const Model& model, const Topology& topology, Diagnostics& diagnostics);

// Permissions of the file and, on disk, of the files that it names.
void lint_secrets(const Model& model, std::optional<mode_t> mode, Diagnostics& diagnostics);

// What a rule makes of `address` in a packet to `destination`; `interface`: of a masquerade, that it leaves
// by. Nothing where that is one of several addresses, or the interface is not known or has none.
std::optional<IpAddress> translated_address(const NatRule& rule, const IpAddress& address, const Model& model,
                                            const Topology& topology, std::optional<size_t> interface,
                                            const IpAddress& destination);

}  // namespace espalier::config
