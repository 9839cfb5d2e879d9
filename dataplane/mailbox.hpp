// A ring of packets to another thread of this process, which may be asleep.
//
// Many senders, one receiver (owner: the receiving thread). The receiver announces its sleep, looks once more
// and then waits on the descriptor; a sender that finds it announced wakes it.
#pragma once

#include <rte_ring.h>
#include <sys/eventfd.h>

#include <atomic>
#include <memory>
#include <string>

#include "control/shared/error.hpp"
#include "control/shared/fd.hpp"
#include "dataplane/packet.hpp"

namespace espalier::dataplane {

class Mailbox {
 public:
  // `name` must be unique in the process; `packets` a power of two.
  static Result<std::unique_ptr<Mailbox>> create(const std::string& name, uint32_t packets, int socket);
  ~Mailbox();  // frees what is still in it
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Any thread. False when full.
  bool push(rte_mbuf* mbuf) {
    if (rte_ring_mp_enqueue(ring_, mbuf) != 0) return false;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_relaxed)) wake();
    return true;
  }
  void wake() const { ::eventfd_write(fd_.get(), 1); }

  // The receiver only.
  uint16_t pop(MbufSpan room) {
    return static_cast<uint16_t>(
        rte_ring_sc_dequeue_burst(ring_, reinterpret_cast<void**>(room.data()), room.size(), nullptr));
  }
  // Announces sleep. False: something is there, do not sleep.
  bool prepare_to_wait() {
    asleep_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return rte_ring_empty(ring_);
  }
  void awake() {
    asleep_.store(false, std::memory_order_relaxed);
    eventfd_t count;
    ::eventfd_read(fd_.get(), &count);  // non-blocking; nothing to read is the common case
  }
  int wait_fd() const { return fd_.get(); }

 private:
  Mailbox(rte_ring* ring, Fd fd) : ring_(ring), fd_(std::move(fd)) {}
  rte_ring* ring_;
  Fd fd_;
  std::atomic<bool> asleep_{false};
};

}  // namespace espalier::dataplane
