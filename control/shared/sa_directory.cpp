#include "control/shared/sa_directory.hpp"

#include <algorithm>
#include <cstring>

#include "control/shared/crc32c.hpp"
#include "control/shared/kill_point.hpp"

namespace espalier {
namespace {

void clear_counters(SaCell& cell) {
  std::memset(static_cast<void*>(&cell.counters), 0, sizeof cell.counters);
}

// As it is stored: an outbound key is the same key under any SPI.
SaIdentity canonical(SaIdentity identity) {
  if (identity.direction == Direction::kOut) identity.spi = Spi(0);
  return identity;
}

uint32_t checksum_of(const SaIdentity& identity) {
  return crc32c(&identity, sizeof identity);
}

constexpr uint32_t kEsnBit = 1u << 31;

uint64_t pack(WindowShape shape) {
  return uint64_t{shape.offset} << 32 | (shape.esn ? kEsnBit : 0) | shape.size;
}

WindowShape unpack(uint64_t packed) {
  const auto low = static_cast<uint32_t>(packed);
  return {static_cast<uint32_t>(packed >> 32), low & ~kEsnBit, (low & kEsnBit) != 0};
}

Result<void> check_request(const CellRequest& request) {
  const bool inbound = request.identity.direction == Direction::kIn;
  if (request.replay_window > kMaxReplayWindow)
    return fail("a replay window of {} packets, {} at most", request.replay_window, kMaxReplayWindow);
  if (inbound && request.esn && request.replay_window == 0)
    return fail("extended sequence numbers need a replay window (RFC 4303 section 2.2.1)");
  if (request.last_sequence >= sequence_end(request.esn))
    return fail("there are no numbers behind {}", request.last_sequence);
  return {};
}

// Only static keys wait for a disk.
void set_end(OutboundCell& cell, const CellRequest& request) {
  const uint64_t end = sequence_end(request.esn);
  cell.sequence_end.store(end, std::memory_order_relaxed);
  if (request.identity.static_key == 0) cell.sequence_limit.store(end, std::memory_order_release);
}

std::unexpected<Error> damaged(SaIndex index, const char* what) {
  return fail(
      "SA cell {} is damaged ({}), and the numbers that its key has used are lost; give all static SAs new "
      "keys, then remove sa-cells and sa-numbers",
      index.value, what);
}

}  // namespace

// --- SequenceReserver

void SequenceReserver::watch(SaIndex index, const SaIdentity& identity) {
  const std::lock_guard lock(watching_);
  watched_.push_back({index, identity});
}

std::vector<SequenceReserver::Due> SequenceReserver::due_reservations(uint64_t low_water, uint64_t block) {
  const std::lock_guard lock(watching_);
  std::vector<Due> due;
  for (size_t i = 0; i < watched_.size(); ++i) {
    const auto& [index, identity, saved] = watched_[i];
    const SaCell& cell = cells_.cell(index);
    if (identity.direction != Direction::kOut || cell.owner.state.load() != CellState::kInUse) continue;
    const uint64_t next = cell.outbound.next_sequence.load();
    const uint64_t limit = cell.outbound.sequence_limit.load();
    const uint64_t end = cell.outbound.sequence_end.load();
    if (next >= end) continue;
    const uint64_t wanted = next + std::min(block, end - next);
    const uint64_t left = limit > next ? limit - next : 0;
    if (wanted > limit && left < low_water) due.push_back({i, index, {identity, wanted}});
  }
  return due;
}

std::vector<SequenceReserver::Due> SequenceReserver::moved_windows() {
  const std::lock_guard lock(watching_);
  std::vector<Due> due;
  for (size_t i = 0; i < watched_.size(); ++i) {
    const auto& [index, identity, saved] = watched_[i];
    if (identity.direction != Direction::kIn) continue;
    const uint64_t top = cells_.cell(index).window.top.load();
    if (top != saved) due.push_back({i, index, {identity, top}});
  }
  return due;
}

Result<void> SequenceReserver::write(const std::vector<Due>& due) {
  for (const auto& [position, index, entry] : due) TRY(cells_.numbers().write(index, entry));
  KILL_POINT("sequence_reserver.before_sync");
  return cells_.numbers().sync();
}

Result<bool> SequenceReserver::extend(uint64_t low_water, uint64_t block) {
  const std::lock_guard lock(writing_);
  const auto due = due_reservations(low_water, block);
  if (due.empty()) return false;
  TRY(write(due));
  KILL_POINT("sequence_reserver.before_grant");
  for (const auto& [position, index, entry] : due)
    cells_.cell(index).outbound.sequence_limit.store(entry.number, std::memory_order_release);
  return true;
}

Result<void> SequenceReserver::save_windows() {
  const std::lock_guard lock(writing_);
  const auto due = moved_windows();
  if (due.empty()) return {};
  TRY(write(due));
  const std::lock_guard watching(watching_);
  for (const auto& [position, index, entry] : due) watched_[position].saved = entry.number;
  return {};
}

// --- WindowAllocator

std::optional<uint32_t> WindowAllocator::allocate(uint32_t words) {
  size_t run = 0;
  for (size_t block = first_gap_; block < used_.size(); ++block) {
    run = used_[block] ? 0 : run + 1;
    if (run < blocks(words)) continue;
    const size_t first = block + 1 - run;
    std::fill_n(used_.begin() + static_cast<ptrdiff_t>(first), run, true);
    if (first == first_gap_) first_gap_ = block + 1;
    return static_cast<uint32_t>(first * kBlockWords);
  }
  return std::nullopt;
}

bool WindowAllocator::adopt(uint32_t offset, uint32_t words) {
  const size_t first = offset / kBlockWords;
  if (offset % kBlockWords != 0 || first + blocks(words) > used_.size()) return false;
  for (size_t block = first; block < first + blocks(words); ++block) {
    if (used_[block]) return false;
    used_[block] = true;
  }
  return true;
}

void WindowAllocator::free(uint32_t offset, uint32_t words) {
  const size_t first = offset / kBlockWords;
  std::fill_n(used_.begin() + static_cast<ptrdiff_t>(first), blocks(words), false);
  first_gap_ = std::min(first_gap_, first);
}

// --- SaDirectory

size_t SaDirectory::HashIdentity::operator()(const SaIdentity& identity) const {
  size_t hash;
  std::memcpy(&hash, identity.fingerprint.data(), sizeof hash);  // of SHA-256: uniform as it stands
  return hash;
}

SaDirectory::SaDirectory(SaCells& cells, SequenceReserver& reserver)
    : cells_(&cells),
      reserver_(&reserver),
      windows_(static_cast<uint32_t>(cells.window_area().size())),
      shapes_(cells.capacity()),
      claimed_(cells.capacity()) {}

Result<SaDirectory> SaDirectory::rebuild(SaCells& cells, SequenceReserver& reserver) {
  SaDirectory directory(cells, reserver);
  for (uint32_t i = cells.capacity(); i-- > 0;) TRY(directory.adopt(SaIndex(i)));
  return directory;
}

Result<void> SaDirectory::adopt(SaIndex index) {
  const SaCell& cell = cells_->cell(index);
  const CellState state = cell.owner.state.load(std::memory_order_acquire);
  if (state == CellState::kFree) {
    free_.push_back(index);
    return {};
  }
  const SaIdentity identity = cell.owner.identity;
  if (state != CellState::kInUse && state != CellState::kRemembered) return damaged(index, "state");
  if (cell.owner.checksum != checksum_of(identity)) return damaged(index, "identity");
  if (identity.direction != Direction::kOut && identity.direction != Direction::kIn)
    return damaged(index, "direction");
  const uint64_t end = cell.outbound.sequence_end;
  if (identity.direction == Direction::kOut &&
      (cell.outbound.next_sequence == 0 || (end != kSequenceEnd && end != kExtendedSequenceEnd)))
    return damaged(index, "sequence numbers");
  if (identity.direction == Direction::kIn) TRY(adopt_window(index));
  if (!by_identity_.emplace(identity, index).second) return damaged(index, "a second cell has its key");
  if (identity.static_key != 0) reserver_->watch(index, identity);
  return {};
}

Result<void> SaDirectory::adopt_window(SaIndex index) {
  const ReplayState& window = cells_->cell(index).window;
  const WindowShape shape = unpack(window.shape.load());
  if (window.floor.load() == 0) return damaged(index, "replay window");
  if (shape.size > kMaxReplayWindow || (shape.esn && shape.size == 0) ||
      !windows_.adopt(shape.offset, replay_words(shape.size)))
    return damaged(index, "place of the replay window");
  shapes_[index.value] = shape;
  return {};
}

std::optional<SaIndex> SaDirectory::find(const SaIdentity& identity) const {
  const auto found = by_identity_.find(identity);
  if (found == by_identity_.end()) return std::nullopt;
  return found->second;
}

bool SaDirectory::in_use(SaIndex index) const {
  return index.value < cells_->capacity() && cells_->cell(index).owner.state.load() == CellState::kInUse;
}

Result<CellClaim> SaDirectory::claim(const CellRequest& request) {
  TRY(check_request(request));
  CellRequest wanted = request;
  wanted.identity = canonical(request.identity);
  if (wanted.identity.direction == Direction::kOut) wanted.replay_window = 0;
  if (was_used_by_the_peer(wanted.identity))
    return fail(
        "its key has been used for the other direction, so its numbers begin with some that were used: "
        "a new key is needed (RFC 4106 section 3.1)");
  const auto known = find(wanted.identity);
  const auto claim = known ? claim_again(*known, wanted) : claim_new(wanted);
  if (claim) claimed_[claim->index.value] = true;
  return claim;
}

// All identities of a fingerprint are in one bucket: it alone makes the hash.
bool SaDirectory::was_used_by_the_peer(const SaIdentity& identity) const {
  const size_t bucket = by_identity_.bucket(identity);
  return std::any_of(by_identity_.begin(bucket), by_identity_.end(bucket), [&](const auto& known) {
    return known.first.fingerprint == identity.fingerprint && known.first.direction != identity.direction;
  });
}

Result<CellClaim> SaDirectory::claim_again(SaIndex index, const CellRequest& request) {
  SaCell& cell = cells_->cell(index);
  if (cell.owner.identity.static_key != request.identity.static_key)
    return fail("SA cell {}: one key is used by a static and by an IKE SA", index.value);
  TRY(go_on(index, request));
  if (!in_use(index)) {
    // An SA that was taken out and put in again is a new one but for its numbers: its limits begin anew.
    clear_counters(cell);
    cell.owner.installed_s.store(boot_time_s(), std::memory_order_relaxed);
  }
  cell.owner.state.store(CellState::kInUse, std::memory_order_release);
  return CellClaim{index, true};
}

// The numbers of a known key: they may only go up.
Result<void> SaDirectory::go_on(SaIndex index, const CellRequest& request) {
  SaCell& cell = cells_->cell(index);
  const bool inbound = request.identity.direction == Direction::kIn;
  const WindowShape shape = shapes_[index.value];
  const uint64_t top = cell.window.top.load();
  const bool moves = inbound && request.last_sequence > top;
  const bool resized = request.replay_window != shape.size;
  if (claimed_[index.value]) {
    if (resized) return fail("SA cell {}: in use with another replay window", index.value);
    if (cell.outbound.sequence_end != sequence_end(request.esn))
      return fail("SA cell {}: in use {} ESN", index.value, request.esn ? "without" : "with");
    if (moves)
      return fail("SA cell {}: in use, and its window cannot be moved behind {}", index.value,
                  request.last_sequence);
  }
  if (moves || resized) TRY(give_window(index, request, std::max(top, request.last_sequence)));
  if (inbound) set_shape(index, {shapes_[index.value].offset, request.replay_window, request.esn});
  if (!inbound) cell.outbound.skip_to(request.last_sequence + 1);
  set_end(cell.outbound, request);
  return {};
}

// Until its state is published the cell is free, whatever is in it.
Result<CellClaim> SaDirectory::claim_new(const CellRequest& request) {
  if (free_.empty())
    return fail("all {} SA cells are in use, or remember static keys of earlier configurations",
                cells_->capacity());
  const SaIndex index = free_.back();
  const SaIdentity& identity = request.identity;
  SaCell& cell = cells_->cell(index);
  TRY(give_window(index, request, request.last_sequence));
  free_.pop_back();
  cell.owner.identity = identity;
  cell.owner.checksum = checksum_of(identity);
  cell.owner.installed_s.store(boot_time_s(), std::memory_order_relaxed);
  cell.outbound.next_sequence = request.last_sequence + 1;
  cell.outbound.sequence_limit = request.last_sequence + 1;
  set_end(cell.outbound, request);
  clear_counters(cell);
  cell.peer.forget();
  by_identity_.emplace(identity, index);
  KILL_POINT("sa_directory.before_claim");
  cell.owner.state.store(CellState::kInUse, std::memory_order_release);
  if (identity.static_key != 0) reserver_->watch(index, identity);
  return CellClaim{index, false};
}

// A cell that no worker uses gets a clean window that takes nothing up to `seen`, which is no lower than what
// was accepted. Without a shape while it is under way, so that a kill leaves no half-made one.
Result<void> SaDirectory::give_window(SaIndex index, const CellRequest& request, uint64_t seen) {
  const WindowShape old = shapes_[index.value];
  const uint32_t size = request.replay_window;
  ReplayState& window = cells_->cell(index).window;
  const uint32_t words = replay_words(size);
  const auto offset = words == 0 ? std::optional<uint32_t>(0) : windows_.allocate(words);
  if (!offset)
    return fail("no room for a replay window of {} packets among the {} words for all windows", size,
                cells_->window_area().size());
  set_shape(index, {});
  if (old.size != 0) windows_.free(old.offset, replay_words(old.size));
  window.reset(seen);
  for (auto& word : cells_->window_area().subspan(*offset, words)) word.store(0, std::memory_order_release);
  set_shape(index, {*offset, size, request.esn});
  return {};
}

void SaDirectory::set_shape(SaIndex index, WindowShape shape) {
  shapes_[index.value] = shape;
  cells_->cell(index).window.shape.store(pack(shape), std::memory_order_release);
}

// Of a remembered window the top stays: what comes back starts above it.
void SaDirectory::release(SaIndex index) {
  if (!in_use(index)) return;
  SaCell& cell = cells_->cell(index);
  const bool remembered = cell.owner.identity.static_key != 0;
  cell.owner.state.store(remembered ? CellState::kRemembered : CellState::kFree, std::memory_order_release);
  const WindowShape shape = shapes_[index.value];
  set_shape(index, {});
  if (shape.size != 0) windows_.free(shape.offset, replay_words(shape.size));
  claimed_[index.value] = false;
  if (remembered) return;
  by_identity_.erase(cell.owner.identity);
  free_.push_back(index);
}

ReplayWindow SaDirectory::window(SaIndex index, WindowLock* lock) const {
  const WindowShape shape = shapes_[index.value];
  return {&cells_->cell(index).window, cells_->window_area().data() + shape.offset, shape.size, shape.esn,
          lock};
}

}  // namespace espalier
