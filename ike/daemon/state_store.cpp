#include "ike/daemon/state_store.hpp"

#include <algorithm>
#include <array>

#include "control/shared/crc32c.hpp"
#include "control/shared/kill_point.hpp"

namespace espalier::ike {
namespace {

using ike_state::kCopyBytes;

// One of the two copies of a slot, where it lies in the segment.
struct Copy {
  ike_state::Mark* mark;
  uint8_t* data;

  uint64_t version() const { return mark->version.load(std::memory_order_acquire); }
  void wipe(size_t bytes) const {
    mark->version.store(0, std::memory_order_release);
    ::explicit_bzero(data, bytes);
    mark->bytes = mark->crc = 0;
  }
  void wipe() const { wipe(std::min<size_t>(mark->bytes, kCopyBytes)); }
};
using Copies = std::array<Copy, 2>;

Copies copies_of(const Segment& segment, uint64_t id) {
  ike_state::Layout& layout = ike_state::of(segment);
  return {{{&layout.marks[id][0], layout.data[id][0]}, {&layout.marks[id][1], layout.data[id][1]}}};
}

// The CRC covers what the data belongs to, so that a copy is nothing in another place.
uint32_t crc_of(uint64_t id, uint64_t version, std::span<const uint8_t> data) {
  const uint64_t parts[] = {id, version, data.size(), crc32c(data.data(), data.size())};
  return crc32c(parts, sizeof parts);
}

bool is_valid(uint64_t id, const Copy& copy) {
  const ike_state::Mark& mark = *copy.mark;
  return copy.version() != 0 && mark.bytes != 0 && mark.bytes <= kCopyBytes &&
         mark.crc == crc_of(id, copy.version(), {copy.data, mark.bytes});
}

// The one that counts: of two valid ones the newer. Null: none.
const Copy* valid_copy(uint64_t id, const Copies& copies) {
  const Copy* best = nullptr;
  for (const Copy& copy : copies)
    if (is_valid(id, copy) && (best == nullptr || copy.version() > best->version())) best = &copy;
  return best;
}

}  // namespace

Result<void> StateStore::save(uint64_t id, std::span<const uint8_t> state) {
  if (id >= ike_state::kSlots)
    return fail("there is no room for IKE SA {}: {} can be kept", id, ike_state::kSlots);
  if (state.empty() || state.size() > kCopyBytes) {
    forget(id);
    return fail("the state of IKE SA {} has {} bytes; 1 to {} can be kept", id, state.size(), kCopyBytes);
  }
  const Copies copies = copies_of(segment_, id);
  const bool first_is_newer = copies[0].version() > copies[1].version();
  const Copy& older = copies[first_is_newer ? 1 : 0];
  const Copy& newer = copies[first_is_newer ? 0 : 1];
  const uint64_t version = newer.version() + 1;
  KILL_POINT("ike_state.save.before_write");
  older.wipe();
  older.mark->bytes = static_cast<uint32_t>(state.size());
  const auto middle = state.begin() + static_cast<ptrdiff_t>(state.size() / 2);
  std::copy(state.begin(), middle, older.data);
  KILL_POINT("ike_state.save.half_written");
  std::copy(middle, state.end(), older.data + state.size() / 2);
  older.mark->crc = crc_of(id, version, state);
  KILL_POINT("ike_state.save.before_publish");
  older.mark->version.store(version, std::memory_order_release);
  KILL_POINT("ike_state.save.before_wipe");
  newer.wipe();
  return {};
}

// The copy that counts goes last: were it wiped first, a kill in between would bring the other back.
void StateStore::forget(uint64_t id) {
  if (id >= ike_state::kSlots) return;
  const Copies copies = copies_of(segment_, id);
  const bool first_counts = valid_copy(id, copies) == &copies[0];
  copies[first_counts ? 1 : 0].wipe();
  KILL_POINT("ike_state.forget.half_done");
  copies[first_counts ? 0 : 1].wipe();
}

StateStore::Loaded StateStore::load() {
  Loaded loaded;
  for (uint64_t id = 0; id < ike_state::kSlots; ++id) {
    const Copies copies = copies_of(segment_, id);
    if (const Copy* copy = valid_copy(id, copies)) {
      loaded.states.push_back({id, crypto::Secret(std::span(copy->data, copy->mark->bytes))});
      continue;
    }
    if (copies[0].version() == 0 && copies[1].version() == 0) continue;
    ++loaded.damaged;
    for (const Copy& each : copies) each.wipe(kCopyBytes);  // its length may be what is damaged
  }
  return loaded;
}

}  // namespace espalier::ike
