#include "dataplane/neighbor_table.hpp"

#include <nmmintrin.h>

#include <cassert>

namespace espalier::dataplane {
namespace {

constexpr uint64_t kNoKey = 0;  // bit 63 marks the keys that are in use
constexpr uint64_t kUsable = uint64_t{1} << 48;
constexpr unsigned kGenerationShift = 49;
constexpr uint32_t kGenerationMask = 0x7fff;

uint64_t key_of(InterfaceIndex interface, Ipv4Address address) {
  return uint64_t{1} << 63 | uint64_t{interface.value} << 32 | address.be.raw();
}
uint32_t slot_of(NeighborRef ref) {
  return ref.value & 0xffff;
}
uint32_t generation_of(NeighborRef ref) {
  return ref.value >> 16;
}
uint32_t generation_of(uint64_t answer) {
  return static_cast<uint32_t>(answer >> kGenerationShift);
}
NeighborRef ref_of(uint32_t slot, uint64_t answer) {
  return NeighborRef(generation_of(answer) << 16 | slot);
}
// Unresolved.
uint64_t answer_of(uint32_t generation) {
  return uint64_t{generation & kGenerationMask} << kGenerationShift;
}

uint32_t bucket_of(uint64_t key) {
  return static_cast<uint32_t>(_mm_crc32_u64(0, key)) % NeighborTable::kSlots;
}

// A new entry of any generation is unresolved.
static_assert(static_cast<uint64_t>(NeighborTable::State::kUnresolved) == 0);

}  // namespace

NeighborTable::Entry& NeighborTable::entry(NeighborRef ref) const {
  return entries_[slot_of(ref)];
}

// The order of the loads matters. remove() clears the key before it raises the generation, so whoever sees
// the new generation does not see the old key, and an old generation is known as such by resolve(). The chain
// may lead a reader whose entry is given out again meanwhile into another bucket, hence the bound.
NeighborRef NeighborTable::find(uint64_t key) const {
  uint32_t slot = buckets_[bucket_of(key)].load(std::memory_order_acquire);
  for (uint32_t steps = 0; slot != kEnd && steps < kSlots; ++steps) {
    const Entry& here = entries_[slot];
    const uint64_t answer = here.answer.load(std::memory_order_acquire);
    if (here.key.load(std::memory_order_relaxed) == key) return ref_of(slot, answer);
    slot = here.next.load(std::memory_order_acquire);
  }
  return kNoNeighbor;
}

NeighborRef NeighborTable::find(InterfaceIndex interface, Ipv4Address address) const {
  return find(key_of(interface, address));
}

NeighborTable::State NeighborTable::resolve(NeighborRef ref, MacAddress& mac) const {
  const Entry& here = entry(ref);
  const uint64_t answer = here.answer.load(std::memory_order_relaxed);
  if (generation_of(answer) != generation_of(ref)) return State::kGone;
  // Written only when it changes, so that the line stays shared between workers.
  if (!here.used.load(std::memory_order_relaxed)) here.used.store(true, std::memory_order_relaxed);
  if (!(answer & kUsable)) return static_cast<State>(answer & 0xff);
  std::memcpy(mac.data(), &answer, mac.size());
  return State::kUsable;
}

NeighborRef NeighborTable::find_or_add(InterfaceIndex interface, Ipv4Address address) {
  const uint64_t key = key_of(interface, address);
  if (const NeighborRef known = find(key); known != kNoNeighbor) return known;
  if (free_count_ == 0) return kNoNeighbor;
  const uint32_t slot = free_[free_head_++ % kSlots];
  --free_count_;
  Entry& fresh = entries_[slot];
  std::atomic<uint32_t>& bucket = buckets_[bucket_of(key)];
  fresh.used.store(false, std::memory_order_relaxed);
  fresh.key.store(key, std::memory_order_relaxed);
  fresh.next.store(bucket.load(std::memory_order_relaxed), std::memory_order_release);
  bucket.store(slot, std::memory_order_release);
  return ref_of(slot, fresh.answer.load(std::memory_order_relaxed));
}

void NeighborTable::set_usable(NeighborRef ref, const MacAddress& mac) {
  uint64_t answer = 0;
  std::memcpy(&answer, mac.data(), mac.size());
  entry(ref).answer.store(answer_of(generation_of(ref)) | kUsable | answer, std::memory_order_release);
}

void NeighborTable::set_unusable(NeighborRef ref, State why) {
  const uint64_t answer = answer_of(generation_of(ref)) | static_cast<uint64_t>(why);
  entry(ref).answer.store(answer, std::memory_order_release);
}

void NeighborTable::remove(NeighborRef ref) {
  Entry& gone = entry(ref);
  assert(generation_of(gone.answer.load(std::memory_order_relaxed)) == generation_of(ref));
  std::atomic<uint32_t>* link = &buckets_[bucket_of(gone.key.load(std::memory_order_relaxed))];
  while (link->load(std::memory_order_relaxed) != slot_of(ref))
    link = &entries_[link->load(std::memory_order_relaxed)].next;
  link->store(gone.next.load(std::memory_order_relaxed), std::memory_order_release);
  gone.key.store(kNoKey, std::memory_order_relaxed);
  gone.answer.store(answer_of(generation_of(ref) + 1), std::memory_order_release);
  free_[(free_head_ + free_count_) % kSlots] = static_cast<uint16_t>(slot_of(ref));
  ++free_count_;
}

bool NeighborTable::take_used(NeighborRef ref) {
  std::atomic<bool>& used = entry(ref).used;
  if (!used.load(std::memory_order_relaxed)) return false;
  used.store(false, std::memory_order_relaxed);
  return true;
}

}  // namespace espalier::dataplane
