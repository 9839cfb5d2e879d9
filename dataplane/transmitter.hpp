// Sends a thread's packets: collects them per port over a burst and hands whole bursts to the devices.
//
// Owner: one thread, with a TX queue of its own on each port where the device has enough; where it has not,
// the queue is shared and locked per burst.
#pragma once

#include <array>
#include <atomic>

#include "control/shared/statistics.hpp"
#include "dataplane/interfaces.hpp"
#include "dataplane/observer.hpp"
#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// One thread's way to one port; part of the snapshot (port_set.hpp).
struct TransmitQueue {
  uint16_t queue = 0;
  bool open = false;
  std::atomic_flag* lock = nullptr;  // null: the queue is this thread's alone
};
using TransmitQueues = std::array<TransmitQueue, kMaxPorts>;

class Transmitter {
 public:
  // kKeep: of a rehearsal. All is done but the last step: what would be sent is counted and freed; an
  // observer has seen it.
  enum class Send : uint8_t { kToDevices, kKeep };
  explicit Transmitter(statistics::Block& stats, Send send = Send::kToDevices) : stats_(stats), send_(send) {}

  // Who is told of each frame and of what cannot be sent; null: nobody.
  void observe(Observer* observer) { observer_ = observer; }

  // The queues of the snapshot that the next burst runs with. Nothing may wait to be flushed.
  void use(const TransmitQueues& queues) { queues_ = &queues; }

  // Puts the Ethernet header (and VLAN tag) in front and takes the packet over.
  void send_ip(rte_mbuf* mbuf, const Interface& out, const MacAddress& destination) {
    send_frame(mbuf, out, destination, is_ipv4(mbuf) ? kEtherTypeIpv4 : kEtherTypeIpv6);
  }
  void send_frame(rte_mbuf* mbuf, const Interface& out, const MacAddress& destination, uint16_t ether_type);
  // To be called at the end of every burst.
  void flush();

 private:
  struct Sent {
    uint16_t interface;
    uint32_t bytes;
  };
  struct Buffer {
    uint16_t count = 0;
    rte_mbuf* packets[kBurst];
    Sent sent[kBurst];
  };
  void flush(uint16_t port);
  uint16_t give_to_device(uint16_t port, Buffer& buffer);
  void count_sent(std::span<const Sent> sent);
  void drop(rte_mbuf* mbuf, DropReason reason);

  static_assert(kMaxPorts == 64);
  statistics::Block& stats_;
  const Send send_;
  Observer* observer_ = nullptr;
  const TransmitQueues* queues_ = nullptr;
  std::array<Buffer, kMaxPorts> buffers_{};
  uint64_t waiting_ = 0;  // a bit per port with something in its buffer
};

}  // namespace espalier::dataplane
