#include "tests/golden/player.hpp"

#include <random>

#include "tests/support/packet_builder.hpp"
#include "tests/support/packet_rewriter.hpp"

namespace espalier::test {
namespace {

constexpr unsigned kQueueSeed = 20240607;  // fixed: a failure can be played again
constexpr size_t kEtherTypeOffset = 12;

std::optional<uint16_t> other_ip_id(FieldKind kind, const Bytes&, uint16_t value) {
  if (kind != FieldKind::kIpId) return std::nullopt;
  return static_cast<uint16_t>(value ^ 0x8000);
}

class QueueChooser {
 public:
  explicit QueueChooser(const Mode& mode) : mode_(mode), random_(kQueueSeed) {}

  uint16_t next() {
    switch (mode_.queues) {
      case QueueOrder::kFirst:
        return 0;
      case QueueOrder::kRoundRobin:
        return static_cast<uint16_t>(count_++ % mode_.workers);
      case QueueOrder::kPseudoRandom:
        return static_cast<uint16_t>(random_() % mode_.workers);
    }
    return 0;
  }

 private:
  const Mode mode_;
  uint64_t count_ = 0;
  std::mt19937 random_;
};

class Player {
 public:
  Player(const Scenario& scenario, const Mode& mode, Testbed& bed)
      : scenario_(scenario), mode_(mode), bed_(bed), queues_(mode), labels_(scenario.random) {}

  Result<std::vector<Difference>> play() {
    if (auto done = configure(scenario_.config); !done) return std::unexpected(std::move(done).error());
    std::vector<Difference> differences;
    for (const Step& step : scenario_.steps)
      for (Difference& each : TRY(play(step))) differences.push_back(std::move(each));
    return differences;
  }

 private:
  Result<void> configure(const std::string& text) {
    if (auto done = bed_.apply(text); !done) return done;
    bed_.run_until_idle();
    return require_only_arp(take_output());
  }

  // A gateway may announce its addresses when it starts; the recording began later.
  static Result<void> require_only_arp(const FramesByInterface& output) {
    for (const auto& [interface, frames] : output)
      for (const Bytes& frame : frames)
        if (get16(frame, kEtherTypeOffset) != kEtherTypeArp)
          return fail("{} sent {} without being asked", interface, to_hex(frame));
    return {};
  }

  Result<std::vector<Difference>> play(const Step& step) {
    if (step.config)
      if (auto done = configure(*step.config); !done) return std::unexpected(std::move(done).error());
    const std::vector<Bytes> input = with_our_values(step.input);
    if (mode_.cache == Cache::kWarm) run_in_vain(step, input);
    const DropCounts before = bed_.drops();
    inject(step, input);
    const Observation observed{take_output(), named_drops(before, bed_.drops())};
    const FrameOrder order = mode_.workers == 1 ? FrameOrder::kRecorded : FrameOrder::kAny;
    return compare_step(scenario_, step, observed, order, labels_);
  }

  std::vector<Bytes> with_our_values(const std::vector<Bytes>& recorded) const {
    std::vector<Bytes> input;
    for (const Bytes& frame : recorded)
      input.push_back(
          rewrite_frame(frame, scenario_.keys, [this](FieldKind kind, const Bytes& scope, uint16_t value) {
            return labels_.ours(kind, scope, value);
          }));
    return input;
  }

  // With other IP ids, so that no fragment of it meets one of the packets that count.
  void run_in_vain(const Step& step, const std::vector<Bytes>& input) {
    std::vector<Bytes> twins;
    for (const Bytes& frame : input) twins.push_back(rewrite_frame(frame, scenario_.keys, other_ip_id));
    const Bytes state = bed_.sa_state();
    inject(step, twins);
    take_output();
    bed_.restore_sa_state(state);
  }

  void inject(const Step& step, const std::vector<Bytes>& input) {
    for (const Bytes& frame : input) {
      bed_.inject(step.interface, queues_.next(), frame);
      if (mode_.cache != Cache::kInvalidated) continue;
      bed_.run_until_idle();
      bed_.invalidate_flows();
    }
    bed_.run_until_idle();
  }

  FramesByInterface take_output() {
    FramesByInterface output;
    for (const auto& [interface, mac] : scenario_.macs)
      if (auto frames = bed_.take_sent(interface); !frames.empty()) output[interface] = std::move(frames);
    return output;
  }

  const Scenario& scenario_;
  const Mode mode_;
  Testbed& bed_;
  QueueChooser queues_;
  Labels labels_;
};

}  // namespace

std::string describe(const Mode& mode) {
  static constexpr std::string_view kCaches[] = {"cold", "warm", "invalidated"};
  static constexpr std::string_view kQueues[] = {"one queue", "round robin", "pseudo random"};
  return fmt::format("{}, {} worker(s), {}", kCaches[static_cast<size_t>(mode.cache)], mode.workers,
                     kQueues[static_cast<size_t>(mode.queues)]);
}

TestbedOptions testbed_options(const Scenario& scenario, const Mode& mode) {
  return {mode.workers, mode.workers, mode.cache != Cache::kCold, scenario.macs};
}

Result<std::vector<Difference>> play(const Scenario& scenario, const Mode& mode, Testbed& bed) {
  return Player(scenario, mode, bed).play();
}

}  // namespace espalier::test
