// Packets on their way from a thread that sees them to the main lcore: a bounded ring of bytes, in which each
// record lies in one piece. Who writes never waits: without room there is nothing to write to.
//
// One producer (a worker, or the main lcore itself), one consumer (the main lcore).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace espalier::dataplane {

class CaptureRing {
 public:
  // `bytes`: a power of two. Memory is taken as it is first written to.
  explicit CaptureRing(uint32_t bytes);

  // Producer. Room for a record of so many bytes, 8-byte aligned, until commit() or the next reserve(); empty
  // when there is none.
  std::span<uint8_t> reserve(uint32_t bytes);
  // What was reserved is written.
  void commit();

  // Consumer. The oldest record, empty if there is none; it stays until pop().
  std::span<const uint8_t> front();
  void pop();

 private:
  // In front of each record, and where the rest of the ring was too short for one.
  struct Prefix {
    uint32_t record_bytes;  // kSkip: go on at the ring's beginning
    uint32_t reserved;
  };
  static constexpr uint32_t kSkip = UINT32_MAX;
  static uint64_t rounded(uint64_t bytes) { return (bytes + 7) & ~uint64_t{7}; }
  Prefix& prefix_at(uint64_t position) {
    return *reinterpret_cast<Prefix*>(&memory_[position & (capacity_ - 1)]);
  }

  uint64_t capacity_;
  std::unique_ptr<uint8_t[]> memory_;
  uint64_t reserved_at_ = 0;  // owner: producer
  uint32_t reserved_bytes_ = 0;
  // Positions count bytes and never wrap.
  alignas(64) std::atomic<uint64_t> head_{0};  // written by the producer
  alignas(64) std::atomic<uint64_t> tail_{0};  // written by the consumer
};

}  // namespace espalier::dataplane
