#include "nat/session_table.hpp"

#include <algorithm>
#include <cassert>

namespace espalier::nat {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;

// A slot: tag in the high half, then the session's index and the direction; 0 is free, as no index is.
constexpr uint32_t tag_of(uint64_t hash) {
  return static_cast<uint32_t>(hash >> 32);
}
constexpr uint64_t make_slot(uint64_t hash, uint32_t index, FlowDirection direction) {
  return uint64_t{tag_of(hash)} << 32 | index << 1 | static_cast<uint32_t>(direction);
}
constexpr uint32_t tag_in(uint64_t slot) {
  return static_cast<uint32_t>(slot >> 32);
}
constexpr uint32_t index_in(uint64_t slot) {
  return static_cast<uint32_t>(slot) >> 1;
}
constexpr FlowDirection direction_in(uint64_t slot) {
  return static_cast<FlowDirection>(slot & 1);
}

constexpr bool is_alive(uint32_t generation) {
  return generation & 1;
}

// What all flows of a source socket have in common; ICMP queries: the identifier.
Tuple source_key(const Tuple& packet) {
  Tuple key;
  key.source = packet.source;
  key.source_port = packet.source_port;
  key.protocol = packet.protocol;
  return key;
}

}  // namespace

// The session behind a slot, if `tuple` is its tuple: read between two looks at the generation.
std::optional<SessionRef> SessionTable::match(const Tuple& tuple, uint64_t slot) const {
  SessionRef ref{.index = index_in(slot), .owner = {}, .direction = direction_in(slot)};
  const SessionSide& side = sessions_[ref.index].side(ref.direction);
  ref.generation = side.generation.load(kAcquire);
  if (!is_alive(ref.generation) || !(side.tuple == tuple)) return {};
  ref.owner = WorkerId(side.owner.load(kAcquire));
  if (side.generation.load(kRelaxed) != ref.generation) return {};
  return ref;
}

std::optional<SessionRef> SessionTable::lookup(const Tuple& tuple, uint64_t hash) const {
  for (const Slot& slot : buckets_[hash & bucket_mask_].slots) {
    const uint64_t value = slot.load(kAcquire);
    if (tag_in(value) != tag_of(hash) || index_in(value) == 0) continue;
    if (const auto ref = match(tuple, value)) return ref;
  }
  return {};
}

std::optional<Tuple> SessionTable::mapped_source(const Tuple& packet) const {
  const Tuple key = source_key(packet);
  const uint64_t key_hash = hash(key);
  for (const Slot& slot : sources_[key_hash & bucket_mask_].slots) {
    const uint64_t value = slot.load(kAcquire);
    if (tag_in(value) != tag_of(key_hash) || index_in(value) == 0) continue;
    const uint32_t generation = generation_of(index_in(value)).load(kAcquire);
    const auto session =
        tuples({.index = index_in(value), .generation = generation, .owner = {}, .direction = {}});
    if (!is_alive(generation) || !session || source_key(session->original) != key) continue;
    const auto sent = inverse(session->reply);
    if (!sent) continue;
    Tuple mapped = packet;
    mapped.source = sent->source;
    mapped.source_port = sent->source_port;
    return mapped;
  }
  return {};
}

// Several workers may write to a bucket: the last one wins, and what is lost is only remembered no more.
void SessionTable::remember_source(uint32_t index, const PendingSession& pending) {
  const Tuple sent = pending.packet_tuple();
  if (sent.source == pending.original.source && sent.source_port == pending.original.source_port) return;
  const uint64_t key_hash = hash(source_key(pending.original));
  Slot* place = nullptr;
  for (Slot& slot : sources_[key_hash & bucket_mask_].slots) {
    const uint64_t value = slot.load(kRelaxed);
    const bool reusable = value == 0 || tag_in(value) == tag_of(key_hash) ||
                          !is_alive(generation_of(index_in(value)).load(kRelaxed));
    if (reusable && (place == nullptr || tag_in(value) == tag_of(key_hash))) place = &slot;
  }
  if (place == nullptr) place = &sources_[key_hash & bucket_mask_].slots[index % kSlots];
  place->store(make_slot(key_hash, index, FlowDirection::kOriginal), kRelease);
}

std::optional<SessionTuples> SessionTable::tuples(const SessionRef& ref) const {
  if (!is_current(ref)) return {};
  const Session& session = sessions_[ref.index];
  const SessionTuples tuples{session.sides[0].tuple.load(), session.sides[1].tuple.load()};
  for (const SessionSide& side : session.sides)
    if (side.generation.load(kRelaxed) != ref.generation) return {};
  return tuples;
}

uint64_t SessionTable::evictions() const {
  uint64_t sum = 0;
  for (size_t worker = 0; worker < owned_.size(); ++worker) sum += owned_[worker].evictions.get();
  return sum;
}

// Makes room in a table that is nearly full: one session that is not assured has to go. One that nobody
// answered (what a flood consists of) if there is one near the cursor; only in a full table (`any`) an
// answered one. As the cursor goes round, an old one.
void SessionTable::evict_one(OwnedSessions& owned, bool any) {
  constexpr int kLooks = 8;
  constexpr auto kNew = OwnedSessions::List::kNew;
  uint32_t victim = 0;
  for (int i = 0; i < kLooks; ++i, owned.advance(kNew)) {
    const uint32_t candidate = owned.current(kNew);
    const bool answered = sessions_[candidate].flags.load(kRelaxed) & kSeenReply;
    if (!answered || (any && victim == 0)) victim = candidate;
    if (!answered) break;
  }
  if (victim == 0) return;
  owned.advance(kNew);  // the newest session takes the victim's place; it is not the next to go
  end(victim);
  owned.evictions.add(1);
}

// Counts one more session, if there is room.
bool SessionTable::admit(OwnedSessions& owned) {
  const uint32_t limit = this->limit();
  const uint32_t size = this->size();
  const uint32_t reserve_begins = limit - limit / kReserveShare;
  if (size >= reserve_begins) evict_one(owned, size >= limit);
  if (size > reserve_begins) evict_one(owned, false);  // what was taken of the reserve comes back
  if (size_.fetch_add(1, kRelaxed) < limit) return true;
  size_.fetch_sub(1, kRelaxed);
  return false;
}

void SessionTable::write(uint32_t index, const PendingSession& pending, WorkerId owner, uint64_t now_ms) {
  Session& session = sessions_[index];
  SessionSide& original = session.side(FlowDirection::kOriginal);
  SessionSide& reply = session.side(FlowDirection::kReply);
  original.tuple.store(pending.original);
  reply.tuple.store(pending.reply);
  original.rule.store(pending.source_rule_number, kRelease);
  reply.rule.store(pending.destination_rule_number, kRelease);
  for (SessionSide& side : session.sides) side.owner.store(owner.value, kRelease);
  session.expires_ms.store(now_ms + first_timeout(pending), kRelaxed);
  for (auto& traffic : session.traffic) traffic.packets.set(0), traffic.bytes.set(0);
  session.traffic[0].add(1, pending.first_packet.bytes);
  session.began_ms = now_ms;
  session.tcp.store(pending.tcp, kRelaxed);
  session.flags.store(pending.masqueraded ? kMasqueraded : 0, kRelaxed);
  session.protocol = pending.original.protocol;
}

bool SessionTable::is_tuple_of(const Tuple& tuple, uint64_t slot) const {
  return index_in(slot) != 0 && sessions_[index_in(slot)].side(direction_in(slot)).tuple == tuple;
}

// A free slot for `tuple`, null if the bucket is full; `taken` if some session has that tuple. Under the
// bucket's lock: sessions in its slots stay what they are meanwhile.
SessionTable::Slot* SessionTable::free_slot(const Tuple& tuple, uint64_t hash, const Slot* but, bool& taken) {
  Slot* found = nullptr;
  for (Slot& slot : bucket(hash).slots) {
    const uint64_t value = slot.load(kRelaxed);
    if (value == 0 && &slot != but && found == nullptr) found = &slot;
    if (value != 0 && tag_in(value) == tag_of(hash)) taken |= is_tuple_of(tuple, value);
  }
  return found;
}

// Begins or ends the life of a session's index.
void SessionTable::advance_generation(uint32_t index) {
  Session& session = sessions_[index];
  const uint32_t generation = generation_of(index).load(kRelaxed) + 1;
  session.owned_generation.store(generation, kRelaxed);
  for (SessionSide& side : session.sides) side.generation.store(generation, kRelease);
}

// Both tuples or none. The generation goes up before the slots show the session, so nobody finds half of it.
DropReason SessionTable::insert(uint32_t index, const PendingSession& pending) {
  const uint64_t original_hash = hash(pending.original);
  const uint64_t reply_hash = hash(pending.reply);
  const SpinLockPair hold(lock(original_hash), lock(reply_hash));
  bool taken = pending.original == pending.reply;
  Slot* const original = free_slot(pending.original, original_hash, nullptr, taken);
  Slot* const reply = free_slot(pending.reply, reply_hash, original, taken);
  if (taken) return DropReason::kNatClash;
  if (original == nullptr || reply == nullptr) return DropReason::kSessionTableFull;
  advance_generation(index);
  original->store(make_slot(original_hash, index, FlowDirection::kOriginal), kRelease);
  reply->store(make_slot(reply_hash, index, FlowDirection::kReply), kRelease);
  return DropReason::kNone;
}

// Makes room in the two full buckets that `pending` needs: sessions of `owner` that only wait to be aged go
// at once. Returns whether there were any.
bool SessionTable::end_past_their_time(const PendingSession& pending, WorkerId owner, uint64_t now_ms) {
  bool ended = false;
  for (const Tuple& tuple : {pending.original, pending.reply})
    for (const Slot& slot : bucket(hash(tuple)).slots) {
      const uint32_t index = index_in(slot.load(kAcquire));
      // An index that is the owner's now stays so: nobody else ends it, nobody else can get it.
      const bool own =
          index != 0 && is_alive(generation_of(index).load(kAcquire)) && owner_of(index) == owner.value;
      if (!own || now_ms < sessions_[index].expires_ms.load(kRelaxed)) continue;
      end(index);
      ended = true;
    }
  return ended;
}

std::expected<SessionRef, DropReason> SessionTable::confirm(const PendingSession& pending, WorkerId owner,
                                                            uint64_t now_ms) {
  assert(owner.value < owned_.size());
  OwnedSessions& owned = owned_[owner.value];
  for (const Tuple& tuple : {pending.original, pending.reply})
    if (const auto ref = lookup(tuple); ref && is_own_past_its_time(*ref, owner, now_ms)) end(ref->index);
  if (!admit(owned)) return std::unexpected(DropReason::kSessionTableFull);
  const uint32_t index = owned.take_index();  // never 0: there are more than workers can hold unused
  assert(index != 0);
  write(index, pending, owner, now_ms);
  DropReason reason = insert(index, pending);
  if (reason == DropReason::kSessionTableFull && end_past_their_time(pending, owner, now_ms))
    reason = insert(index, pending);
  if (reason != DropReason::kNone) {
    owned.give_index(index);
    size_.fetch_sub(1, kRelaxed);
    return std::unexpected(reason);
  }
  owned.add(index);
  remember_source(index, pending);
  return SessionRef{.index = index, .generation = generation_of(index).load(kRelaxed), .owner = owner};
}

void SessionTable::remove_slot(uint64_t hash, uint32_t index, FlowDirection direction) {
  const uint64_t value = make_slot(hash, index, direction);
  for (Slot& slot : bucket(hash).slots)
    if (slot.load(kRelaxed) == value) slot.store(0, kRelease);
}

// Takes a living session of the calling worker out of everything.
void SessionTable::end(uint32_t index) {
  Session& session = sessions_[index];
  OwnedSessions& owned = owned_[owner_of(index)];
  const uint64_t original_hash = hash(session.side(FlowDirection::kOriginal).tuple.load());
  const uint64_t reply_hash = hash(session.side(FlowDirection::kReply).tuple.load());
  {
    const SpinLockPair hold(lock(original_hash), lock(reply_hash));
    remove_slot(original_hash, index, FlowDirection::kOriginal);
    remove_slot(reply_hash, index, FlowDirection::kReply);
    advance_generation(index);
  }
  owned.remove(index);
  owned.give_index(index);
  size_.fetch_sub(1, kRelaxed);
}

void SessionTable::erase(const SessionRef& ref) {
  if (is_current(ref)) end(ref.index);
}

size_t SessionTable::age_list(OwnedSessions& owned, OwnedSessions::List list, uint64_t now_ms,
                              size_t budget) {
  size_t ended = 0;
  for (size_t looks = std::min(budget, owned.count(list)); looks > 0; --looks) {
    const uint32_t index = owned.current(list);
    if (now_ms < sessions_[index].expires_ms.load(kRelaxed)) {
      owned.advance(list);
      continue;
    }
    end(index);  // another one takes its place under the cursor
    ++ended;
  }
  return ended;
}

// New and assured sessions each get the share of the budget that their number deserves, but at least one
// look.
size_t SessionTable::age(WorkerId worker, uint64_t now_ms, size_t budget) {
  using List = OwnedSessions::List;
  OwnedSessions& owned = owned_[worker.value];
  const size_t fresh = owned.count(List::kNew), assured = owned.count(List::kAssured);
  if (budget == 0 || fresh + assured == 0) return 0;
  const size_t for_fresh = std::max<size_t>(budget * fresh / (fresh + assured), 1);
  const size_t for_assured = std::max<size_t>(budget - std::min(budget, for_fresh), 1);
  return age_list(owned, List::kNew, now_ms, for_fresh) +
         age_list(owned, List::kAssured, now_ms, for_assured);
}

}  // namespace espalier::nat
