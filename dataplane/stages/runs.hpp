// Runs: the packets of a burst that share an SA, brought together so that one key and one sequence number
// reservation serve them all.
#pragma once

#include <array>

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Calls f(SaIndex, MbufSpan run) for each SA among `burst`, every run in the order of the burst. All packets
// must have Packet::sa set.
template <class F>
void for_each_run(MbufSpan burst, F f) {
  std::array<rte_mbuf*, kBurst * 2> run;
  uint64_t left = burst.size() == 64 ? ~uint64_t{0} : (uint64_t{1} << burst.size()) - 1;
  while (left) {
    const SaIndex sa = packet(burst[std::countr_zero(left)]).sa;
    size_t length = 0;
    for (uint64_t rest = left; rest; rest &= rest - 1) {
      rte_mbuf* mbuf = burst[std::countr_zero(rest)];
      if (packet(mbuf).sa != sa) continue;
      run[length++] = mbuf;
      left &= ~(rest & -rest);
    }
    f(sa, MbufSpan(run.data(), length));
  }
}
static_assert(kBurst * 2 == 64);

}  // namespace espalier::dataplane
