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

  // Notes an inbound number that the SA's window would accept. False: a packet before had it.
  bool accept(SaIndex sa, uint64_t number) {
    for (size_t i = 0; i < accepted_count; ++i)
      if (accepted[i].sa == sa && accepted[i].number == number) return false;
    if (accepted_count < accepted.size()) accepted[accepted_count++] = {sa, number};
    return true;
  }

  struct Number {
    SaIndex sa;
    uint64_t number = 0;
  };
  std::array<Use, kMostUses> uses{};
  std::array<Number, 256> accepted{};  // those beyond are not noted
  size_t accepted_count = 0;
};

}  // namespace espalier::dataplane
