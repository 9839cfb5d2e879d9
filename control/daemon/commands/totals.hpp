// Sums over the statistics segment's blocks. Each counter has one writer; sums are made by who reads.
#pragma once

#include "control/daemon/commands/commands.hpp"

namespace espalier::daemon::commands {

// The segment; an error while there is none.
inline Result<const statistics::Segment*> statistics_of(Context& context) {
  if (context.supervisor.memory() == nullptr)
    return fail("no dataplane has run yet; see the log of espalierd");
  return &context.supervisor.memory()->statistics();
}

// `counter_of(block)` gives the counter of each block.
template <class CounterOf>
uint64_t total(const statistics::Segment& segment, CounterOf counter_of) {
  uint64_t sum = 0;
  for (const auto& block : segment.blocks) sum += counter_of(block).get();
  return sum;
}

// Sums of a PacketsBytes as two fields of `row`, "<prefix>packets" and "<prefix>bytes".
template <class PairOf>
void add_totals(Json& row, const std::string& prefix, const statistics::Segment& segment, PairOf pair_of) {
  row[prefix + "packets"] = total(
      segment, [&](const auto& block) -> auto& { return pair_of(block).packets; });
  row[prefix + "bytes"] = total(
      segment, [&](const auto& block) -> auto& { return pair_of(block).bytes; });
}

}  // namespace espalier::daemon::commands
