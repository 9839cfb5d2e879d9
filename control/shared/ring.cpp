#include "control/shared/ring.hpp"

#include <sys/eventfd.h>

#include "control/shared/kill_point.hpp"

namespace espalier {
namespace {

constexpr uint64_t kMaxSlots = 65536;

// Channel memory: the positions of both rings, then the slots of both. Ring 0 goes from creator to attacher.
constexpr size_t kPositionsBytes = 2 * sizeof(RingPositions);

constexpr size_t channel_bytes(uint64_t slots) {
  return kPositionsBytes + 2 * slots * sizeof(message::Slot);
}

// Slots per ring in a memfd of this size, 0 when no channel has it.
uint64_t slots_in(size_t bytes) {
  if (bytes <= kPositionsBytes) return 0;
  const uint64_t slots = (bytes - kPositionsBytes) / (2 * sizeof(message::Slot));
  return slots <= kMaxSlots && std::has_single_bit(slots) && channel_bytes(slots) == bytes ? slots : 0;
}

}  // namespace

bool RingProducer::send(const message::Slot& slot) {
  if (broken_) return false;
  const uint64_t used = head_ - positions_->tail.load(std::memory_order_acquire);
  if (used >= count_) {
    broken_ = used > count_;  // the consumer claims a place where it cannot be
    return false;
  }
  std::memcpy(&slots_[head_ & (count_ - 1)], &slot, sizeof slot);
  KILL_POINT("ring.send.before_publish");
  positions_->head.store(++head_, std::memory_order_seq_cst);
  KILL_POINT("ring.send.after_publish");
  return true;
}

bool RingProducer::must_wake() {
  // We: head, then the flag. prepare_to_wait(): the flag, then head. All four in one total order (seq_cst),
  // so either we see the flag or the consumer sees our slot.
  if (positions_->consumer_sleeps.load(std::memory_order_seq_cst) == 0) return false;
  positions_->consumer_sleeps.store(0, std::memory_order_relaxed);
  return true;
}

uint64_t RingConsumer::available() {
  const uint64_t ready = positions_->head.load(std::memory_order_seq_cst) - tail_;
  if (ready > count_) broken_ = true;
  return broken_ ? 0 : ready;
}

bool RingConsumer::receive(message::Slot& slot) {
  if (available() == 0) return false;
  message::Slot& shared = slots_[tail_ & (count_ - 1)];
  std::memcpy(&slot, &shared, sizeof slot);
  KILL_POINT("ring.receive.before_wipe");
  ::explicit_bzero(&shared, sizeof shared);
  KILL_POINT("ring.receive.before_release");
  positions_->tail.store(++tail_, std::memory_order_release);
  return true;
}

bool RingConsumer::prepare_to_wait() {
  positions_->consumer_sleeps.store(1, std::memory_order_seq_cst);
  if (available() == 0 && !broken_) return true;
  positions_->consumer_sleeps.store(0, std::memory_order_relaxed);
  return false;
}

Channel::Channel(Side side, Segment segment, Fd wake_creator, Fd wake_attacher, uint64_t slots)
    : side_(side),
      segment_(std::move(segment)),
      wake_creator_(std::move(wake_creator)),
      wake_attacher_(std::move(wake_attacher)),
      producer_(nullptr, nullptr, 0),
      consumer_(nullptr, nullptr, 0) {
  auto* positions = reinterpret_cast<RingPositions*>(segment_.data());
  auto* first = reinterpret_cast<message::Slot*>(segment_.data() + kPositionsBytes);
  const size_t out = side == Side::kCreator ? 0 : 1;
  producer_ = RingProducer(&positions[out], first + out * slots, slots);
  consumer_ = RingConsumer(&positions[1 - out], first + (1 - out) * slots, slots);
}

Result<Channel> Channel::create(uint32_t slots) {
  if (!std::has_single_bit(slots) || slots > kMaxSlots)
    return fail("a channel of {} slots: not a power of two up to {}", slots, kMaxSlots);
  auto segment = TRY(Segment::create("espalier-channel", channel_bytes(slots), Segment::Secrecy::kSecret));
  Fd wake_creator(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Fd wake_attacher(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_creator || !wake_attacher) return fail("eventfd: {}", errno_text());
  return Channel(Side::kCreator, std::move(segment), std::move(wake_creator), std::move(wake_attacher),
                 slots);
}

Result<Channel> Channel::attach(ChannelFds fds) {
  return attach(Side::kAttacher, std::move(fds));
}

Result<Channel> Channel::attach_as_creator(ChannelFds fds) {
  return attach(Side::kCreator, std::move(fds));
}

Result<Channel> Channel::attach(Side side, ChannelFds fds) {
  auto segment = TRY(Segment::attach(std::move(fds.memory), {kPositionsBytes, channel_bytes(kMaxSlots)},
                                     Segment::Secrecy::kSecret));
  const uint64_t slots = slots_in(segment.bytes());
  if (slots == 0) return fail("channel: a memfd of {} bytes is no channel", segment.bytes());
  if (!fds.wake_creator || !fds.wake_attacher) return fail("channel: an eventfd is missing");
  return Channel(side, std::move(segment), std::move(fds.wake_creator), std::move(fds.wake_attacher), slots);
}

// EAGAIN means that the counter is at its maximum: then the other side's descriptor is readable anyway.
void Channel::wake_peer() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(peer_wake().get(), &one, sizeof one);
}

bool Channel::send(const message::Slot& slot) {
  if (!producer_.send(slot)) return false;
  if (producer_.must_wake()) wake_peer();
  return true;
}

void Channel::give_up() {
  producer_.give_up();
  wake_peer();
}

bool Channel::prepare_to_wait() {
  uint64_t count;
  [[maybe_unused]] const ssize_t drained =
      ::read(wait_fd(), &count, sizeof count);  // EAGAIN: nothing to clear
  return consumer_.prepare_to_wait();
}

}  // namespace espalier
