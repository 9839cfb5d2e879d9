// The outer address and port that an inbound SA's peer has behind its NAT, as its last authentic packet
// showed them (RFC 3948 section 3.1.1 note), in the SA's cell.
//
// One writer: the dataplane's main lcore. Workers and other processes read at the same time. There are two
// copies, and a version that says which of them counts: learn() fills the other one and then raises the
// version, so a writer killed at any instruction leaves the old peer or the new one, and no reader ever waits
// for it. All zero is valid: nothing was learned.
#pragma once

#include <atomic>
#include <optional>

#include "control/shared/types.hpp"

namespace espalier {

class alignas(64) LearnedPeer {
 public:
  struct Endpoint {
    IpAddress address;
    uint16_t port = 0;  // UDP, host order
    friend bool operator==(const Endpoint&, const Endpoint&) = default;
  };

  // The writer only.
  void learn(const Endpoint& peer) {
    const uint32_t next = version_.load(std::memory_order_relaxed) + 1;
    Copy& copy = copies_[next & 1];
    copy.high.store(peer.address.high.raw(), std::memory_order_release);
    copy.low.store(peer.address.low.raw(), std::memory_order_release);
    copy.port.store(peer.port, std::memory_order_release);
    version_.store(next, std::memory_order_release);
  }
  void forget() { learn({}); }

  // Any thread. Every load is an acquire, so that none moves behind the second look at the version; a copy
  // is only overwritten after that has changed. std::nullopt: the peer is where the SA's record says.
  std::optional<Endpoint> get() const {
    uint32_t version = version_.load(std::memory_order_acquire);
    for (;;) {
      const Copy& copy = copies_[version & 1];
      Endpoint peer;
      peer.address.high = be64::from_raw(copy.high.load(std::memory_order_acquire));
      peer.address.low = be64::from_raw(copy.low.load(std::memory_order_acquire));
      peer.port = static_cast<uint16_t>(copy.port.load(std::memory_order_acquire));
      const uint32_t now = version_.load(std::memory_order_acquire);
      if (now == version) return peer == Endpoint{} ? std::nullopt : std::optional(peer);
      version = now;
    }
  }

 private:
  struct Copy {
    std::atomic<uint64_t> high, low;  // of the address, as they lie in an IpAddress
    std::atomic<uint32_t> port;
  };
  std::atomic<uint32_t> version_;  // copies_[version_ & 1] counts
  Copy copies_[2];
};
static_assert(sizeof(LearnedPeer) == 64);

}  // namespace espalier
