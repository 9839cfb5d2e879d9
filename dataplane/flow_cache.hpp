// The worker's flow cache: what was decided for the first packet of a flow, so that the others need one
// lookup.
//
// Owner: the worker; nobody else reads it. It is a cache: full sets replace their oldest entry, losing an
// entry costs one walk through the first-packet stages and never a NAT mapping (those live in
// nat::SessionTable).
#pragma once

#include <immintrin.h>

#include "dataplane/packet.hpp"
#include "nat/page_array.hpp"
#include "nat/rewrite.hpp"
#include "nat/session_table.hpp"

namespace espalier::dataplane {

// Ingress interface, tuple (with ICMP type and code) and the security path: a clear packet never finds the
// entry of a decrypted flow, also where both come by one gre interface, without a path.
struct alignas(16) FlowKey {
  Tuple tuple;
  SecurityPath path;
  InterfaceIndex in;
  uint16_t came_protected = 0;  // of the packet's flags kCameProtected and no other

  // Of a parsed packet, whose record begins with it. In whole words: what is stored in parts and loaded as a
  // whole waits for the stores.
  static FlowKey of(const Packet& p) {
    FlowKey key;
    const auto* const from = reinterpret_cast<const __m128i*>(&p);
    auto* const to = reinterpret_cast<__m128i*>(&key);
    constexpr int kInAndOneFlag = kCameProtected << 16 | 0xffff;
    const __m128i without_other_flags = _mm_set_epi32(kInAndOneFlag, -1, -1, -1);
    _mm_store_si128(to, _mm_load_si128(from));
    _mm_store_si128(to + 1, _mm_load_si128(from + 1));
    _mm_store_si128(to + 2, _mm_and_si128(_mm_load_si128(from + 2), without_other_flags));
    return key;
  }
  friend bool operator==(const FlowKey& a, const FlowKey& b) {
    const auto* const x = reinterpret_cast<const __m128i*>(&a);
    const auto* const y = reinterpret_cast<const __m128i*>(&b);
    __m128i different = _mm_xor_si128(_mm_load_si128(x), _mm_load_si128(y));
    different = _mm_or_si128(different, _mm_xor_si128(_mm_load_si128(x + 1), _mm_load_si128(y + 1)));
    different = _mm_or_si128(different, _mm_xor_si128(_mm_load_si128(x + 2), _mm_load_si128(y + 2)));
    return _mm_testz_si128(different, different);
  }
};
static_assert(sizeof(FlowKey) == 48 && offsetof(FlowKey, path) == offsetof(Packet, path) &&
              offsetof(FlowKey, in) == offsetof(Packet, in) &&
              offsetof(FlowKey, came_protected) == offsetof(Packet, flags));
static_assert(std::has_unique_object_representations_v<FlowKey>);

enum DecisionFlags : uint8_t {
  kDecidedTracked = 1,  // `session` is valid and is updated by every packet
  kDecidedRewrite = 2,  // `rewrite` changes the packet
  kDecidedTunnel = 4,   // `out` is a vti or gre interface that takes the packet
};

// How packets of one direction of a flow go on. Indices, checked against `epoch`; the tunnel's MTU and SA are
// read through them, so that a rekey or a learned path MTU needs no change here.
struct FlowDecision {
  uint32_t epoch = 0;                    // ChangeLog::epoch() it was last found valid in
  uint8_t flags = 0;                     // DecisionFlags
  LocalService service{};                // not kNone: for the gateway, and nothing below but in_policy counts
  uint8_t templates = 0;                 // of `policy`, if it protects
  InterfaceIndex out;                    // egress of a clear packet; of ESP see Snapshot::outer_routes
  uint16_t mss_bytes = 0;                // TCP SYNs are clamped to it; 0: they are not
  PolicyIndex policy = kNoPolicy;        // out policy that decides (after SNAT), kNoPolicy: none
  PolicyIndex first_policy = kNoPolicy;  // out policy before SNAT, kNoPolicy: none protects
  PolicyIndex in_policy = kNoPolicy;     // fwd policy that let it in, for its counters
  PolicyIndex gre_policy = kNoPolicy;    // into a gre interface: that protects the GRE packet
  uint32_t neighbor = kNone32;           // NeighborRef
  IpAddress next_hop;
  InterfaceIndex gre_out = kNoInterface;  // into a gre interface: egress of the GRE packet
  nat::SessionRef session;
  nat::Rewrite rewrite;
};

struct alignas(64) FlowEntry {
  FlowKey key;
  uint64_t used_ms = 0;  // 0: free
  FlowDecision decision;
};
static_assert(sizeof(FlowEntry) <= 192);

class FlowCache {
 public:
  static constexpr uint32_t kWays = 4;
  static constexpr uint32_t kUnrecorded = kBurst * 2;  // places for decisions that are not kept

  // `entries`: a power of two; allocates once.
  FlowCache(uint32_t entries, const uint64_t (&random_seed)[4]);

  uint32_t hash(const FlowKey& key) const {
    const __m128i* words = reinterpret_cast<const __m128i*>(&key);
    __m128i state = _mm_aesenc_si128(_mm_xor_si128(_mm_load_si128(words), seed_[0]), seed_[1]);
    state = _mm_aesenc_si128(_mm_xor_si128(state, _mm_load_si128(words + 1)), seed_[0]);
    state = _mm_aesenc_si128(_mm_xor_si128(state, _mm_load_si128(words + 2)), seed_[1]);
    state = _mm_aesenc_si128(state, seed_[0]);
    return static_cast<uint32_t>(_mm_cvtsi128_si32(state));
  }
  void prefetch(uint32_t hash) const { __builtin_prefetch(&tags_[(hash & set_mask_) * kWays]); }
  // The entry that by its hash may be the key's, kNone32 if there is none; prefetches it. A guess for find().
  uint32_t guess(uint32_t hash) const;

  // The index of the entry of `key`, kNone32 if there is none.
  uint32_t find(const FlowKey& key, uint32_t hash, uint32_t guessed) const {
    const bool right = guessed != kNone32 && tags_[guessed] == (hash | 1) && entries_[guessed].key == key;
    return right && enabled_ ? guessed : find(key, hash);
  }
  uint32_t find(const FlowKey& key, uint32_t hash) const;
  // Makes or replaces the entry of `key`; returns its index. Where every entry of the set is in use by this
  // very burst (`now_ms` is fixed for a burst) the decision is placed unrecorded.
  uint32_t record(const FlowKey& key, uint32_t hash, const FlowDecision& decision, uint64_t now_ms);
  // A place for a decision that is used for one packet only; lasts until the next kUnrecorded-th call.
  uint32_t place_unrecorded(const FlowDecision& decision);

  FlowEntry& operator[](uint32_t index) { return entries_[index]; }
  // Tests: forget everything, or never find anything.
  void clear();
  void set_enabled(bool enabled) { enabled_ = enabled; }

 private:
  uint32_t set_mask_;
  uint32_t capacity_;
  uint32_t next_unrecorded_ = 0;
  bool enabled_ = true;
  __m128i seed_[2];
  nat::PageArray<uint32_t> tags_;      // hash of each entry, 0: free; a set's tags share a quarter line
  nat::PageArray<FlowEntry> entries_;  // capacity_ + kUnrecorded
};

}  // namespace espalier::dataplane
