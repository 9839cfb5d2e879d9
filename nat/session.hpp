// A session as it lies in the table: what everybody reads on one cache line, what its owner writes per packet
// on another. All times are milliseconds of the caller's monotonic clock.
#pragma once

#include <atomic>
#include <bit>

#include "control/shared/statistics.hpp"
#include "nat/pending_session.hpp"

namespace espalier::nat {

// Names a session and a direction; a value to keep in flow entries. Whether the session still is the one that
// was meant shows in `generation`.
struct SessionRef {
  uint32_t index = 0;
  uint32_t generation = 0;
  WorkerId owner;
  FlowDirection direction = FlowDirection::kOriginal;
};
static_assert(sizeof(SessionRef) == 12);

struct SessionTuples {
  Tuple original;
  Tuple reply;
};

// A tuple as readers find it while it may be replaced: words that each are whole. Whether they belong
// together shows in the session's generation.
class AtomicTuple {
 public:
  void store(const Tuple& tuple) {
    const auto words = std::bit_cast<Words>(tuple);
    for (size_t i = 0; i < words.size(); ++i) words_[i].store(words[i], std::memory_order_release);
  }
  Tuple load() const {
    Words words;
    for (size_t i = 0; i < words.size(); ++i) words[i] = words_[i].load(std::memory_order_acquire);
    return std::bit_cast<Tuple>(words);
  }

 private:
  using Words = std::array<uint64_t, sizeof(Tuple) / sizeof(uint64_t)>;
  std::array<std::atomic<uint64_t>, sizeof(Tuple) / sizeof(uint64_t)> words_{};
};

enum SessionFlags : uint8_t {
  kSeenReply = 1,
  kAssured = 2,  // established: never makes room for a new flow
};

struct alignas(128) Session {
  // Written by the owner when the session begins and ends, read by everybody.
  AtomicTuple tuples[2];                 // by FlowDirection
  std::atomic<uint32_t> generation{0};   // odd: the session lives
  std::atomic<uint16_t> owner{0};        // WorkerId
  std::atomic<uint32_t> source_rule{0};  // number, 0: none
  std::atomic<uint32_t> destination_rule{0};

  // Written by the owner with every packet. Atomic where `show` reads it.
  alignas(64) std::atomic<uint64_t> expires_ms{0};
  statistics::PacketsBytes traffic[2];  // by FlowDirection
  uint64_t began_ms = 0;
  std::atomic<uint32_t> owned_generation{0};  // `generation` again: a packet need not look at the other line
  uint32_t position = 0;                      // in its owner's list of new or of assured sessions
  std::atomic<TcpTrack> tcp{};
  std::atomic<uint8_t> flags{0};  // SessionFlags
  uint8_t protocol = 0;
};
static_assert(sizeof(Session) == 128);
static_assert(offsetof(Session, expires_ms) == 64);
static_assert(std::atomic<TcpTrack>::is_always_lock_free);

}  // namespace espalier::nat
