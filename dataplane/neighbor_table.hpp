// Neighbours (ARP, neighbour discovery): who has which MAC address behind which interface.
//
// Writer: the main lcore, which creates, resolves, probes and ages entries (neighbor_resolver.hpp). Readers:
// all workers, without locks: an entry's answer is one 64-bit word (MAC address or why there is none, usable
// bit, generation), so that workers drop by themselves what the main lcore would only drop. A flow keeps a
// NeighborRef; when the slot was given to another neighbour in between, the generation differs and the flow
// is decided anew. Slots are given out again in the order they were freed: with half of them free, as
// NeighborResolver leaves them, 2^29 removals pass before a slot has a generation again.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <memory>

#include "control/shared/types.hpp"

namespace espalier::dataplane {

// Slot (16 bits) and generation (15 bits) of an entry; kNone32 is none.
using NeighborRef = Id<struct NeighborRefTag, uint32_t>;
inline constexpr NeighborRef kNoNeighbor{kNone32};

class NeighborTable {
 public:
  static constexpr uint32_t kSlots = 1u << 16;

  // Allocates some 4 MB.
  NeighborTable();
  ~NeighborTable();
  NeighborTable(const NeighborTable&) = delete;
  NeighborTable& operator=(const NeighborTable&) = delete;

  // Any thread. The entry of (interface, address) if there is one, usable or not. May miss one while the main
  // lcore is changing the table: whoever misses asks the main lcore, which knows.
  NeighborRef find(InterfaceIndex interface, IpAddress address) const;

  enum class State : uint8_t {
    kUnresolved,  // the main lcore asks, and takes packets that wait for the answer
    kQueueFull,   // the same, but it holds as many packets as it may
    kFailed,      // nobody answered lately
    kUsable,
    kGone,
  };
  // Any thread. Copies the MAC address when kUsable and notes that the entry is in use (so that it is probed
  // before it goes stale) unless `uses` is false. kGone: removed, and the slot may belong to somebody else
  // now.
  State resolve(NeighborRef ref, MacAddress& mac, bool uses = true) const;

  // Main lcore only, as all that follow. The entry, made (unresolved) when there is none; kNoNeighbor when
  // the table is full.
  NeighborRef find_or_add(InterfaceIndex interface, IpAddress address);
  // The next three expect an entry that was not removed.
  void set_usable(NeighborRef ref, const MacAddress& mac);
  // `why`: kUnresolved, kQueueFull or kFailed.
  void set_unusable(NeighborRef ref, State why = State::kUnresolved);
  void remove(NeighborRef ref);
  // Whether a worker used it since the last call.
  bool take_used(NeighborRef ref);

 private:
  static constexpr uint32_t kBuckets = kSlots;
  static constexpr uint32_t kEnd = kNone32;

  struct Key {
    uint32_t interface;  // bit 31 set: 0 marks the entries that are free
    uint64_t high, low;  // of the address, as they lie in memory
  };
  struct alignas(64) Entry {
    // Bit 48: usable; bits 0-47: then the MAC address, else a State; bits 49-63: generation.
    std::atomic<uint64_t> answer{0};
    // The key; `interface` is written last and cleared first.
    std::atomic<uint64_t> high{0}, low{0};
    std::atomic<uint32_t> interface { 0 };
    std::atomic<uint32_t> next{kEnd};  // slot of the next entry in the bucket
    mutable std::atomic<bool> used{false};
    bool has(const Key& key) const;
  };
  static Key key_of(InterfaceIndex interface, IpAddress address);
  Entry& entry(NeighborRef ref) const;
  uint32_t bucket_of(const Key& key) const;
  NeighborRef find(const Key& key) const;

  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<std::atomic<uint32_t>[]> buckets_;  // slot of each bucket's first entry
  // Free slots in the order they were freed; main lcore only.
  std::unique_ptr<uint16_t[]> free_;
  uint32_t free_head_ = 0;  // goes round mod kSlots
  uint32_t free_count_ = kSlots;
  __m128i seed_;  // of the hash: nobody on the link can choose addresses of one bucket
};

}  // namespace espalier::dataplane
