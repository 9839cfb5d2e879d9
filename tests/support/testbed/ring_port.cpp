#include "tests/support/testbed/ring_port.hpp"

#include <rte_errno.h>
#include <rte_eth_ring.h>

#include <algorithm>
#include <stdexcept>

namespace espalier::test {
namespace {

constexpr unsigned kRingSlots = 1024;
constexpr std::string_view kDriverPrefix = "net_ring_";  // DPDK puts it in front of the name

std::vector<rte_ring*> pointers(const auto& rings) {
  std::vector<rte_ring*> found;
  for (const auto& ring : rings) found.push_back(ring.get());
  return found;
}

Bytes bytes_of(const rte_mbuf* mbuf) {
  Bytes bytes;
  for (; mbuf != nullptr; mbuf = mbuf->next)
    append(bytes, {rte_pktmbuf_mtod(mbuf, const uint8_t*), mbuf->data_len});
  return bytes;
}

}  // namespace

Result<std::vector<RingPort::Ring>> RingPort::make_rings(const std::string& prefix, uint16_t count) {
  std::vector<Ring> rings;
  for (uint16_t i = 0; i < count; ++i) {
    const std::string name = fmt::format("{}_{}", prefix, i);
    rings.emplace_back(
        rte_ring_create(name.c_str(), kRingSlots, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ));
    if (rings.back() == nullptr) return fail("ring {}: {}", name, rte_strerror(rte_errno));
  }
  return rings;
}

Result<RingPort::Opened> RingPort::open(const std::string& device, const MacAddress& mac,
                                        const dataplane::PortOptions& options) {
  auto rings = std::make_unique<RingPort>();
  rings->pool_ = options.pools.front();
  rings->receive_ = TRY(make_rings(device + "_rx", options.rx_queues));
  rings->transmit_ = TRY(make_rings(device + "_tx", options.tx_queues));
  auto rx = pointers(rings->receive_), tx = pointers(rings->transmit_);
  const int id =
      rte_eth_from_rings(device.substr(kDriverPrefix.size()).c_str(), rx.data(),
                         static_cast<unsigned>(rx.size()), tx.data(), static_cast<unsigned>(tx.size()), 0);
  if (id < 0) return fail("{}: {}", device, rte_strerror(rte_errno));
  rings->port_ = static_cast<uint16_t>(id);
  // net_ring is made with an address of zeros, whose place the first address that is added takes.
  rte_ether_addr address;
  std::copy(mac.begin(), mac.end(), address.addr_bytes);
  if (const int error = rte_eth_dev_mac_addr_add(static_cast<uint16_t>(id), &address, 0); error != 0)
    return fail("{}: MAC address: {}", device, rte_strerror(-error));
  return Opened{std::move(rings), TRY(dataplane::Port::open(device, options))};
}

void RingPort::push(uint16_t queue, ByteView frame) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
  if (mbuf == nullptr) throw std::runtime_error("the gateway is out of packet buffers");
  mbuf->port = port_;  // net_ring hands over what is in the ring as it is
  char* const room = rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size()));
  if (room == nullptr || rte_ring_sp_enqueue(receive_.at(queue).get(), mbuf) != 0) {
    rte_pktmbuf_free(mbuf);
    throw std::runtime_error("the frame or the receive queue is too long");
  }
  std::copy(frame.begin(), frame.end(), room);
}

std::vector<Bytes> RingPort::pop() {
  std::vector<Bytes> frames;
  for (const Ring& ring : transmit_) {
    void* mbuf = nullptr;
    while (rte_ring_sc_dequeue(ring.get(), &mbuf) == 0) {
      frames.push_back(bytes_of(static_cast<rte_mbuf*>(mbuf)));
      rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
    }
  }
  return frames;
}

}  // namespace espalier::test
