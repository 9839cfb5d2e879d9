#include "dataplane/ike_link.hpp"

#include <algorithm>

namespace espalier::dataplane {

// --- IkeAssembly

bool IkeAssembly::continues(const message::IkeDatagram& part) const {
  return part.offset == bytes_.size() && part.total_bytes == head_.total_bytes && part.local == head_.local &&
         part.remote == head_.remote && part.local_port == head_.local_port &&
         part.remote_port == head_.remote_port;
}

// A first part begins a datagram, whatever came before.
IkeAssembly::Outcome IkeAssembly::add(const message::IkeDatagram& part) {
  if (part.offset == 0) {
    head_ = part;
    bytes_.clear();
    bytes_.reserve(part.total_bytes);
  } else if (bytes_.empty() || !continues(part)) {
    bytes_.clear();
    return Outcome::kRefused;
  }
  bytes_.insert(bytes_.end(), part.bytes, part.bytes + part.part_bytes);
  return bytes_.size() == head_.total_bytes ? Outcome::kWhole : Outcome::kWaits;
}

// --- IkeLink

void IkeLink::attach(Channel channel) {
  channel_ = std::move(channel);
  waiting_.clear();
  stuck_since_ms_ = 0;
}

DropReason IkeLink::deliver(const message::IkeDatagram& head, std::span<const uint8_t> bytes,
                            uint64_t generation) {
  constexpr size_t kPart = message::IkeDatagram::kPartBytes;
  if (!channel_) return DropReason::kIkeAbsent;
  if (waiting_.size() + (bytes.size() + kPart - 1) / kPart > kMostDatagramSlots) return DropReason::kIkeFull;
  message::IkeReceived received{.part = head};
  message::IkeDatagram& part = received.part;
  part.total_bytes = static_cast<uint32_t>(bytes.size());
  for (size_t at = 0; at < bytes.size(); at += kPart) {
    part.offset = static_cast<uint32_t>(at);
    part.part_bytes = static_cast<uint16_t>(std::min(kPart, bytes.size() - at));
    std::ranges::copy(bytes.subspan(at, part.part_bytes), part.bytes);
    queue(message::make(received, 0, generation));
  }
  return DropReason::kUsedIke;
}

void IkeLink::queue(const message::Slot& slot) {
  if (waiting_.empty() && channel_->send(slot)) return;
  waiting_.push_back(slot);
}

// True: something went out, or nothing waits.
bool IkeLink::flush() {
  bool moved = waiting_.empty();
  for (; !waiting_.empty() && channel_->send(waiting_.front()); moved = true) waiting_.pop_front();
  return moved;
}

bool IkeLink::receive(message::Slot& slot) {
  return may_receive() && channel_->receive(slot);
}

std::string_view IkeLink::look_after(uint64_t now_ms) {
  if (!channel_) return {};
  if (flush())
    stuck_since_ms_ = 0;
  else if (stuck_since_ms_ == 0)
    stuck_since_ms_ = std::max<uint64_t>(now_ms, 1);
  const bool silent = stuck_since_ms_ != 0 && now_ms >= stuck_since_ms_ + kPatienceMs;
  const std::string_view why = channel_->broken()             ? "it wrote nonsense into the ring"
                               : waiting_.size() > kMostSlots ? "too much waits for it"
                               : silent                       ? "it reads nothing"
                                                              : std::string_view{};
  if (!why.empty()) {
    channel_->give_up();
    channel_.reset();
    waiting_.clear();
  }
  return why;
}

}  // namespace espalier::dataplane
