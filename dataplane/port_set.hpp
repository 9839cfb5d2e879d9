// Which thread serves which queue of which port. Part of the snapshot, so that ports come and go while the
// workers run: a port is closed after every worker was quiescent on a snapshot without it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "dataplane/ports.hpp"
#include "dataplane/transmitter.hpp"

namespace espalier::dataplane {

// An open port with what threads share of it.
struct SharedPort {
  explicit SharedPort(Port p) : port(std::move(p)), locks(port.tx_queues()) {}
  Port port;
  LinkState link;
  std::vector<std::atomic_flag> locks;  // one per TX queue, used where queues are fewer than threads
};

// MTUs that were set on open ports for a configuration that may still be refused: put back unless kept.
// Owner: main lcore.
class MtuChanges {
 public:
  MtuChanges() = default;
  MtuChanges(MtuChanges&&) = default;  // leaves nothing to put back behind
  MtuChanges& operator=(MtuChanges&&) = delete;
  ~MtuChanges();
  // Errors are Port::set_mtu()'s.
  Result<void> set(const std::shared_ptr<SharedPort>& port, uint32_t mtu_bytes);
  void keep() { before_.clear(); }

 private:
  struct Before {
    std::shared_ptr<SharedPort> port;
    uint32_t mtu_bytes;
  };
  std::vector<Before> before_;
};

struct ReceiveQueue {
  Port* port;
  uint16_t queue;
};

struct PortSet {
  // Deals the queues out: RX queue q of a port to worker (id + q) % workers, whatever other ports there are:
  // while a snapshot is published one worker may still poll by the one before, and no queue may have two
  // owners. A TX queue to each thread, shared and locked where the device has fewer. Threads are the workers
  // and, last, the main lcore.
  PortSet(std::vector<std::shared_ptr<SharedPort>> open, uint16_t workers);

  std::vector<std::shared_ptr<SharedPort>> ports;
  std::vector<std::vector<ReceiveQueue>> receive;  // by WorkerId
  std::vector<TransmitQueues> transmit;            // by thread
};

}  // namespace espalier::dataplane
