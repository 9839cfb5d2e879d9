// What the IKE process is told of a configuration: vpn.ipsec with every reference followed and every default
// filled in, peers and tunnels that are disabled left out, as VyOS leaves them out. Names of files stay
// names: espalierd opens them (control/daemon/ike_material.hpp).
//
// What belongs to the dataplane of the same peers, their policies, is compiled beside it (compiler.cpp); both
// agree on the reqids.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/config/model.hpp"
#include "control/shared/types.hpp"

namespace espalier::config {

struct IkeSuite {
  EspAlgorithm protection;
  uint8_t prf = 0;  // position in kPrfs
  uint16_t group = 0;
  friend bool operator==(const IkeSuite&, const IkeSuite&) = default;
};
struct ChildSuite {
  EspAlgorithm algorithm;
  uint16_t group = 0;  // PFS; 0: none
  friend bool operator==(const ChildSuite&, const ChildSuite&) = default;
};

// A child SA that a connection wants: one of the peer's tunnels, or that of a VTI of a peer without any.
struct IkeChild {
  std::string name;  // "tunnel-0", "vti"
  Reqid reqid;
  InterfaceIndex vti = kNoInterface;
  bool transport = false;
  std::vector<ChildSuite> suites;
  std::vector<IpPrefix> local, remote;
  uint8_t protocol = kProtoAny;
  PortRange local_ports, remote_ports;
  std::optional<uint32_t> priority;  // of its policies; nothing: by their selectors
  uint32_t lifetime_s = 3600;
  uint64_t life_bytes = 0, life_packets = 0;  // 0: no limit
  bool rekey = true;
  uint32_t replay_window = 32;
  friend bool operator==(const IkeChild&, const IkeChild&) = default;
};

struct IkeConnection {
  int line = 0;
  std::string name;
  ConnectionType type = ConnectionType::kRespond;
  IpAddress local;                   // unspecified: any
  std::vector<std::string> remotes;  // addresses, host names, "any"
  AuthenticationMode mode = AuthenticationMode::kPreSharedSecret;
  std::string local_id,
      remote_id;  // empty: the address; local_id with use_x509_id: the certificate's subject
  bool use_x509_id = false;
  std::string certificate, private_key, remote_key;   // files; empty: none
  std::vector<std::string> authorities, revocations;  // files
  Secret passphrase;                                  // of private_key
  std::vector<IkeSuite> suites;
  uint32_t lifetime_s = 28800;             // 0: no rekeying
  std::optional<uint32_t> dpd_interval_s;  // nothing: no dead peer detection
  DpdAction dpd_action = DpdAction::kClear;
  CloseAction close_action = CloseAction::kNone;
  bool force_encapsulation = false;
  std::vector<IkeChild> children;
  friend bool operator==(const IkeConnection&, const IkeConnection&) = default;
};

struct IkePsk {
  std::string name;
  std::vector<std::string> ids;
  Secret secret;
  std::string secret_file;  // instead of `secret`
  friend bool operator==(const IkePsk&, const IkePsk&) = default;
};

struct IkeDocument {
  std::vector<IkeConnection> connections;
  std::vector<IkePsk> psks;
  std::vector<IpAddress>
      local_addresses;  // of vpn.ipsec.interface: IKE uses no others; empty: all of the gateway's
  uint32_t log_level = 0;
  std::vector<std::string> log_subsystems;
  bool short_lifetimes = false;

  // Whether there is anything for an IKE process to do.
  bool wanted() const { return !connections.empty(); }
  friend bool operator==(const IkeDocument&, const IkeDocument&) = default;
};

// What a proposal without errors protects with.
EspAlgorithm algorithm_of(const Proposal& proposal);

// Precondition: validate() found no error in `model`. Reqids lie in the upper half of their range and follow
// from the names of peer and tunnel, so that they stay while others come and go; those that xfrm names are
// not used.
IkeDocument compile_ike(const Model& model);

// The out, in and, in tunnel mode, fwd policies of a child: one of each for every pair of a local and a
// remote prefix of one family. Without a configured priority they have the one that strongSwan would choose:
// the narrower the selector the more it counts. `name` is for the operator.
std::vector<PolicyRecord> policies_of(const IkeConnection& connection, const IkeChild& child);

}  // namespace espalier::config
