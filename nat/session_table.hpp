// The sessions of all workers: connection tracking, NAT's memory, and the table that steers packets to
// owners.
//
// A session is found by either of its two tuples; both are inserted or neither. It belongs to the worker that
// confirmed it: only the owner updates, ages and ends it. Everybody else (other workers, to hand a packet
// over; the main lcore, for `show` and `explain`) reads without locks: a session's generation changes before
// its content does, so a reader that sees one generation before and after has seen one session.
//
// Both families are in one table: a tuple's addresses say which it is.
//
// Layout: an array of sessions and a hash table of 16-slot buckets (two cache lines; mean load 4 when full),
// a slot being 32 bits of hash, the session's index and the direction. A lookup costs one miss for the bucket
// and one for the session's side. Locks (striped, per bucket) are taken only to begin and to end a session.
//
// A flood cannot push out established flows: when the table is nearly full a new flow takes the place of one
// of its worker's sessions that are not assured, and if there is none it is refused. Assured are, as in
// nf_conntrack, TCP connections after their handshake and UDP flows answered over two seconds; other than
// there also answered flows of other protocols (GRE, ESP), because a tunnel deserves it too. The last 5 % of
// the limit are for workers that have no such session of their own.
//
// All memory is allocated at creation. A ref that is no longer current is safe to use in every call.
#pragma once

#include <memory>

#include "control/shared/error.hpp"
#include "control/shared/messages.hpp"
#include "nat/owned_sessions.hpp"
#include "nat/page_array.hpp"
#include "nat/session.hpp"
#include "nat/spin_lock.hpp"
#include "nat/timeouts.hpp"
#include "nat/tuple_hash.hpp"

namespace espalier::nat {

enum class Verdict : uint8_t {
  kAccept,
  kInvalid,  // a packet that its connection's state does not allow: drop it (kSessionInvalid)
  kOver,     // there is no such session (any more): treat the packet as one without a session
};

class SessionTable {
 public:
  struct Config {
    uint32_t capacity = 0;  // sessions, 1 .. kMaxCapacity; the most that a limit can be
    uint16_t workers = 1;   // WorkerId 0 .. workers-1 may own sessions
    HashKey key{};          // random
  };
  static constexpr uint32_t kMaxCapacity = 1u << 28;
  static constexpr uint64_t kMostLooks = 16384;

  // Fails for a capacity or number of workers out of range and for want of memory.
  static Result<std::unique_ptr<SessionTable>> create(const Config& config);
  ~SessionTable();
  SessionTable(const SessionTable&) = delete;
  SessionTable& operator=(const SessionTable&) = delete;

  // Limit and timeouts, from then on; main lcore. False, and nothing changes, if the limit is 0 or over
  // capacity(). Sessions above a lowered limit stay; new ones have to wait until they are gone.
  bool apply(const SettingsRecord& settings);

  // Any thread, without locks.

  uint64_t hash(const Tuple& tuple) const { return hash_(tuple); }
  void prefetch(uint64_t hash) const {
    const auto* bucket = reinterpret_cast<const std::byte*>(&buckets_[hash & bucket_mask_]);
    __builtin_prefetch(bucket);
    __builtin_prefetch(bucket + 64);
  }
  // The session that `tuple` is a tuple of, with the direction of its packets; `hash` is hash(tuple). A
  // session that begins or ends at this moment may or may not be found, and so may one past its time
  // (update() tells).
  std::optional<SessionRef> lookup(const Tuple& tuple, uint64_t hash) const;
  std::optional<SessionRef> lookup(const Tuple& tuple) const { return lookup(tuple, hash(tuple)); }
  // How a source socket was translated last: what `packet` looks like with the source that another session of
  // the same source address, protocol and port (or ICMP identifier) leaves with. Nothing if there is none, or
  // it was forgotten: this is a memory of one mapping per place, not a promise (nf_nat's
  // find_appropriate_src).
  std::optional<Tuple> mapped_source(const Tuple& packet) const;
  // Both tuples; nothing if the session is over.
  std::optional<SessionTuples> tuples(const SessionRef& ref) const;
  bool is_current(const SessionRef& ref) const {
    return generation_of(ref.index).load(std::memory_order_acquire) == ref.generation;
  }
  // Whether a session that `worker` confirms at `now_ms` may have `tuple`: no session has it, or one of the
  // worker's own that is past its time (as in nf_conntrack_tuple_taken), which confirm() ends.
  bool is_free(const Tuple& tuple, WorkerId worker, uint64_t now_ms) const {
    const auto ref = lookup(tuple);
    return !ref || is_own_past_its_time(*ref, worker, now_ms);
  }
  // What update() would say of such a packet; changes nothing. kInvalid and kAccept hold as long as nobody
  // else updates the session.
  Verdict judge(const SessionRef& ref, const PacketFacts& facts, uint64_t now_ms) const;
  uint32_t size() const { return size_.load(std::memory_order_relaxed); }
  uint32_t limit() const { return limit_.load(std::memory_order_relaxed); }
  uint32_t capacity() const { return capacity_; }
  // Sessions that had to make room for new flows, since creation.
  uint64_t evictions() const;
  // Fills `rows` with those sessions from `cursor` (0: the first) on that `filter` asks for and sets it to
  // where the next call goes on, 0 after the last. Returns the number of rows; it may be 0 before the end, a
  // call looks at kMostLooks places at most (less than a millisecond). Each row is of one session; its
  // counters are each whole.
  size_t list(uint64_t& cursor, std::span<message::SessionRow> rows, uint64_t now_ms,
              const message::SessionFilter& filter = {}) const;
  // The number of sessions that `filter` asks for, of those that list() would look at in one call. Without a
  // filter that is size(), at once.
  uint64_t count(uint64_t& cursor, const message::SessionFilter& filter) const;

  // The owner only.

  // Begins a session, owned by the calling worker, and counts its first packet. The ref is of direction
  // original. kNatClash: one of the tuples is not is_free(); if lookup(original) finds it, somebody else
  // began the same flow, else another flow took the reply tuple and NAT may choose again. kSessionTableFull:
  // no room, in the table or in a bucket full of sessions that live or are other workers' to end.
  std::expected<SessionRef, DropReason> confirm(const PendingSession& pending, WorkerId owner,
                                                uint64_t now_ms);
  void prefetch_update(const SessionRef& ref) const {
    __builtin_prefetch(&sessions_[ref.index].expires_ms, 1);
  }
  // Feeds a packet of ref.direction to the session: state, timeout, assured, counters. ICMP errors about it
  // are no packets of it.
  Verdict update(const SessionRef& ref, const PacketFacts& facts, uint64_t now_ms);
  // Ends sessions of `worker` that are past their time. Looks at no more than `budget`, going round; the
  // caller sees to it that each is looked at every few seconds. Returns the number ended.
  size_t age(WorkerId worker, uint64_t now_ms, size_t budget);
  // Ends one session of the calling worker, if it is current.
  void erase(const SessionRef& ref);

 private:
  static constexpr size_t kSlots = 16;
  static constexpr size_t kLocks = 1024;
  struct alignas(128) Bucket {
    std::array<std::atomic<uint64_t>, kSlots> slots{};  // 0: free
  };
  static_assert(sizeof(Bucket) == 128);
  using Slot = std::atomic<uint64_t>;

  static constexpr uint32_t kReserveShare = 20;  // the last 1/20 of the limit: see above
  static constexpr uint32_t kNeverCurrent = 2;   // a generation that no ref has

  explicit SessionTable(const Config& config);
  bool is_whole() const;
  void attach_workers();

  Bucket& bucket(uint64_t hash) { return buckets_[hash & bucket_mask_]; }
  SpinLock& lock(uint64_t hash) { return locks_[hash & bucket_mask_ & (kLocks - 1)]; }
  std::atomic<uint32_t>& generation_of(uint32_t index) { return sessions_[index].sides[0].generation; }
  const std::atomic<uint32_t>& generation_of(uint32_t index) const {
    return sessions_[index].sides[0].generation;
  }
  uint16_t owner_of(uint32_t index) const {
    return sessions_[index].sides[0].owner.load(std::memory_order_relaxed);
  }
  bool is_tuple_of(const Tuple& tuple, uint64_t slot) const;
  std::optional<SessionRef> match(const Tuple& tuple, uint64_t slot) const;
  Slot* free_slot(const Tuple& tuple, uint64_t hash, const Slot* but, bool& taken);
  bool is_own_past_its_time(const SessionRef& ref, WorkerId worker, uint64_t now_ms) const {
    return ref.owner == worker && now_ms >= sessions_[ref.index].expires_ms.load(std::memory_order_relaxed);
  }
  bool end_past_their_time(const PendingSession& pending, WorkerId owner, uint64_t now_ms);
  bool admit(OwnedSessions& owned);
  void evict_one(OwnedSessions& owned, bool any);
  DropReason insert(uint32_t index, const PendingSession& pending);
  void advance_generation(uint32_t index);
  void write(uint32_t index, const PendingSession& pending, WorkerId owner, uint64_t now_ms);
  void end(uint32_t index);
  void remember_source(uint32_t index, const PendingSession& pending);
  void remove_slot(uint64_t hash, uint32_t index, FlowDirection direction);
  Verdict update_tcp(uint32_t index, FlowDirection direction, uint8_t flags, uint64_t now_ms);
  void after_tcp_step(uint32_t index, TcpState old, const TcpTrack& track, uint8_t flags, uint64_t now_ms);
  void update_udp(uint32_t index, uint64_t now_ms);
  void update_other(uint32_t index, FlowDirection direction, uint64_t now_ms);
  void assure(uint32_t index);
  uint64_t first_timeout(const PendingSession& pending) const;
  uint64_t tcp_timeout(TcpState state, bool seen_reply) const;
  size_t age_list(OwnedSessions& owned, OwnedSessions::List list, uint64_t now_ms, size_t budget);
  struct Places {
    uint32_t first, end;
  };
  Places next_places(uint64_t& cursor) const;
  uint32_t read_identity(uint32_t index, message::SessionRow& row) const;
  bool read_state(uint32_t index, uint32_t generation, uint64_t now_ms, message::SessionRow& row) const;

  const TupleHash hash_;
  const uint32_t capacity_;
  const uint64_t bucket_mask_;
  PageArray<Bucket> buckets_;
  PageArray<Session> sessions_;  // index 0 is no session
  PageArray<Bucket> sources_;    // like buckets_, keyed by source socket; a slot may be stale
  PageArray<SpinLock> locks_;
  PageArray<uint32_t> free_indices_;
  PageArray<uint32_t> owned_indices_;
  IndexPool pool_;
  PageArray<OwnedSessions> owned_;  // by WorkerId
  alignas(64) Timeouts timeouts_;
  std::atomic<uint32_t> limit_;
  alignas(64) std::atomic<uint32_t> size_{0};
};

}  // namespace espalier::nat
