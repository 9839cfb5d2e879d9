// Plays a recorded scenario into a gateway and tells every difference from Linux.
//
// The order of a step: apply its configuration if it has one, put our own random values into its input (an
// answer to a port that we chose must name our port), inject, run, compare output, drop counters and what the
// host's sockets got. A skipped step is not injected, its configuration is applied all the same.
#pragma once

#include "tests/golden/deviations.hpp"

namespace espalier::test {

enum class Cache : uint8_t {
  kCold,  // the flow cache is off: every packet takes the slow path
  kWarm,  // each step's packets are first run once in vain, SA numbers put back: the fast path is compared
          // (not where an SA has a limit, which it would use up, nor what Linux drops)
  kInvalidated,  // all flow entries are made stale between every two packets
};

// Which RX queue the next packet goes to. A NIC would keep a flow on one queue; these do not.
enum class QueueOrder : uint8_t { kFirst, kRoundRobin, kPseudoRandom };

struct Mode {
  Cache cache = Cache::kCold;
  uint16_t workers = 1;  // and as many RX queues
  QueueOrder queues = QueueOrder::kFirst;
};
std::string describe(const Mode& mode);

TestbedOptions testbed_options(const Scenario& scenario, const Mode& mode);

struct Playback {
  std::vector<Difference> differences;  // that no rule explains
  std::vector<Deviation> deviations;
};

// `bed` is fresh, made with testbed_options(). An error means that the scenario could not be played at all.
Result<Playback> play(const Scenario& scenario, const Mode& mode, Testbed& bed);

}  // namespace espalier::test
