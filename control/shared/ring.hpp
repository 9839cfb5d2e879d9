// Messages between two processes that do not trust each other's memory.
//
// A Ring is a single-producer single-consumer queue of message::Slot in shared memory. Each side keeps its
// own position and the size for itself and only publishes the position; what it reads from the other side is
// compared on every access, and a distance that cannot be makes the ring broken for good. A slot is copied
// out, wiped (keys travel through it), and only then handed back. A producer that is killed inside send() has
// published either the whole slot or nothing.
//
// A Channel is two rings, one per direction, and an eventfd for each receiver. It belongs to one incarnation
// of both processes: when one of them dies, or the channel is broken, a new one is made; none is ever
// resumed. Thread: one per side.
#pragma once

#include <atomic>

#include "control/shared/messages.hpp"
#include "control/shared/segment.hpp"

namespace espalier {

// The positions as they lie in shared memory. They count slots and never wrap.
struct RingPositions {
  alignas(64) std::atomic<uint64_t> head{0};             // written by the producer
  alignas(64) std::atomic<uint64_t> tail{0};             // written by the consumer
  alignas(64) std::atomic<uint32_t> consumer_sleeps{0};  // set by the consumer, cleared by the producer
};
static_assert(sizeof(RingPositions) == 192 && std::atomic<uint64_t>::is_always_lock_free);

class RingProducer {
 public:
  // `slots` lie `count` (a power of two) long in shared memory, like `positions`.
  RingProducer(RingPositions* positions, message::Slot* slots, uint64_t count)
      : positions_(positions), slots_(slots), count_(count) {}
  // False when the ring is full or broken; nothing was sent then.
  bool send(const message::Slot& slot);
  // To be called after send(): whether the consumer sleeps and has to be woken.
  bool must_wake();
  bool broken() const { return broken_; }
  // The consumer finds the ring broken from now on.
  void give_up() { positions_->head.store(head_ + 2 * count_, std::memory_order_seq_cst); }

 private:
  RingPositions* positions_;
  message::Slot* slots_;
  uint64_t count_;
  uint64_t head_ = 0;
  bool broken_ = false;
};

class RingConsumer {
 public:
  RingConsumer(RingPositions* positions, message::Slot* slots, uint64_t count)
      : positions_(positions), slots_(slots), count_(count) {}
  // False when the ring is empty or broken. The slot in shared memory is wiped.
  bool receive(message::Slot& slot);
  // Announces sleep; false when there is something to receive after all (or the ring is broken).
  bool prepare_to_wait();
  bool broken() const { return broken_; }

 private:
  uint64_t available();

  RingPositions* positions_;
  message::Slot* slots_;
  uint64_t count_;
  uint64_t tail_ = 0;
  bool broken_ = false;
};

// What attach() needs on the other side, in the order in which it is passed.
struct ChannelFds {
  Fd memory;
  Fd wake_creator;
  Fd wake_attacher;
};

class Channel {
 public:
  // A new channel of `slots` messages per direction, a power of two up to 65536. Creator's side.
  static Result<Channel> create(uint32_t slots);
  // The other side of a new channel. Its size is what the kernel says of the memfd, positions start at zero.
  static Result<Channel> attach(ChannelFds fds);
  // The creator's side of a channel that a third process made for two others.
  static Result<Channel> attach_as_creator(ChannelFds fds);

  // Never blocks. False when full (try again after receiving) or broken().
  bool send(const message::Slot& slot);
  // Never blocks. False when empty or broken().
  bool receive(message::Slot& slot) { return consumer_.receive(slot); }
  // Readable when the other side sent something after prepare_to_wait().
  int wait_fd() const { return own_wake().get(); }
  // To be called before sleeping on wait_fd(): clears it, sets the flag, looks again. False: do not
  // sleep, receive() first. A broken channel always says false, so look at broken() in the loop.
  bool prepare_to_wait();
  // Before this side forgets the channel for a reason of its own: the other side wakes and finds it broken,
  // and does not wait for ever on it.
  void give_up();
  // The other side gave the channel up, or wrote nonsense into the positions. To be reported, counted and
  // replaced.
  bool broken() const { return producer_.broken() || consumer_.broken(); }
  // Descriptors for the other side, still owned by this channel: memory, wake_creator, wake_attacher.
  std::array<int, 3> descriptors() const {
    return {segment_.fd().get(), wake_creator_.get(), wake_attacher_.get()};
  }

 private:
  enum class Side { kCreator, kAttacher };
  static Result<Channel> attach(Side side, ChannelFds fds);
  Channel(Side side, Segment segment, Fd wake_creator, Fd wake_attacher, uint64_t slots);
  void wake_peer();
  const Fd& own_wake() const { return side_ == Side::kCreator ? wake_creator_ : wake_attacher_; }
  const Fd& peer_wake() const { return side_ == Side::kCreator ? wake_attacher_ : wake_creator_; }

  Side side_;
  Segment segment_;
  Fd wake_creator_;
  Fd wake_attacher_;
  RingProducer producer_;
  RingConsumer consumer_;
};

}  // namespace espalier
