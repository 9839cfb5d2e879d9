// A network port without a device: DPDK's net_ring over rings that the test fills and empties. Frames that a
// test pushes are received by the gateway; frames that the gateway sends are popped by the test.
//
// Owner: the test's thread, which also polls the gateway. The EAL must be up; a RingPort outlives the gateway
// that opened its port.
#pragma once

#include <rte_ring.h>

#include <memory>
#include <vector>

#include "dataplane/ports.hpp"
#include "tests/support/bytes.hpp"

namespace espalier::test {

class RingPort {
 public:
  // Makes the device and opens it as `options` say. `device` is
  // "net_ring_NAME", unique in the process, and ends in a digit.
  struct Opened;
  static Result<Opened> open(const std::string& device, const MacAddress& mac,
                             const dataplane::PortOptions& options);

  // Puts a frame into a receive queue. Throws std::out_of_range for an unknown queue, std::runtime_error when
  // the queue or the buffers are full.
  void push(uint16_t queue, ByteView frame);
  // All frames that were sent since the last call: queue by queue, in order.
  std::vector<Bytes> pop();

 private:
  struct FreeRing {
    void operator()(rte_ring* ring) const { rte_ring_free(ring); }
  };
  using Ring = std::unique_ptr<rte_ring, FreeRing>;
  static Result<std::vector<Ring>> make_rings(const std::string& prefix, uint16_t count);

  rte_mempool* pool_ = nullptr;  // the gateway's
  uint16_t port_ = 0;            // DPDK's number
  std::vector<Ring> receive_;
  std::vector<Ring> transmit_;
};

struct RingPort::Opened {
  std::unique_ptr<RingPort> rings;
  dataplane::Port port;
};

}  // namespace espalier::test
