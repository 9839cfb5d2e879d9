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

  uint64_t save() const { return mark->save.load(std::memory_order_acquire); }
  bool is_empty() const { return save() == 0; }
  void wipe(size_t bytes) const {
    mark->save.store(0, std::memory_order_release);
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
uint32_t crc_of(uint64_t id, uint64_t save, ByteView data) {
  const uint64_t parts[] = {id, save, data.size(), crc32c(data.data(), data.size())};
  return crc32c(parts, sizeof parts);
}

bool is_valid(uint64_t id, const Copy& copy) {
  const ike_state::Mark& mark = *copy.mark;
  return mark.bytes <= kCopyBytes && mark.crc == crc_of(id, copy.save(), {copy.data, mark.bytes});
}

// The one that a new state may overwrite. `committed`: the last save that counts.
const Copy& spare_of(const Copies& copies, uint64_t committed) {
  const auto counts = [&](const Copy& copy) { return copy.save() <= committed ? copy.save() : 0; };
  return counts(copies[0]) > counts(copies[1]) ? copies[1] : copies[0];
}

// Makes what counts as soon as `save` is committed; no data: the slot is empty then.
void write(const Copy& copy, uint64_t id, uint64_t save, ByteView data) {
  KILL_POINT("ike_state.save.before_write");
  copy.wipe();
  copy.mark->bytes = static_cast<uint32_t>(data.size());
  const auto middle = data.begin() + static_cast<ptrdiff_t>(data.size() / 2);
  std::copy(data.begin(), middle, copy.data);
  KILL_POINT("ike_state.save.half_written");
  std::copy(middle, data.end(), copy.data + data.size() / 2);
  copy.mark->crc = crc_of(id, save, data);
  copy.mark->save.store(save, std::memory_order_release);
}

// What `save` replaced; and what only says that there is nothing, last, or the other would come back.
void wipe_replaced(const Copies& copies, uint64_t save) {
  const bool first_is_new = copies[0].save() == save;
  const Copy& replaced = copies[first_is_new ? 1 : 0];
  const Copy& now = copies[first_is_new ? 0 : 1];
  if (!replaced.is_empty()) replaced.wipe();
  KILL_POINT("ike_state.save.half_wiped");
  if (now.mark->bytes == 0) now.wipe();
}

}  // namespace

Result<void> StateStore::save(const SaveStates& wanted) {
  auto& committed = ike_state::of(segment_).committed;
  const uint64_t before = committed.load(std::memory_order_relaxed), number = before + 1;
  std::vector<uint64_t> changed;
  const auto put = [&](uint64_t id, ByteView data) {
    write(spare_of(copies_of(segment_, id), before), id, number, data);
    changed.push_back(id);
  };
  const auto is_kept = [&](uint64_t id) {
    return id < ike_state::kSlots &&
           std::ranges::any_of(copies_of(segment_, id), [](const Copy& copy) { return !copy.is_empty(); });
  };
  std::string why;
  for (const SavedState& each : wanted.states) {
    const ByteView state = each.state.view();
    const bool has_slot = each.id < ike_state::kSlots, fits = !state.empty() && state.size() <= kCopyBytes;
    if (has_slot && fits) {
      put(each.id, state);
      continue;
    }
    why = has_slot
              ? fmt::format("the state of IKE SA {} has {} bytes; 1 to {} can be kept", each.id, state.size(),
                            kCopyBytes)
              : fmt::format("there is no room for IKE SA {}: {} can be kept", each.id, ike_state::kSlots);
    if (is_kept(each.id)) put(each.id, {});
  }
  for (const uint64_t id : wanted.forgotten)
    if (is_kept(id)) put(id, {});
  KILL_POINT("ike_state.save.before_commit");
  committed.store(number, std::memory_order_release);
  KILL_POINT("ike_state.save.before_wipe");
  for (const uint64_t id : changed) wipe_replaced(copies_of(segment_, id), number);
  if (!why.empty()) return fail("{}", why);
  return {};
}

StateStore::Loaded StateStore::load() {
  Loaded loaded;
  const uint64_t committed = ike_state::of(segment_).committed.load(std::memory_order_acquire);
  for (uint64_t id = 0; id < ike_state::kSlots; ++id) {
    Copies copies = copies_of(segment_, id);
    for (const Copy& copy : copies) {
      const bool half_written = copy.is_empty() && copy.mark->bytes != 0;
      if (half_written || copy.save() > committed) copy.wipe(kCopyBytes);  // its save never became whole
    }
    if (copies[0].save() < copies[1].save()) std::swap(copies[0], copies[1]);
    const auto& [newest, other] = copies;
    if (newest.is_empty()) continue;
    if (!other.is_empty()) other.wipe(kCopyBytes);
    const bool valid = is_valid(id, newest);
    if (valid && newest.mark->bytes != 0) {
      loaded.states.push_back({id, crypto::Secret(std::span(newest.data, newest.mark->bytes))});
      continue;
    }
    loaded.damaged += !valid;
    newest.wipe(kCopyBytes);  // its length may be what is damaged
  }
  return loaded;
}

}  // namespace espalier::ike
