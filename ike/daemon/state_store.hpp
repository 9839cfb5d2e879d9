// Keeps what the core wants kept (SaveState) over the death of this process, in the segment of
// control/shared/ike_state.hpp.
//
// A state is written into the copy of its slot that does not count, then made the one that counts by its
// version; then the other copy is wiped, since it holds keys. So whenever the process is killed either the
// earlier or the new state is there, whole. Whoever reads trusts nothing: sizes are checked and a CRC over
// all of it. Owner: espalier-ike's thread; there is one writer.
#pragma once

#include <vector>

#include "control/shared/ike_state.hpp"
#include "ike/core.hpp"

namespace espalier::ike {

class StateStore {
 public:
  explicit StateStore(Segment segment) : segment_(std::move(segment)) {}

  // When it returns the state is kept. Errors: no such slot, or the state is too long; nothing is kept for
  // `id` then, since an outdated state would use numbers again.
  Result<void> save(uint64_t id, std::span<const uint8_t> state);
  // Wipes both copies. An id that is not kept is no error.
  void forget(uint64_t id);

  struct Loaded {
    std::vector<SaveState> states;
    size_t damaged = 0;  // slots whose copies are not valid; they were wiped
  };
  // What an earlier process saved.
  Loaded load();

  // To be called twice a second or more: espalierd watches it.
  void beat() { ike_state::of(segment_).heartbeat.fetch_add(1, std::memory_order_relaxed); }
  const Segment& segment() const { return segment_; }

 private:
  Segment segment_;
};

}  // namespace espalier::ike
