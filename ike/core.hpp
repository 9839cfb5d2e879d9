// The IKEv2 protocol without I/O: RFC 7296 in both roles for any number of connections.
//
// What happens is told by receive(), by commands and events, each with the time; what is to be done comes out
// as Outputs, in order. Nothing blocks, nothing reads a clock, and randomness is the caller's, so two cores
// can be driven against each other in one process with every loss and delay that a test wants.
//
//   datagram, command, event, time ──► Core ──► datagrams, SAs to install and remove, saved state, log lines
//
// Owner: one thread. Times are of a monotonic clock; certificates are compared with `wall_clock`.
#pragma once

#include <functional>

#include "ike/configuration.hpp"
#include "ike/report.hpp"

namespace espalier::ike {

using Time = std::chrono::steady_clock::time_point;

struct Endpoint {
  IpAddress address;
  uint16_t port = 500;  // host order
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// --- What comes out ---

// One UDP datagram. Towards or from port 4500 the non-ESP marker (RFC 3948 section 2.2) is not in `bytes`:
// who sends puts it in front when local.port is not 500, who receives takes it off. A NAT keepalive, which is
// the one byte 0xff, has none.
struct SendDatagram {
  Endpoint local, remote;
  Bytes bytes;
};
// Keys of one direction; idempotent. Wiped when it is moved away and when it ends: outputs wait in lists, and
// those leave their old memory behind when they grow.
struct InstallSa {
  InstallSa() = default;
  explicit InstallSa(const SaRecord& installed) : record(installed) {}
  InstallSa(InstallSa&& other) noexcept : record(other.record) { crypto::wipe(other.record); }
  InstallSa& operator=(InstallSa&& other) noexcept {
    if (this == &other) return *this;
    record = other.record;
    crypto::wipe(other.record);
    return *this;
  }
  ~InstallSa() { crypto::wipe(record); }
  SaRecord record;
};
struct RemoveSa {
  Spi spi;
  Direction direction{};
  IpAddress destination;  // outer, of the SA
};
// The outer addresses of an SA moved (RFC 7296 section 2.23): the record without its key.
struct MoveSa {
  Spi spi;
  Direction direction{};
  IpAddress source, destination;
  uint16_t encap_source_port = 0, encap_destination_port = 0;
  IpAddress old_destination{};  // as it was installed; with the SPI it names the SA
};
// Wants the time of the last packet that came in by an SA: answered by SaUse.
struct AskSaUse {
  Spi spi;
};
// Wants the addresses of a name, and the local address towards each: answered by Resolved.
struct Resolve {
  std::string connection;
  std::string name;  // an address as well, where the local address is asked for
};
// The state of an IKE SA with its children.
struct SavedState {
  uint64_t id = 0;  // of the IKE SA; small numbers that are used again
  crypto::Secret state;
};
// What one input changed in the states that are kept over a death of this process: to be done as a whole or,
// if the process dies, not at all; and before any later output.
struct SaveStates {
  std::vector<SavedState> states;
  std::vector<uint64_t> forgotten;  // ids
};
using Output = std::variant<SendDatagram, InstallSa, RemoveSa, MoveSa, AskSaUse, Resolve, SaveStates>;

// --- What comes in, beside datagrams ---

struct Initiate {
  std::string connection;
  std::string child;  // empty: all
};
struct Terminate {
  std::string connection;
  std::string child;  // empty: the IKE SAs with all children
};
struct Rekey {
  std::string connection;
  std::string child;  // empty: the IKE SA
};
using Command = std::variant<Initiate, Terminate, Rekey>;

struct Acquire {  // a packet met a policy without an SA
  Reqid reqid;
  Tuple tuple;
};
struct Expire {
  Spi spi;
  Direction direction{};
  bool hard = false;
  IpAddress destination{};  // outer, of the SA: two peers may choose one SPI
};
struct MappingChanged {  // the peer's NAT; authenticated ESP came from there
  Spi spi;               // inbound
  Endpoint peer;
};
struct SaUse {
  Spi spi;
  uint64_t packets = 0, bytes = 0;
  std::optional<milliseconds> idle;  // since the last packet; nothing: none yet
};
struct Resolved {
  std::string connection;
  std::string name;
  struct Way {
    IpAddress local, remote;
  };
  std::vector<Way> ways;  // empty: none known now
  std::string failure;    // why
};
struct DataplaneLost {};   // SAs have to be installed again when it is back:
struct DataplaneReady {};  // all InstallSa once more
using Event = std::variant<Acquire, Expire, MappingChanged, SaUse, Resolved, DataplaneLost, DataplaneReady>;

struct CoreOptions {
  // Uniform 64 bits: SPIs, message order of retries, jitter. Nonces, keys and IVs come from OpenSSL.
  std::function<uint64_t()> random;
  std::function<std::chrono::system_clock::time_point()> wall_clock;
  uint32_t half_open_cookies = 32;  // of IKE SAs not yet authenticated, from where on cookies are asked for
  uint32_t half_open_limit = 4096;  // in all; more are dropped and counted
  uint32_t half_open_per_address = 16;  // of those without a cookie
  uint32_t half_open_proven = 256;      // per address, of those with a good one: peers behind one NAT
  // How long each sending of a request is waited for, the last before the peer is taken for lost. Empty: half
  // a second, twice as long each time up to 16 s, twelve of them (127.5 s). While an IKE SA begins no wait is
  // longer than 10 s.
  std::vector<milliseconds> retransmissions;
};

class Core {
 public:
  explicit Core(CoreOptions options);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Replaces the configuration. Connections that stayed equal keep their SAs untouched; those that changed or
  // went are closed, and opened again where they are to be initiated.
  void configure(Configuration configuration, Time now);
  // States that an earlier process saved; after configure(). Damaged or foreign ones are reported and
  // forgotten.
  void adopt(std::vector<SavedState> states, Time now);

  void receive(const Endpoint& local, const Endpoint& remote, ByteView datagram, Time now);
  // Errors: no such connection or child, or the command does not fit its state; for the operator.
  Result<void> command(const Command& command, Time now);
  void event(const Event& event, Time now);
  // Timers. To be called at next_deadline() or later.
  void tick(Time now);
  Time next_deadline() const;  // Time::max(): none

  std::vector<Output> take_outputs();
  std::vector<LogLine> take_log();

  // For `show ike sa`, `show connections`; see report.hpp.
  std::vector<IkeSaReport> ike_sas(Time now) const;
  std::vector<ConnectionReport> connections(Time now) const;
  const CoreCounters& counters() const;
  // Deletes every IKE SA with a message to its peer; nothing is initiated any more.
  void shut_down(Time now);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace espalier::ike
