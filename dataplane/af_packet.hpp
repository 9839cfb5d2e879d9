// What net_af_packet, DPDK's driver for a Linux interface, does not do by itself. It is the port of tests,
// labs and of hosts without a DPDK device.
//
// - Its rings must be told the frame size; the default cuts off frames above 1500 bytes.
// - Its sockets join a fanout group that asks the kernel to put fragments together. A gateway must see them
// as
//   they came; a setsockopt() in front of libc's takes that flag off (af_packet.cpp).
// - It hands up what the host itself sends over the interface; a socket filter stops that.
// - It knows neither the link's state (before DPDK 24.11) nor an MTU above 1500 nor how many packets were
// lost.
// - Its sockets can be slept on: a ring with a frame in it is readable. find_queues() finds them.
//
// The peer of a veth pair must segment and checksum itself (`ethtool -K ... tso off gso off tx off`): the
// driver hands up super-frames cut off and partial checksums unfinished.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/shared/error.hpp"
#include "control/shared/fd.hpp"

namespace espalier::dataplane {

// The Linux interface behind one net_af_packet port. Owner: main lcore, but for the sockets of queue(), which
// the queue's worker sleeps on.
class AfPacketInterface {
 public:
  static constexpr std::string_view kDriver = "net_af_packet";

  // The interface that `device` ("net_af_packet,iface=veth0") names.
  static Result<AfPacketInterface> open(std::string_view device);

  // To be called right before the driver opens its sockets, and right after; no other thread may open packet
  // sockets on the interface in between. Errors: their number is not `queues`.
  void before_probe();
  Result<void> find_queues(uint16_t queues);
  // The driver's socket of this queue; readable while a received frame waits in its ring.
  int queue(uint16_t index) const { return queues_[index]; }
  uint16_t queues() const { return static_cast<uint16_t>(queues_.size()); }
  // A link that went down leaves an error on the sockets that keeps them readable; takes it off.
  static void clear_error(int queue);

  Result<void> set_mtu(uint32_t mtu_bytes) const;
  Result<void> set_up(bool up) const;
  // Up, with carrier, and still the interface that was opened. False when it is gone.
  bool is_running() const;
  // Frames that found the rings full, since the last call.
  uint64_t take_missed() const;

  // What to append to `device` for the driver. Errors: `device` already says something of it.
  static Result<std::string> driver_arguments(std::string_view device, uint16_t queues, uint32_t mtu_bytes);
  // The size of a ring's frame for this MTU, and the largest MTU for a ring's frame.
  static uint32_t ring_frame_bytes(uint32_t mtu_bytes);
  static uint32_t mtu_of_ring(uint32_t frame_bytes);

 private:
  AfPacketInterface() = default;
  std::string name_;
  unsigned index_ = 0;
  Fd control_;               // for ioctl
  std::set<int> others_;     // packet sockets on the interface that are not the driver's
  std::vector<int> queues_;  // owned by the driver
};

}  // namespace espalier::dataplane
