// Mempools and packets for tests of what works on mbufs. Needs the EAL (eal_environment.hpp).
#pragma once

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include <string>

#include "dataplane/packet.hpp"
#include "tests/support/bytes.hpp"

namespace espalier::dataplane {

// A mempool as the dataplane makes them; when it goes away, every mbuf must have come back.
class TestPool {
 public:
  TestPool(unsigned mbufs, uint16_t data_room) {
    static int number = 0;
    const std::string name = "test_pool_" + std::to_string(number++);
    pool_ = rte_pktmbuf_pool_create(name.c_str(), mbufs, 0, sizeof(Packet), data_room, SOCKET_ID_ANY);
    if (pool_ == nullptr) throw std::runtime_error("no memory for " + name);
  }
  ~TestPool() {
    EXPECT_EQ(in_use(), 0u) << "mbufs were lost";
    rte_mempool_free(pool_);
  }
  TestPool(const TestPool&) = delete;
  TestPool& operator=(const TestPool&) = delete;

  rte_mempool* get() const { return pool_; }
  unsigned in_use() const { return rte_mempool_in_use_count(pool_); }

  // An IPv4 packet as `parse` leaves it, ports apart.
  rte_mbuf* make(test::ByteView ip_packet, SecurityPath path = kClear) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
    if (mbuf == nullptr) throw std::runtime_error("the test's pool is empty");
    if (ip_packet.size() + kPacketHeadroom > mbuf->buf_len) mbuf->data_off = 0;
    uint8_t* data =
        reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(ip_packet.size())));
    if (data == nullptr) throw std::runtime_error("the packet is too long for the test's pool");
    std::copy(ip_packet.begin(), ip_packet.end(), data);
    packet(mbuf) = dataplane::Packet{};
    packet(mbuf).path = path;
    packet(mbuf).in = InterfaceIndex(1);
    if (ip_packet.size() < sizeof(Ipv4Header)) return mbuf;
    const Ipv4Header& ip = ipv4_header(mbuf);
    packet(mbuf).flags = ip.is_fragment() ? kFragment : 0;
    packet(mbuf).ip_bytes = ip.total_length.host();
    packet(mbuf).l4_offset = ip.header_bytes();
    packet(mbuf).tuple.source = ip.source;
    packet(mbuf).tuple.destination = ip.destination;
    packet(mbuf).tuple.protocol = ip.protocol;
    return mbuf;
  }

 private:
  rte_mempool* pool_;
};

inline test::Bytes bytes_of(rte_mbuf* mbuf) {
  const auto span = bytes(mbuf);
  return {span.begin(), span.end()};
}

}  // namespace espalier::dataplane
