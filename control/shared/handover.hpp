// How espalierd and the dataplane find each other, and how the shared memory changes hands when one of them
// dies.
//
// The dataplane listens on RUNTIME_DIR/dataplane.sock (SOCK_SEQPACKET). espalierd connects; the dataplane
// says Hello, with the descriptors of the segments if it has them; espalierd answers Welcome, with the
// segments if the dataplane had none, and always with a new channel. A later espalierd's Welcome replaces the
// earlier channel. The connection stays open: its end tells either side that the other is gone. By it
// espalierd brings an IkeChannel whenever there is another espalier-ike: the attacher's side of a channel
// whose creator's side (Channel::attach_as_creator) that process has. Nothing here blocks; both sides are
// driven from their event loops.
#pragma once

#include "control/shared/fd_passing.hpp"
#include "control/shared/ring.hpp"

namespace espalier::handover {

inline constexpr uint64_t kMagic = 0x7265'696c'6170'7345;  // "Espalier"
inline constexpr uint32_t kProtocol = 2;
inline constexpr const char* kSocketName = "dataplane.sock";

// What both must agree on before they touch each other's memory.
struct Layouts {
  uint32_t vault = 0;
  uint32_t cells = 0;
  uint32_t numbers = 0;
  uint32_t statistics = 0;
  uint32_t messages = message::kVersion;
  friend bool operator==(const Layouts&, const Layouts&) = default;
};

struct Hello {
  uint64_t magic = kMagic;
  uint32_t protocol = kProtocol;
  uint32_t has_segments = 0;
  Layouts layouts;
  uint64_t incarnation = 0;  // random, of this dataplane process
  uint64_t generation = 0;   // of the configuration that runs, 0: none yet
};

struct Welcome {
  uint64_t magic = kMagic;
  uint32_t protocol = kProtocol;
  uint32_t has_segments = 0;
  Layouts layouts;
};

// Brings the descriptors of a channel.
struct IkeChannel {
  uint64_t magic = kMagic;
  uint32_t protocol = kProtocol;
  uint32_t has_segments = 0;  // never
};

// The memory that outlives either process, in the order in which it is passed.
struct SegmentFds {
  Fd vault;
  Fd cells;    // with espalierd's lock on it, like the next
  Fd numbers;  // the state file of sequence numbers (sequence_file.hpp)
  Fd statistics;
};

// The dataplane's side. Thread: main lcore.
class DataplaneEndpoint {
 public:
  struct State {
    Layouts layouts;
    uint64_t incarnation = 0;
    uint64_t generation = 0;
    const SegmentFds* segments = nullptr;  // null until a Welcome brought them
  };
  struct Adoption {
    std::optional<SegmentFds> segments;  // when State had none
    Channel channel;
  };

  static Result<DataplaneEndpoint> listen(const std::string& runtime_dir);

  // Accepts who connects, says Hello, and returns the Adoption when a Welcome has come; the earlier
  // espalierd's connection is closed then. An error is one peer's: it was dropped, poll() can be called
  // again. To be called when one of wait_fds() is readable, or every few milliseconds.
  Result<std::optional<Adoption>> poll(const State& state);
  // The channel to espalier-ike that espalierd brought since the last call; it replaces the one before.
  // Error: what came is none; that connection is closed, and poll() waits for the next espalierd.
  Result<std::optional<Channel>> take_ike_channel();
  // Listener, greeted peer, current espalierd; -1 where there is none.
  std::array<int, 3> wait_fds() const { return {listener_.get(), greeted_.get(), current_.get()}; }
  // Whether the espalierd of the last Adoption is still there; poll() finds out.
  bool connected() const { return static_cast<bool>(current_); }

 private:
  explicit DataplaneEndpoint(Fd listener) : listener_(std::move(listener)) {}
  Result<void> accept_and_greet(const State& state);
  Result<std::optional<Adoption>> read_welcome(const State& state);
  void notice_hangup();

  Fd listener_;
  Fd greeted_;                          // has our Hello, has not answered yet
  bool greeted_owns_segments_ = false;  // it must bring segments, since our Hello had none
  Fd current_;
};

// espalierd's side.
class DaemonConnection {
 public:
  struct Offer {
    Hello hello;
    std::optional<SegmentFds> segments;  // when the dataplane has them
  };

  // std::nullopt when no dataplane listens in that directory.
  static Result<std::optional<DaemonConnection>> connect(const std::string& runtime_dir);
  // For a socket that is connected already.
  static Result<DaemonConnection> adopt(Fd socket);

  // std::nullopt until it has arrived. The layouts are to be compared by the caller, who may have to stop a
  // dataplane that speaks another version; only magic and shape are checked here.
  Result<std::optional<Offer>> receive_hello();
  // `segments` when, and only when, the Offer had none.
  Result<void> send_welcome(const Layouts& layouts, const SegmentFds* segments, const Channel& channel);
  // For a new channel between the dataplane and espalier-ike, after the Welcome.
  Result<void> send_ike_channel(const Channel& channel);
  // Whether the dataplane closed its end.
  bool hung_up();

  const Fd& socket() const { return socket_; }
  pid_t dataplane_pid() const { return pid_; }  // by SO_PEERCRED

 private:
  DaemonConnection(Fd socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}
  Fd socket_;
  pid_t pid_;
};

// The layouts that differ, for the log: "vault 2 here, 1 there; ..."; empty when none does.
std::string describe_difference(const Layouts& here, const Layouts& there);

}  // namespace espalier::handover
