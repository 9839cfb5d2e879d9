// Keeps what the core wants kept (SaveStates) over the death of this process, in the segment of
// control/shared/ike_state.hpp.
//
// Of each slot that a save changes the copy that does not count is written; then one store of the save's
// number makes all of them count; then the other copies are wiped, since they hold keys. So whenever the
// process is killed either all or none of a save is there. Whoever reads trusts nothing: sizes are checked
// and a CRC over all of it. Owner: espalier-ike's thread; there is one writer.
#pragma once

#include <vector>

#include "control/shared/ike_state.hpp"
#include "ike/core.hpp"

namespace espalier::ike {

class StateStore {
 public:
  explicit StateStore(Segment segment) : segment_(std::move(segment)) {}

  // When it returns all of it is kept; an id to be forgotten that is not kept is no error. Errors: there is
  // no slot for a state, or it is too long. Then that one is forgotten instead, since an outdated state would
  // use numbers again; the others are kept. load() comes first.
  Result<void> save(const SaveStates& wanted);

  struct Loaded {
    std::vector<SavedState> states;
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
