// What a rehearsal notes down instead of doing it (rehearsal.hpp): its packets look at SAs and leave them as
// they are, so that a second packet of the same rehearsal has to know what the first one would have taken.
//
// Owner: the thread of the rehearsal. Workers have none (Context::scratch is null).
#pragma once

#include <array>

#include "control/shared/types.hpp"

namespace espalier::dataplane {

struct Scratch {
  struct Use {
    SaIndex sa = kNoSa;
    uint64_t numbers = 0;             // outbound, behind those that the SA gave out
    uint64_t packets = 0, bytes = 0;  // towards its limits
  };
  static constexpr size_t kMostUses = 128;  // different SAs; a packet meets a handful

  // What came to `sa` so far. Those beyond kMostUses share one.
  Use& of(SaIndex sa) {
    size_t i = 0;
    while (i < kMostUses - 1 && uses[i].sa != sa && uses[i].sa != kNoSa) ++i;
    uses[i].sa = sa;
    return uses[i];
  }

  std::array<Use, kMostUses> uses{};
};

}  // namespace espalier::dataplane
