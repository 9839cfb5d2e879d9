// Mempools and packets for tests of what works on mbufs. Needs the EAL (eal_environment.hpp).
#pragma once

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include <string>

#include "dataplane/ipv6.hpp"
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

  // An IP packet as `parse` leaves it, ports apart.
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
    if (ip_packet.size() >= sizeof(Ipv4Header)) parse(mbuf);
    return mbuf;
  }

 private:
  static void parse(rte_mbuf* mbuf) {
    if (is_ipv4(mbuf))
      parse_ipv4(mbuf);
    else if (mbuf->data_len >= sizeof(Ipv6Header))
      parse_ipv6(mbuf);
  }
  static void parse_ipv4(rte_mbuf* mbuf) {
    const Ipv4Header& ip = ipv4_header(mbuf);
    packet(mbuf).flags = ip.is_fragment() ? kFragment : 0;
    packet(mbuf).ip_bytes = ip.total_length.host();
    packet(mbuf).l4_offset = ip.header_bytes();
    packet(mbuf).tuple = {.source = ip.source,
                          .destination = ip.destination,
                          .source_port = {},
                          .destination_port = {},
                          .protocol = ip.protocol};
  }
  static void parse_ipv6(rte_mbuf* mbuf) {
    const Ipv6Header& ip = ipv6_header(mbuf);
    const Ipv6Headers headers = find_ipv6_headers(bytes(mbuf));
    packet(mbuf).flags = headers.is_fragment() ? kFragment : 0;
    packet(mbuf).ip_bytes = static_cast<uint16_t>(sizeof ip + ip.payload_length.host());
    packet(mbuf).l4_offset = headers.l4_offset;
    packet(mbuf).tuple = {.source = ip.source,
                          .destination = ip.destination,
                          .source_port = {},
                          .destination_port = {},
                          .protocol = headers.protocol};
  }

  rte_mempool* pool_;
};

inline test::Bytes bytes_of(rte_mbuf* mbuf) {
  const auto span = bytes(mbuf);
  return {span.begin(), span.end()};
}

}  // namespace espalier::dataplane
