#include "dataplane/transmitter.hpp"

#include <immintrin.h>
#include <rte_ethdev.h>

#include <bit>

namespace espalier::dataplane {
namespace {

void put_ethernet(rte_mbuf* mbuf, const Interface& out, const MacAddress& destination, uint16_t ether_type) {
  const uint16_t l2_bytes = out.vlan_id ? kMaxL2Bytes : sizeof(EthernetHeader);
  auto* at = reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf, l2_bytes));
  auto& ethernet = *reinterpret_cast<EthernetHeader*>(at);
  ethernet.destination = destination;
  ethernet.source = out.mac;
  ethernet.type = be16::from_host(out.vlan_id ? kEtherTypeVlan : ether_type);
  if (!out.vlan_id) return;
  auto& tag = *reinterpret_cast<VlanTag*>(at + sizeof(EthernetHeader));
  tag.control = be16::from_host(out.vlan_id);
  tag.type = be16::from_host(ether_type);
}

class QueueLock {
 public:
  explicit QueueLock(std::atomic_flag* flag) : flag_(flag) {
    while (flag_ && flag_->test_and_set(std::memory_order_acquire)) _mm_pause();
  }
  ~QueueLock() {
    if (flag_) flag_->clear(std::memory_order_release);
  }
  QueueLock(const QueueLock&) = delete;
  QueueLock& operator=(const QueueLock&) = delete;

 private:
  std::atomic_flag* flag_;
};

}  // namespace

void Transmitter::drop(rte_mbuf* mbuf, DropReason reason) {
  if (observer_) [[unlikely]]
    observer_->ended(mbuf, reason);
  const InterfaceIndex in = packet(mbuf).in;
  stats_.drops[in == kNoInterface ? 0 : in.value][static_cast<size_t>(reason)].add(1);
  rte_pktmbuf_free(mbuf);
}

void Transmitter::send_frame(rte_mbuf* mbuf, const Interface& out, const MacAddress& destination,
                             uint16_t ether_type) {
  if (!out.is_up() || out.port == kNoPort || !(*queues_)[out.port].open)
    return drop(mbuf, DropReason::kEgressDown);
  if (rte_pktmbuf_headroom(mbuf) < kMaxL2Bytes) return drop(mbuf, DropReason::kEspTooLong);
  put_ethernet(mbuf, out, destination, ether_type);
  if (observer_ && observer_->wants_sent()) [[unlikely]]
    observer_->sent(mbuf, out.index);
  Buffer& buffer = buffers_[out.port];
  buffer.packets[buffer.count] = mbuf;
  buffer.sent[buffer.count] = {out.index.value, mbuf->pkt_len};
  waiting_ |= uint64_t{1} << out.port;
  if (++buffer.count == kBurst) flush(out.port);
}

// Neighbours of a burst mostly leave by one interface.
void Transmitter::count_sent(std::span<const Sent> sent) {
  for (size_t first = 0, last = 0; first < sent.size(); first = last) {
    uint64_t bytes = 0;
    for (; last < sent.size() && sent[last].interface == sent[first].interface; ++last)
      bytes += sent[last].bytes;
    stats_.sent[sent[first].interface].add(last - first, bytes);
  }
}

// How many it took, which are its own from now on.
uint16_t Transmitter::give_to_device(uint16_t port, Buffer& buffer) {
  if (send_ == Send::kKeep) {
    rte_pktmbuf_free_bulk(buffer.packets, buffer.count);
    return buffer.count;
  }
  const TransmitQueue& to = (*queues_)[port];
  QueueLock lock(to.lock);
  return rte_eth_tx_burst(port, to.queue, buffer.packets, buffer.count);
}

void Transmitter::flush(uint16_t port) {
  Buffer& buffer = buffers_[port];
  const uint16_t sent = give_to_device(port, buffer);
  count_sent({buffer.sent, sent});
  for (uint16_t i = sent; i < buffer.count; ++i) {
    packet(buffer.packets[i]).is_frame = true;
    drop(buffer.packets[i], DropReason::kTransmitFull);
  }
  buffer.count = 0;
  waiting_ &= ~(uint64_t{1} << port);
}

void Transmitter::flush() {
  while (waiting_) flush(static_cast<uint16_t>(std::countr_zero(waiting_)));
}

}  // namespace espalier::dataplane
