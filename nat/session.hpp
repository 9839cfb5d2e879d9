// A session as it lies in the table: what everybody reads on a cache line for each direction, what its owner
// writes per packet on a third. All times are milliseconds of the caller's monotonic clock.
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
  // Without a branch or a copy: a lookup's comparison seldom fails.
  bool operator==(const Tuple& tuple) const {
    return difference(reinterpret_cast<const std::byte*>(&tuple), std::make_index_sequence<kWords>()) == 0;
  }

 private:
  static constexpr size_t kWords = sizeof(Tuple) / sizeof(uint64_t);
  using Words = std::array<uint64_t, kWords>;

  template <size_t... kIndex>
  uint64_t difference(const std::byte* tuple, std::index_sequence<kIndex...>) const {
    return (... | (word(tuple + sizeof(uint64_t) * kIndex) ^ words_[kIndex].load(std::memory_order_acquire)));
  }
  static uint64_t word(const std::byte* at) {
    uint64_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }

  std::array<std::atomic<uint64_t>, kWords> words_{};
};

enum SessionFlags : uint8_t {
  kSeenReply = 1,
  kAssured = 2,  // established: never makes room for a new flow
  kMasqueraded = 4,
};

// What a lookup by the tuple of one direction reads. Written by the owner when the session begins and ends,
// read by everybody.
struct alignas(64) SessionSide {
  AtomicTuple tuple;
  std::atomic<uint32_t> generation{0};  // odd: the session lives; both sides' are equal but for a moment
  std::atomic<uint32_t> rule{
      0};  // number of the rule that translated the source (original) or the destination
  std::atomic<uint16_t> owner{0};  // WorkerId
};
static_assert(sizeof(SessionSide) == 64);

struct alignas(64) Session {
  SessionSide sides[2];  // by FlowDirection

  // Written by the owner with every packet. Atomic where `show` reads it.
  alignas(64) std::atomic<uint64_t> expires_ms{0};
  statistics::PacketsBytes traffic[2];  // by FlowDirection
  uint64_t began_ms = 0;
  std::atomic<uint32_t> owned_generation{0};  // `generation` again: a packet need not look at the other lines
  uint32_t position = 0;                      // in its owner's list of new or of assured sessions
  std::atomic<TcpTrack> tcp{};
  std::atomic<uint8_t> flags{0};  // SessionFlags
  uint8_t protocol = 0;

  SessionSide& side(FlowDirection d) { return sides[static_cast<size_t>(d)]; }
  const SessionSide& side(FlowDirection d) const { return sides[static_cast<size_t>(d)]; }
};
static_assert(sizeof(Session) == 192);
static_assert(offsetof(Session, expires_ms) == 128);
static_assert(std::atomic<TcpTrack>::is_always_lock_free);

}  // namespace espalier::nat
