// A worker: polls its receive queues and its mailbox and runs every packet to completion.
//
// Owner: the worker's lcore, or the one thread of a test that polls all workers in turn. The main lcore makes
// it, publishes snapshots to it and asks it to stop.
#pragma once

#include <atomic>
#include <memory>

#include "dataplane/clock.hpp"
#include "dataplane/pipeline.hpp"
#include "dataplane/rcu.hpp"

namespace espalier::dataplane {

// What all workers share; owner: the gateway, which outlives them.
struct WorkerShared {
  const Clock& clock;
  Rcu& rcu;
  const std::atomic<const Snapshot*>& snapshot;
};

class Worker {
 public:
  struct Parts {
    std::unique_ptr<FlowCache> flows;
    std::unique_ptr<Reassembler> reassembler;
    crypto::EspEngine esp;
    Mailbox* mailbox;  // the gateway's
  };
  // `context` has everything set that is fixed for the worker's life but flows, reassembler and esp.
  Worker(const Context& context, Parts parts, const WorkerShared& shared);

  // One round: receives at most kBurst packets from each queue and the mailbox, runs them, does a slice of
  // housekeeping. Returns how many packets came. The caller keeps the snapshot alive: run() by the RCU, a
  // test by being the only thread.
  uint32_t poll();
  // Polls until stop() is called; sleeps when idle unless `busy_poll` is set in the snapshot.
  void run();
  void stop() {
    stop_.store(true, std::memory_order_relaxed);
    parts_.mailbox->wake();
  }
  FlowCache& flows() { return *parts_.flows; }
  // That wait for fragments; each counts as one packet.
  size_t waiting_datagrams() const { return parts_.reassembler->waiting(); }
  WorkerId id() const { return context_.worker; }

 private:
  void begin_burst();
  uint32_t receive();
  uint32_t take_handed_over();
  void housekeep();

  Parts parts_;
  Context context_;
  Transmitter transmitter_;
  WorkerShared shared_;
  uint64_t housekeeping_done_ms_ = 0;
  std::atomic<bool> stop_{false};
};

}  // namespace espalier::dataplane
