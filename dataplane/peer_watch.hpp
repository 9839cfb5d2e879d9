// Notices that the outer address or port of an SA's peer changed, as a NAT on the way may do at any time
// (RFC 3948 section 3.1.1), and hands the change from the worker that saw it to the main lcore.
#pragma once

#include <atomic>
#include <optional>

#include "control/shared/types.hpp"

namespace espalier::dataplane {

struct OuterEndpoint {
  IpAddress address;
  be16 port;
  friend bool operator==(const OuterEndpoint&, const OuterEndpoint&) = default;
};

class PeerWatch {
 public:
  explicit PeerWatch(const OuterEndpoint& known) : known_port_(known.port.raw()) { set_known(known); }

  // Any worker, for every authentic packet. Of several changes at once the first one is kept.
  void see(const OuterEndpoint& peer) {
    if (is_known(peer)) [[likely]]
      return;
    State idle = State::kIdle;
    if (!state_.compare_exchange_strong(idle, State::kWriting, std::memory_order_acquire)) return;
    seen_ = peer;
    state_.store(State::kSeen, std::memory_order_release);
  }

  // Main lcore: the change that was seen since the last call, which is known from then on.
  std::optional<OuterEndpoint> take() {
    if (state_.load(std::memory_order_acquire) != State::kSeen) return std::nullopt;
    const OuterEndpoint peer = seen_;
    set_known(peer);
    state_.store(State::kIdle, std::memory_order_release);
    return peer;
  }

 private:
  enum class State : uint8_t { kIdle, kWriting, kSeen };
  bool is_known(const OuterEndpoint& peer) const {
    return known_port_.load(std::memory_order_relaxed) == peer.port.raw() &&
           known_low_.load(std::memory_order_relaxed) == peer.address.low.raw() &&
           known_high_.load(std::memory_order_relaxed) == peer.address.high.raw();
  }
  void set_known(const OuterEndpoint& peer) {
    known_high_.store(peer.address.high.raw(), std::memory_order_relaxed);
    known_low_.store(peer.address.low.raw(), std::memory_order_relaxed);
    known_port_.store(peer.port.raw(), std::memory_order_relaxed);
  }
  // Three words that may be seen half changed: then a packet of the known peer is told as a change, once.
  std::atomic<uint64_t> known_high_{0}, known_low_{0};
  std::atomic<uint16_t> known_port_;
  std::atomic<State> state_{State::kIdle};
  OuterEndpoint seen_;
};

}  // namespace espalier::dataplane
