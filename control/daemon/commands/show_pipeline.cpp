// "show pipeline" and "show workers": how the dataplane spends its time.
#include <cstring>

#include "control/daemon/commands/totals.hpp"

namespace espalier::daemon::commands {
namespace {

// The segment is another process's word: a name may lack its terminator, a count may be any.
std::string stage_name(const statistics::Segment& segment, size_t stage) {
  const char* name = segment.stage_names[stage];
  return std::string(name, ::strnlen(name, sizeof segment.stage_names[stage]));
}

Json stage_row(const statistics::Segment& segment, size_t stage) {
  const uint64_t packets = total(
      segment, [=](const auto& b) -> auto& { return b.stages[stage].packets; });
  const uint64_t cycles = total(
      segment, [=](const auto& b) -> auto& { return b.stages[stage].cycles; });
  const double per_packet = packets == 0 ? 0 : static_cast<double>(cycles) / static_cast<double>(packets);
  return {{"stage", stage_name(segment, stage)},
          {"packets", packets},
          {"cycles", cycles},
          {"cycles_per_packet", per_packet}};
}

Json worker_row(const statistics::Block& block, size_t number) {
  const uint64_t polls = block.polls.get();
  const double idle =
      polls == 0 ? 0 : 100.0 * static_cast<double>(block.idle_polls.get()) / static_cast<double>(polls);
  return {{"worker", number},
          {"polls", polls},
          {"idle_percent", idle},
          {"sleeps", block.sleeps.get()},
          {"handed_over", block.handed_over.get()},
          {"flow_hits", block.flow_hits.get()},
          {"flow_misses", block.flow_misses.get()},
          {"made", block.made.get()},
          {"heartbeat", block.heartbeat.get()}};
}

}  // namespace

Result<Json> show_pipeline(Context& context, Request& request) {
  TRY(request.no_others());
  const auto* segment = TRY(statistics_of(context));
  Json stages = Json::array();
  const size_t count = std::min<size_t>(segment->stage_count.load(), statistics::kMaxStages);
  for (size_t i = 0; i < count; ++i) stages.push_back(stage_row(*segment, i));
  return Json{{"stages", std::move(stages)}, {"tsc_hz", segment->tsc_hz.load()}};
}

Result<Json> show_workers(Context& context, Request& request) {
  TRY(request.no_others());
  const auto* segment = TRY(statistics_of(context));
  Json workers = Json::array();
  const size_t count = std::min<size_t>(segment->workers, statistics::kMaxWorkers);
  for (size_t i = 0; i < count; ++i) workers.push_back(worker_row(segment->blocks[i], i));
  return Json{{"workers", std::move(workers)}};
}

}  // namespace espalier::daemon::commands
