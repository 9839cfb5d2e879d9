#include "dataplane/neighbor_table.hpp"

#include <cassert>

namespace espalier::dataplane {
namespace {

constexpr uint32_t kInUse = 1u << 31;
constexpr uint64_t kUsable = uint64_t{1} << 48;
constexpr unsigned kGenerationShift = 49;
constexpr uint32_t kGenerationMask = 0x7fff;

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

// A new entry of any generation is unresolved.
static_assert(static_cast<uint64_t>(NeighborTable::State::kUnresolved) == 0);

}  // namespace

NeighborTable::Entry& NeighborTable::entry(NeighborRef ref) const {
  return entries_[slot_of(ref)];
}

NeighborTable::Key NeighborTable::key_of(InterfaceIndex interface, IpAddress address) {
  return {kInUse | interface.value, address.high.raw(), address.low.raw()};
}

uint32_t NeighborTable::bucket_of(const Key& key) const {
  const __m128i address = _mm_set_epi64x(static_cast<int64_t>(key.high), static_cast<int64_t>(key.low));
  __m128i state =
      _mm_aesenc_si128(_mm_xor_si128(address, seed_), _mm_cvtsi32_si128(static_cast<int>(key.interface)));
  state = _mm_aesenc_si128(_mm_aesenc_si128(state, seed_), seed_);
  return static_cast<uint32_t>(_mm_cvtsi128_si32(state)) % kBuckets;
}

// Who sees the interface sees the address that goes with it, or that of a successor, which has another
// generation.
bool NeighborTable::Entry::has(const Key& key) const {
  return interface.load(std::memory_order_acquire) == key.interface &&
         low.load(std::memory_order_relaxed) == key.low && high.load(std::memory_order_relaxed) == key.high;
}

// The order of the loads matters. remove() clears the key before it raises the generation, so whoever sees
// the new generation does not see the old key, and an old generation is known as such by resolve(). The chain
// may lead a reader whose entry is given out again meanwhile into another bucket, hence the bound.
NeighborRef NeighborTable::find(const Key& key) const {
  uint32_t slot = buckets_[bucket_of(key)].load(std::memory_order_acquire);
  for (uint32_t steps = 0; slot != kEnd && steps < kSlots; ++steps) {
    const Entry& here = entries_[slot];
    const uint64_t answer = here.answer.load(std::memory_order_acquire);
    if (here.has(key)) return ref_of(slot, answer);
    slot = here.next.load(std::memory_order_acquire);
  }
  return kNoNeighbor;
}

NeighborRef NeighborTable::find(InterfaceIndex interface, IpAddress address) const {
  return find(key_of(interface, address));
}

NeighborTable::State NeighborTable::resolve(NeighborRef ref, MacAddress& mac, bool uses) const {
  const Entry& here = entry(ref);
  const uint64_t answer = here.answer.load(std::memory_order_relaxed);
  if (generation_of(answer) != generation_of(ref)) return State::kGone;
  // Written only when it changes, so that the line stays shared between workers.
  if (uses && !here.used.load(std::memory_order_relaxed)) here.used.store(true, std::memory_order_relaxed);
  if (!(answer & kUsable)) return static_cast<State>(answer & 0xff);
  std::memcpy(mac.data(), &answer, mac.size());
  return State::kUsable;
}

NeighborRef NeighborTable::find_or_add(InterfaceIndex interface, IpAddress address) {
  const Key key = key_of(interface, address);
  if (const NeighborRef known = find(key); known != kNoNeighbor) return known;
  if (free_count_ == 0) return kNoNeighbor;
  const uint32_t slot = free_[free_head_++ % kSlots];
  --free_count_;
  Entry& fresh = entries_[slot];
  std::atomic<uint32_t>& bucket = buckets_[bucket_of(key)];
  fresh.used.store(false, std::memory_order_relaxed);
  fresh.high.store(key.high, std::memory_order_relaxed);
  fresh.low.store(key.low, std::memory_order_relaxed);
  fresh.interface.store(key.interface, std::memory_order_release);
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
  const Key key{gone.interface.load(std::memory_order_relaxed), gone.high.load(std::memory_order_relaxed),
                gone.low.load(std::memory_order_relaxed)};
  std::atomic<uint32_t>* link = &buckets_[bucket_of(key)];
  while (link->load(std::memory_order_relaxed) != slot_of(ref))
    link = &entries_[link->load(std::memory_order_relaxed)].next;
  link->store(gone.next.load(std::memory_order_relaxed), std::memory_order_release);
  gone.interface.store(0, std::memory_order_relaxed);
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
