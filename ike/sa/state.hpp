// The state of one IKE SA with its children as bytes, so that it survives the death of this process
// (core.hpp, SaveStates): keys, message ids, the request under way and the cached response byte by byte,
// tasks, selectors.
//
//   magic | version | crc32c of what follows | facts, window, keys, children, tasks
#pragma once

#include "ike/sa/ike_sa.hpp"

namespace espalier::ike {

// Of an established IKE SA.
crypto::Secret save_state(IkeSa& sa);
// Errors: damaged, of another version, or of a connection or child that is not configured any more.
Result<std::unique_ptr<IkeSa>> load_state(Engine& engine, ByteView bytes);

}  // namespace espalier::ike
