// The main lcore's end of the channel to espalier-ike (control/shared/messages_ike.hpp).
//
// Nothing here waits for that process. What the ring has no room for waits in a queue: answers and events in
// any case, of datagrams only so many that a flood of them leaves room for the rest; further ones are
// dropped, which IKE is made for (RFC 7296 section 2.1). Its messages are taken as long as there is room for
// their answers as well: a flood keeps the queue full, and must not keep the process from its SAs. Who reads
// nothing for kPatienceMs while something waits, or writes nonsense into the ring, has lost the channel; it
// finds it broken and asks espalierd for another one.
//
// Owner: main lcore.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "control/shared/drop_reason.hpp"
#include "control/shared/messages_ike.hpp"
#include "control/shared/ring.hpp"

namespace espalier::dataplane {

// A datagram of the IKE process, put together from its parts, which come in order and without others between
// them.
class IkeAssembly {
 public:
  // True: the datagram is whole now. Parts are valid (record_check.hpp).
  enum class Outcome : uint8_t { kWaits, kWhole, kRefused };
  Outcome add(const message::IkeDatagram& part);
  const message::IkeDatagram& head() const { return head_; }  // of the whole: addresses and ports
  std::vector<uint8_t> take_bytes() { return std::exchange(bytes_, {}); }
  void clear() { bytes_.clear(); }

 private:
  bool continues(const message::IkeDatagram& part) const;
  message::IkeDatagram head_;
  std::vector<uint8_t> bytes_;
};

class IkeLink {
 public:
  static constexpr size_t kMostDatagramSlots = 1024;  // waiting before datagrams are dropped
  static constexpr size_t kMostUnread = 2048;         // waiting before nothing more is received
  static constexpr size_t kMostSlots = 16384;         // waiting at all
  static constexpr uint64_t kPatienceMs = 10'000;

  // Replaces the channel. What waited was the earlier process's.
  void attach(Channel channel);
  bool connected() const { return channel_.has_value(); }

  // A datagram that came for the gateway: all of its parts or none. kUsedIke, or why it is dropped.
  DropReason deliver(const message::IkeDatagram& head, std::span<const uint8_t> bytes, uint64_t generation);
  // Answers (`request_id` of what is answered) and events (0). Without a process: nothing.
  template <class Payload>
  void send(const Payload& payload, uint64_t request_id, uint64_t generation) {
    if (channel_) queue(message::make(payload, request_id, generation));
  }
  // The next message. None while the other side has so much to read.
  bool receive(message::Slot& slot);

  // Once a round: sends what waits. Why the channel was dropped, or empty.
  std::string_view look_after(uint64_t now_ms);

  // Before sleeping on wait_fd(). False: do not sleep. While the other side has to read first nothing can
  // wake us, and look_after() is called soon enough: there is no descriptor (-1) then, nor without a channel.
  bool prepare_to_wait() { return !may_receive() || channel_->prepare_to_wait(); }
  int wait_fd() const { return may_receive() ? channel_->wait_fd() : -1; }

 private:
  bool may_receive() const { return channel_ && waiting_.size() < kMostUnread; }
  void queue(const message::Slot& slot);
  bool flush();

  std::optional<Channel> channel_;
  std::deque<message::Slot> waiting_;
  uint64_t stuck_since_ms_ = 0;  // something waits and nothing was read; 0: not so
};

}  // namespace espalier::dataplane
