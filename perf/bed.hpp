// Two gateways in one process, back to back, without devices: what A sends on its WAN ring is what B
// receives. The benchmark fills A's LAN ring, polls A's workers, then B's, and reads the time stamp counter
// around each.
//
// Ports are net_ring devices: a ring costs a few cycles per packet, and that cost is measured apart.
#pragma once

#include <rte_ring.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/gateway.hpp"

namespace espalier::perf {

// How packets are protected.
enum class Protection : uint8_t {
  kGcm,           // AES-128-GCM, a policy's tunnel
  kCbcSha256,     // AES-256-CBC with HMAC-SHA-256-128
  kEncapsulated,  // kGcm in UDP (NAT traversal)
  kVti,           // kGcm, the tunnel is a vti interface and the policy a route
};

struct Shape {
  uint16_t workers = 1;
  Protection protection = Protection::kGcm;
  Family family = Family::kIpv4;  // of the packets and of what is around them
  bool source_nat = false;  // SNAT into the policy's selector, a session per flow; IPv4 and policies only
  uint32_t flows = 64;      // UDP flows, spread over the workers' queues
  uint16_t ip_bytes = 64;   // inner packet, before encapsulation
  uint32_t tunnels = 1;  // SAs and policies, at most 1500; flow i belongs to tunnel i % tunnels; kVti has one
  bool operator==(const Shape&) const = default;
};

// One gateway with its shared memory and the rings of its two ports.
class Side {
 public:
  struct Rings {
    std::vector<rte_ring*> receive;   // by worker
    std::vector<rte_ring*> transmit;  // by thread: workers, main lcore
  };
  static Result<std::unique_ptr<Side>> create(const std::string& name, const Shape& shape, Rings lan,
                                              Rings wan);

  dataplane::Gateway& gateway() { return *gateway_; }
  statistics::Segment& statistics() { return *statistics_->as<statistics::Segment>(); }
  // Installs a configuration whose ports are "LAN" and "WAN".
  Result<void> apply(dataplane::Configuration configuration);

 private:
  std::filesystem::path folder_;
  std::optional<Segment> statistics_;
  std::optional<Vault> vault_;
  std::optional<SaCells> cells_;
  std::string lan_device_, wan_device_;
  std::unique_ptr<dataplane::Gateway> gateway_;
};

class Bed {
 public:
  static Result<std::unique_ptr<Bed>> create(const Shape& shape);
  ~Bed();

  // Puts `count` packets (at most kBatch) of the shape into the LAN queue of `worker`.
  void fill(uint16_t worker, uint32_t count);
  // TSC cycles that A's (B's) worker takes for what waits in its queue; polls until it is empty.
  uint64_t run_a(uint16_t worker) { return run(*a_, worker, *a_lan_.receive[worker]); }
  // The WAN is B's second port, whose queue q is dealt to worker q + 1 (PortSet).
  uint64_t run_b(uint16_t worker) {
    const size_t queue = (worker + shape_.workers - 1u) % shape_.workers;
    return run(*b_, worker, *a_wan_.transmit[queue]);
  }
  // Takes what B sent to its LAN and gives the buffers back; how many.
  uint32_t drain(uint16_t worker);
  // What of the above is the rings and buffers alone: TSC cycles for `count` packets received and sent by a
  // port without a gateway.
  uint64_t port_cycles(uint32_t count);

  Side& a() { return *a_; }
  Side& b() { return *b_; }
  static constexpr uint32_t kBatch = 256;

 private:
  Bed(const Shape& shape) : shape_(shape) {}
  Result<void> make_rings();
  Result<void> make_sides();
  Result<void> make_templates();
  static uint64_t run(Side& side, uint16_t worker, rte_ring& queue);

  Shape shape_;
  Side::Rings a_lan_, a_wan_, b_lan_;  // B's WAN receives from A's transmit rings
  std::unique_ptr<Side> a_, b_;
  std::vector<std::vector<std::vector<uint8_t>>> templates_;  // by worker: frames, round-robin
  std::vector<uint32_t> next_template_;
  struct FreePool {
    void operator()(rte_mempool* pool) const { rte_mempool_free(pool); }
  };
  std::unique_ptr<rte_mempool, FreePool> pool_;  // of the frames that come from the LAN
};

}  // namespace espalier::perf
