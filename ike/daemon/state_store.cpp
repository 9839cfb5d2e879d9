#include "ike/daemon/state_store.hpp"

#include <algorithm>

#include "control/shared/crc32c.hpp"
#include "control/shared/kill_point.hpp"

namespace espalier::ike {
namespace {

using ike_state::Copy;

constexpr size_t kMostStateBytes = sizeof(Copy::data);

// The CRC covers what the data belongs to, so that a copy is nothing in another place.
uint32_t crc_of(uint64_t id, uint64_t version, std::span<const uint8_t> data) {
  const uint64_t parts[] = {id, version, data.size(), crc32c(data.data(), data.size())};
  return crc32c(parts, sizeof parts);
}

void wipe(Copy& copy) {
  copy.version.store(0, std::memory_order_release);
  const size_t used = std::min<size_t>(copy.bytes, kMostStateBytes);
  ::explicit_bzero(copy.data, used);
  copy.bytes = copy.crc = 0;
}

uint64_t version_of(const Copy& copy) {
  return copy.version.load(std::memory_order_acquire);
}

bool is_valid(uint64_t id, const Copy& copy) {
  return version_of(copy) != 0 && copy.bytes != 0 && copy.bytes <= kMostStateBytes &&
         copy.crc == crc_of(id, version_of(copy), {copy.data, copy.bytes});
}

// The one that counts: of two valid ones the newer. Null: none.
Copy* valid_copy(uint64_t id, ike_state::Slot& slot) {
  Copy* best = nullptr;
  for (Copy& copy : slot.copies)
    if (is_valid(id, copy) && (best == nullptr || version_of(copy) > version_of(*best))) best = &copy;
  return best;
}

}  // namespace

Result<void> StateStore::save(uint64_t id, std::span<const uint8_t> state) {
  if (id >= ike_state::kSlots) return fail("there is no room for IKE SA {}: {} can be kept", id, ike_state::kSlots);
  if (state.empty() || state.size() > kMostStateBytes) {
    forget(id);
    return fail("the state of IKE SA {} has {} bytes; 1 to {} can be kept", id, state.size(), kMostStateBytes);
  }
  auto& [first, second] = slot(id).copies;
  const bool first_is_newer = version_of(first) > version_of(second);
  Copy& older = first_is_newer ? second : first;
  Copy& newer = first_is_newer ? first : second;
  const uint64_t version = version_of(newer) + 1;
  KILL_POINT("ike_state.save.before_write");
  wipe(older);
  older.bytes = static_cast<uint32_t>(state.size());
  const auto middle = state.begin() + static_cast<ptrdiff_t>(state.size() / 2);
  std::copy(state.begin(), middle, older.data);
  KILL_POINT("ike_state.save.half_written");
  std::copy(middle, state.end(), older.data + state.size() / 2);
  older.crc = crc_of(id, version, state);
  KILL_POINT("ike_state.save.before_publish");
  older.version.store(version, std::memory_order_release);
  KILL_POINT("ike_state.save.before_wipe");
  wipe(newer);
  return {};
}

// The copy that counts goes last: were it wiped first, a kill in between would bring the other back.
void StateStore::forget(uint64_t id) {
  if (id >= ike_state::kSlots) return;
  auto& copies = slot(id).copies;
  const bool first_counts = valid_copy(id, slot(id)) == &copies[0];
  wipe(copies[first_counts ? 1 : 0]);
  KILL_POINT("ike_state.forget.half_done");
  wipe(copies[first_counts ? 0 : 1]);
}

StateStore::Loaded StateStore::load() {
  Loaded loaded;
  for (uint64_t id = 0; id < ike_state::kSlots; ++id) {
    auto& slot = this->slot(id);
    const Copy* copy = valid_copy(id, slot);
    if (copy != nullptr) {
      loaded.states.push_back({id, crypto::Secret(std::span(copy->data, copy->bytes))});
      continue;
    }
    const bool used = std::any_of(std::begin(slot.copies), std::end(slot.copies),
                                  [](const Copy& each) { return version_of(each) != 0; });
    if (used) ++loaded.damaged;
    if (used) forget(id);
  }
  return loaded;
}

}  // namespace espalier::ike
