// How a worker sleeps when there is nothing to do, and wakes in time.
//
// After kIdlePolls empty polls in a row it arms the doorbells of its queues (an RX interrupt or a socket, see
// ports.hpp), polls once more, and waits for one of them or its mailbox. Queues that cannot ring are polled
// between short sleeps, which get longer while nothing comes.
//
// Owner: the worker's thread.
#pragma once

#include <memory>

#include "control/shared/fd.hpp"
#include "dataplane/mailbox.hpp"
#include "dataplane/port_set.hpp"

namespace espalier::dataplane {

class IdleSleeper {
 public:
  static constexpr uint32_t kIdlePolls = 200;       // some tens of microseconds
  static constexpr uint32_t kShortestSleepUs = 50;  // where nothing can ring
  static constexpr uint32_t kLongestSleepUs = 500;  // 5 % of a core when polled in between
  static constexpr uint32_t kHeartbeatMs = 50;      // wakes at least that often

  explicit IdleSleeper(Mailbox& mailbox);

  void note_work() { idle_polls_ = 0, sleep_us_ = kShortestSleepUs; }
  bool should_sleep() { return ++idle_polls_ >= kIdlePolls; }
  // Arms the doorbells. The caller polls once more, then calls sleep() or, when something came, cancel().
  void prepare(std::shared_ptr<const PortSet> ports, WorkerId worker);
  void sleep();
  void cancel();
  // Lets go of ports that were slept on and are not in use any more, so that they can be closed.
  void forget_other_than(const std::shared_ptr<const PortSet>& current) {
    if (ports_ && ports_ != current) ports_.reset(), epoll_.reset();
  }

 private:
  void follow(std::shared_ptr<const PortSet> ports, WorkerId worker);
  void disarm();

  Mailbox& mailbox_;
  Fd epoll_;
  std::shared_ptr<const PortSet> ports_;  // whose descriptors are in epoll_
  WorkerId worker_;
  bool all_ring_ = true;
  bool quiet_mailbox_ = false;
  uint32_t idle_polls_ = 0;
  uint32_t sleep_us_ = kShortestSleepUs;
};

}  // namespace espalier::dataplane
