// What the IKE process is told about its connections, in the words of VyOS's configuration. Values of a
// whole; comes from espalierd as one document (daemon/document.hpp), and replaces the earlier as a whole.
#pragma once

#include <chrono>
#include <map>
#include <memory>

#include "crypto/certificate.hpp"
#include "ike/identity.hpp"
#include "ike/pre_shared_keys.hpp"
#include "ike/selectors.hpp"
#include "ike/suite.hpp"

namespace espalier::ike {

using std::chrono::milliseconds;
using std::chrono::seconds;

enum class ConnectionType : uint8_t { kInitiate, kRespond, kNone };
enum class DpdAction : uint8_t { kClear, kTrap, kRestart };
enum class CloseAction : uint8_t { kNone, kTrap, kStart };
enum class AuthKind : uint8_t { kPreSharedKey, kRawRsa, kX509 };

struct LocalCredential {
  std::vector<crypto::Certificate> chain;  // kX509: the leaf first
  std::optional<crypto::PrivateKey> key;   // kX509, kRawRsa
};

// One child SA that a connection wants: a `tunnel`, or its `vti`.
struct ChildConfig {
  std::string name;  // "tunnel-0", "vti"
  bool transport = false;
  std::vector<EspSuite> suites;  // in order of preference
  SelectorSide local, remote;
  Reqid reqid;                                // ties it to the policies that espalierd compiled
  InterfaceIndex vti = kNoInterface;          // of the dataplane's interface list
  seconds lifetime{3600};                     // hard; rekeying begins before it, with jitter
  uint64_t life_bytes = 0, life_packets = 0;  // 0: no limit
  bool rekey = true;
  uint32_t replay_window = 32;
  friend bool operator==(const ChildConfig&, const ChildConfig&);
};

struct ConnectionConfig {
  std::string name;  // the peer's
  ConnectionType type = ConnectionType::kRespond;
  IpAddress local;                   // unspecified: any; the dataplane says which one leads to the peer
  std::vector<std::string> remotes;  // addresses, host names; "any" accepts all. Tried in order
  AuthKind auth = AuthKind::kPreSharedKey;
  std::optional<Identity> local_id;   // nothing: the address, or with use-x509-id the certificate's subject
  std::optional<Identity> remote_id;  // nothing: any; see `remote_id_is_address`
  bool remote_id_is_address = false;  // none was configured: the peer's address
  std::shared_ptr<const LocalCredential> credential;
  std::optional<crypto::PublicKey> remote_key;      // kRawRsa
  std::shared_ptr<const crypto::TrustStore> trust;  // kX509
  std::vector<IkeSuite> suites;
  seconds lifetime{28800};  // 0: no rekeying
  std::optional<seconds> dpd_interval;
  DpdAction dpd_action = DpdAction::kClear;
  CloseAction close_action = CloseAction::kNone;
  bool force_encapsulation = false;
  size_t fragment_bytes = 1280;  // of the IP packet; RFC 7383
  std::vector<ChildConfig> children;
};

struct Configuration {
  std::vector<ConnectionConfig> connections;
  PreSharedKeys keys;
  bool short_lifetimes = false;  // tests: lifetimes below VyOS's minimum, jitter in proportion
};

}  // namespace espalier::ike
