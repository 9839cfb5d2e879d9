// What a stage counts about itself, for `show pipeline`.
//
// Reading the clock costs as much as half a stage: one burst in kSampled pays for all.
#pragma once

#include <rte_cycles.h>

#include "dataplane/context.hpp"

namespace espalier::dataplane {

inline constexpr uint64_t kSampled = 16;

inline bool is_sampled(const Context& ctx) {
  return ctx.stats->polls.get() % kSampled == 0;
}

// Runs a stage that `packets` enter, and returns what it returns. Worker.
template <class Run>
auto measure(statistics::Stage& stage, size_t packets, bool sampled, Run run) {
  stage.packets.add(packets);
  if (!sampled) return run();
  const uint64_t begin = rte_rdtsc();
  const auto result = run();
  stage.cycles.add((rte_rdtsc() - begin) * kSampled);
  return result;
}

}  // namespace espalier::dataplane
