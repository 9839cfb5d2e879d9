// A port: one network device that DPDK drives, a NIC by its PCI address or a virtual device by its vdev
// string. Opened and closed while the workers run, since `apply` adds and removes ports.
//
// Each receive queue belongs to one worker, each transmit queue to at most one; the functions of a queue are
// for its worker, all others for the main lcore. Frames carry the VLAN tag in the data and no FCS. The MTU
// counts from the IP header: frames may be kFrameOverhead longer.
//
// Sleeping until a packet comes (worker):
//     port.arm(q)                        // from now on a frame makes wait_fd readable
//     if (rx_burst finds something)      // what came before arm(): nothing is missed
//       disarm and go on
//     epoll_wait on wait_fd of all queues
//     port.disarm(q)                     // also takes the event off the descriptor
#pragma once

#include <rte_ethdev.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "control/shared/error.hpp"
#include "dataplane/af_packet.hpp"
#include "dataplane/interfaces.hpp"
#include "dataplane/packet.hpp"

namespace espalier::dataplane {

inline constexpr uint32_t kFrameOverhead = kMaxL2Bytes;  // Ethernet header and one VLAN tag

// The data room (headroom included) that mbufs need to receive frames of this MTU on any device.
uint16_t mbuf_data_room(uint32_t mtu_bytes);

struct PortOptions {
  uint16_t rx_queues = 1;  // wanted; a device with fewer gets what it has
  uint16_t tx_queues = 1;
  static constexpr uint16_t kDescriptors = 512;
  uint16_t descriptors = kDescriptors;  // per queue, wanted; few, so that few mbufs circulate
  uint32_t mtu_bytes = 1500;
  bool promiscuous = false;
  // Queue q receives into pools[q % size]; each with mbuf_data_room(mtu_bytes) at least.
  std::span<rte_mempool* const> pools{};
};

struct PortStatistics {
  uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0;
  uint64_t missed = 0;    // received while the queue was full
  uint64_t no_mbufs = 0;  // received while the pool was empty
  uint64_t rx_errors = 0, tx_errors = 0;
};

class Port {
 public:
  // `device`: "0000:03:00.0", "net_af_packet,iface=veth0", "net_null0,copy=1"; a vdev without a number gets
  // one. Probes, configures and starts the device, and brings the link up. Errors say what the driver said;
  // the device is then left as it was found.
  static Result<Port> open(std::string_view device, const PortOptions& options);
  // Stops, closes and unplugs. Workers must not use the queues any more.
  ~Port();
  Port(Port&& other) noexcept;
  Port& operator=(Port&& other) noexcept;

  uint16_t id() const { return id_; }
  uint16_t rx_queues() const { return rx_queues_; }
  uint16_t tx_queues() const { return tx_queues_; }
  MacAddress mac() const;
  int numa_node() const;  // 0 when the device has none
  std::string_view device() const { return device_; }
  // What the device computes on the way out when the mbuf asks for it (RTE_MBUF_F_TX_IP_CKSUM, ..._L4_MASK).
  bool computes_ipv4_checksum() const { return tx_offloads_ & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM; }
  bool computes_l4_checksums() const {
    constexpr uint64_t kBoth = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
    return (tx_offloads_ & kBoth) == kBoth;
  }

  // Worker. Returns how many packets were received, or taken; those not taken stay the caller's.
  uint16_t rx_burst(uint16_t queue, MbufSpan burst) {
    return rte_eth_rx_burst(id_, queue, burst.data(), static_cast<uint16_t>(burst.size()));
  }
  uint16_t tx_burst(uint16_t queue, MbufSpan burst) {
    return rte_eth_tx_burst(id_, queue, burst.data(), static_cast<uint16_t>(burst.size()));
  }

  // Worker. The descriptor to epoll (EPOLLIN) while idle; none when the device can only be polled.
  std::optional<int> wait_fd(uint16_t queue) const;
  void arm(uint16_t queue) const;
  void disarm(uint16_t queue) const;

  // The link's state as of the last poll_link().
  bool is_link_up() const { return link_up_; }
  // Asks the device without waiting; true when the state changed.
  bool poll_link();
  // Administratively; tolerated when the device has no switch.
  Result<void> set_link(bool up);
  // While workers use the queues. Errors: larger than the mbufs, the device or its rings take, or the device
  // must be stopped for it; opening the port again then helps.
  Result<void> set_mtu(uint32_t mtu_bytes);
  uint32_t mtu_bytes() const { return mtu_bytes_; }
  PortStatistics statistics();

 private:
  enum class Wakeup : uint8_t { kNone, kSocket, kInterrupt };

  Port() = default;
  Result<void> probe(const PortOptions& options);
  Result<void> attach(const std::string& devargs);
  Result<void> claim();
  Result<void> check_pools(const PortOptions& options);
  Result<void> start(const PortOptions& options);
  Result<void> start_device(const PortOptions& options, bool interrupts);
  Result<void> configure(const PortOptions& options, bool interrupts);
  Result<void> set_up_queues(const PortOptions& options);
  Result<void> keep_vlan_tags();
  Result<void> set_device_mtu(uint32_t mtu_bytes);
  bool has_interrupts() const;
  void drain();
  void close();

  std::string device_;  // as configured
  std::string name_;    // DPDK's
  uint16_t id_ = kNoPort;
  uint16_t rx_queues_ = 0;
  uint16_t tx_queues_ = 0;
  uint32_t mtu_bytes_ = 0;
  uint32_t largest_mtu_bytes_ = 0;  // that mbufs and rings have room for
  uint64_t tx_offloads_ = 0;
  Wakeup wakeup_ = Wakeup::kNone;
  bool started_ = false;
  bool link_up_ = false;
  uint64_t missed_ = 0;  // of net_af_packet, whose driver does not count it
  std::optional<AfPacketInterface> linux_;
};

}  // namespace espalier::dataplane
