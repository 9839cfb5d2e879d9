// Packet buffers are enough for all places where they can be at once.
#include <gtest/gtest.h>

#include "dataplane/gateway.hpp"

namespace espalier::dataplane {
namespace {

GatewayOptions options(uint16_t workers, uint16_t ports) {
  GatewayOptions o;
  o.workers = workers;
  o.ports = ports;
  return o;
}

TEST(PoolSizes, AllDevicesFullLeaveBuffersForTheRest) {
  // 4 ports, 8 workers: 32 receive queues, 36 transmit queues with the main lcore's, 512 descriptors each; 10
  // mailboxes of 1024 and 1024 packets that wait for ARP.
  EXPECT_GT(PoolSizes::of(options(8, 4)).mbufs, (32u + 36u) * 512 + 10 * 1024 + 1024);
  EXPECT_GT(PoolSizes::of(options(32, 16)).mbufs, (512u + 528u) * 512 + 34 * 1024 + 1024);
  GatewayOptions fewer_queues = options(8, 4);
  fewer_queues.rx_queues = 1;
  EXPECT_EQ(PoolSizes::of(options(8, 4)).mbufs - PoolSizes::of(fewer_queues).mbufs, 28u * 512);
}

TEST(PoolSizes, FollowTheLargestMtuAndWhatIsAskedFor) {
  GatewayOptions o = options(1, 1);
  EXPECT_EQ(PoolSizes::of(o).room_bytes, RTE_MBUF_DEFAULT_BUF_SIZE);
  o.largest_mtu_bytes = 9000;
  o.mbufs = 100;
  const PoolSizes sizes = PoolSizes::of(o);
  EXPECT_EQ(sizes.mbufs, 100u);
  EXPECT_GE(sizes.room_bytes, 9000 + kPacketHeadroom);
  EXPECT_GE(sizes.bytes(), 100u * 9128 + sizes.jumbos * 65535u);
}

}  // namespace
}  // namespace espalier::dataplane
