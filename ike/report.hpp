// What the IKE core tells people: log lines, states of SAs and connections, counters. Never a secret.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "control/shared/types.hpp"

namespace espalier::ike {

enum class LogLevel : uint8_t { kError, kWarning, kInfo, kDebug };
enum class Subsystem : uint8_t {
  kIke,
  kChild,
  kConfig,
  kNetwork,
  kCrypto
};  // "ike", "child", "cfg", "net", "crypto"
struct LogLine {
  LogLevel level = LogLevel::kInfo;
  Subsystem subsystem = Subsystem::kIke;
  std::string connection, child;  // empty: none known
  std::string text;
};

enum class IkeState : uint8_t { kConnecting, kEstablished, kRekeying, kRekeyed, kDeleting };
enum class ChildState : uint8_t { kCreating, kInstalled, kRekeying, kRekeyed, kDeleting };
const char* name_of(IkeState state);    // "connecting" ...
const char* name_of(ChildState state);  // "installed" ...

struct ChildReport {
  std::string name;
  ChildState state{};
  Spi spi_in, spi_out;
  std::string suite;  // "aes256gcm128/dh19/esn"
  std::string local_selectors, remote_selectors;
  bool encapsulated = false;
  std::chrono::seconds age{0};
  std::chrono::seconds rekey_in{0};  // negative: not any more
  std::chrono::seconds expires_in{0};
};
struct IkeSaReport {
  uint64_t id = 0;
  std::string connection;
  IkeState state{};
  bool initiator = false;
  uint64_t initiator_spi = 0, responder_spi = 0;
  std::string local_address, remote_address;  // "198.51.100.3[4500]"
  std::string local_id, remote_id;
  std::string suite;
  bool nat_local = false, nat_remote = false;
  std::chrono::seconds age{0};
  std::chrono::seconds rekey_in{0};
  std::vector<ChildReport> children;
};
// One line of `show connections` for each child, up or down.
struct ConnectionReport {
  std::string connection;
  std::string child;
  std::string type;  // "initiate"
  bool up = false;
  std::string why_down;      // "connecting, try 3", "waits for the peer", "waits for traffic"
  std::string last_failure;  // of the connection: what we offered, what they offered, the first difference
  std::chrono::seconds last_failure_ago{0};
  std::string local_address, remote_address, local_id, remote_id;
  std::string local_selectors, remote_selectors;
};

struct CoreCounters {
  uint64_t received = 0, sent = 0, retransmitted = 0, answered_again = 0;
  uint64_t malformed = 0, unknown_spi = 0, not_authentic = 0, wrong_message_id = 0;
  uint64_t cookies_asked = 0, half_open_refused = 0;
  uint64_t ike_established = 0, ike_failed = 0, ike_rekeyed = 0, child_created = 0, child_rekeyed = 0,
           child_failed = 0;
  uint64_t dpd_lost = 0;
};

}  // namespace espalier::ike
