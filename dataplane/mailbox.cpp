#include "dataplane/mailbox.hpp"

#include <rte_errno.h>

namespace espalier::dataplane {

Result<std::unique_ptr<Mailbox>> Mailbox::create(const std::string& name, uint32_t packets, int socket) {
  Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) return fail("eventfd: {}", std::strerror(errno));
  rte_ring* ring = rte_ring_create(name.c_str(), packets, socket, RING_F_SC_DEQ);
  if (!ring) return fail("ring {} for {} packets: {}", name, packets, rte_strerror(rte_errno));
  return std::unique_ptr<Mailbox>(new Mailbox(ring, std::move(fd)));
}

Mailbox::~Mailbox() {
  void* mbuf = nullptr;
  while (rte_ring_sc_dequeue(ring_, &mbuf) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
  rte_ring_free(ring_);
}

}  // namespace espalier::dataplane
