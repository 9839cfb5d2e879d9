// One gateway in this process, driven by a test: a configuration in, frames in at chosen RX queues, frames
// out.
//
// The interface knows nothing of DPDK, so that the comparator can be tested with a bed that replays a
// recording. make_testbed() gives the real dataplane with ring-backed ports. All calls come from one thread;
// the gateway's workers run only inside of run_until_idle() and others that say so.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>

#include "control/shared/drop_reason.hpp"
#include "control/shared/error.hpp"
#include "control/shared/messages_tap.hpp"
#include "control/shared/ring.hpp"
#include "tests/support/bytes.hpp"

namespace espalier::test {

using DropCounts = std::array<uint64_t, kDropReasons>;  // by DropReason

struct TestbedOptions {
  uint16_t workers = 1;
  uint16_t queues = 1;                                  // RX queues of every port
  bool flow_cache = true;                               // false: every packet takes the slow path
  std::map<std::string, MacAddress, std::less<>> macs;  // of the ports, by interface name
  uint32_t largest_mtu_bytes = 1500;                    // that a configuration may ask for
  bool ike = false;                                     // SettingsRecord::ike, with every configuration
};

// What the gateway says beforehand that would become of packets (dataplane/rehearsal.hpp).
struct Rehearsed {
  std::map<std::string, std::vector<Bytes>, std::less<>> output;  // by port, ESP not encrypted
  DropCounts ended{};                                             // also what was used up
  std::vector<Bytes> to_host;
  uint64_t waiting = 0;
  std::vector<std::string> lines;  // the story: "STAGE: TEXT"
};

// What a bed counts of its packets since the start.
struct Packets {
  uint64_t made = 0;     // by the gateway, and those of its host
  uint64_t waiting = 0;  // now: for other fragments, or for a next hop's MAC address
};

// What the workers found in their flow caches since the start.
struct FlowCounts {
  uint64_t hits = 0;    // an entry that served the packet
  uint64_t misses = 0;  // none, or a stale one: decided anew
};

// A packet as a tap saw it.
struct TappedPacket {
  message::TapPacket seen;
  Bytes bytes;
};

class Testbed {
 public:
  virtual ~Testbed() = default;

  // Makes `config_text` (espalier.conf; the device of interface IF is "net_testbed-IF") the running
  // configuration; sessions and flows survive as they do in service. Refuses what `espalier apply` refuses.
  virtual Result<void> apply(const std::string& config_text) = 0;
  // Hands a frame to an RX queue of a port. Throws std::out_of_range for an unknown interface or queue.
  virtual void inject(std::string_view interface, uint16_t queue, ByteView frame) = 0;
  // Runs workers and main lcore until nothing is in flight.
  virtual void run_until_idle() = 0;
  // One round of every worker; what they have for the main lcore waits.
  virtual void run_workers() { throw std::logic_error("this bed has no workers"); }
  // One round of the main lcore while the workers run on threads of their own.
  virtual void run_main_beside_workers() { throw std::logic_error("this bed has no workers"); }
  // The frames that left by this interface since the last call, in order.
  virtual std::vector<Bytes> take_sent(std::string_view interface) = 0;
  // Hands over an IP packet that the gateway's own host sends (the host path). Throws std::logic_error if
  // this bed has none.
  virtual void inject_from_host(ByteView) { throw std::logic_error("this bed has no host path"); }
  // The IP packets that the host got since the last call, in order.
  virtual std::vector<Bytes> take_to_host() { return {}; }
  // The packets that wanted an SA since the last call, as espalierd is told of them.
  virtual std::vector<message::Acquire> take_acquires() { return {}; }
  // The gateway's end of a channel to an IKE process, which is the test.
  virtual void attach_ike(Channel) { throw std::logic_error("this bed has no IKE"); }
  // What would become of the frames, or of IP packets of the host ("local"), one after the other; nothing is
  // changed. Of the first `untold`, fragments that came before, nothing is told. Nothing if this bed cannot
  // tell.
  virtual std::optional<Rehearsed> rehearse(std::string_view /* interface */,
                                            const std::vector<Bytes>& /* frames */, size_t /* untold */) {
    return std::nullopt;
  }
  virtual std::optional<Packets> packets() const { return std::nullopt; }
  // Sums over workers and interfaces since the start.
  virtual DropCounts drops() const = 0;
  virtual FlowCounts flow_counts() const = 0;
  // Lets the gateway's clock run.
  virtual void advance_time(std::chrono::milliseconds step) = 0;
  // Makes every flow entry stale: the next packet of each flow is decided anew. Sessions stay.
  virtual void invalidate_flows() = 0;
  // Taps as espalierd asks for them, the filters as they come through the ring. Throw std::logic_error where
  // this bed has none. read_tap(): what was seen since the last call, or nothing if the tap has ended.
  struct TapFilters {
    std::vector<message::TapInstruction> ethernet, ip;
  };
  virtual Result<uint64_t> start_tap(message::TapStart, const TapFilters&) {
    throw std::logic_error("this bed has no taps");
  }
  virtual std::optional<std::vector<TappedPacket>> read_tap(uint64_t, uint64_t* /*lost*/ = nullptr) {
    throw std::logic_error("this bed has no taps");
  }
  virtual bool end_tap(uint64_t) { throw std::logic_error("this bed has no taps"); }
  // Sequence numbers and replay windows of all SAs, to be put back later; the content is the bed's own.
  virtual Bytes sa_state() const = 0;
  virtual void restore_sa_state(const Bytes& state) = 0;
};

// The real dataplane, not yet configured; call apply() first. Needs no hugepages and no root.
Result<std::unique_ptr<Testbed>> make_testbed(const TestbedOptions& options);

}  // namespace espalier::test
