#include "dataplane/tap/capture_ring.hpp"

namespace espalier::dataplane {

CaptureRing::CaptureRing(uint32_t bytes)
    : capacity_(bytes), memory_(std::make_unique_for_overwrite<uint8_t[]>(bytes)) {}

std::span<uint8_t> CaptureRing::reserve(uint32_t bytes) {
  const uint64_t head = head_.load(std::memory_order_relaxed);
  const uint64_t wanted = sizeof(Prefix) + rounded(bytes);
  const uint64_t to_end = capacity_ - (head & (capacity_ - 1));
  const uint64_t skipped = wanted <= to_end ? 0 : to_end;
  const uint64_t used = head - tail_.load(std::memory_order_acquire);
  if (used + skipped + wanted > capacity_) return {};
  if (skipped != 0) prefix_at(head) = {.record_bytes = kSkip, .reserved = 0};
  reserved_at_ = head + skipped;
  reserved_bytes_ = bytes;
  return {reinterpret_cast<uint8_t*>(&prefix_at(reserved_at_) + 1), bytes};
}

void CaptureRing::commit() {
  prefix_at(reserved_at_) = {.record_bytes = reserved_bytes_, .reserved = 0};
  head_.store(reserved_at_ + sizeof(Prefix) + rounded(reserved_bytes_), std::memory_order_release);
}

std::span<const uint8_t> CaptureRing::front() {
  uint64_t tail = tail_.load(std::memory_order_relaxed);
  if (tail == head_.load(std::memory_order_acquire)) return {};
  if (prefix_at(tail).record_bytes == kSkip) {
    tail += capacity_ - (tail & (capacity_ - 1));
    tail_.store(tail, std::memory_order_release);
  }
  const Prefix& prefix = prefix_at(tail);
  return {reinterpret_cast<const uint8_t*>(&prefix + 1), prefix.record_bytes};
}

void CaptureRing::pop() {
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  const uint64_t record = sizeof(Prefix) + rounded(prefix_at(tail).record_bytes);
  tail_.store(tail + record, std::memory_order_release);
}

}  // namespace espalier::dataplane
