#include "tests/golden/player.hpp"

#include <numeric>
#include <random>

#include "tests/golden/host_model.hpp"
#include "tests/golden/rehearsal_check.hpp"
#include "tests/support/packet_builder.hpp"
#include "tests/support/packet_rewriter.hpp"

namespace espalier::test {
namespace {

constexpr unsigned kQueueSeed = 20240607;  // fixed: a failure can be played again
constexpr size_t kEtherTypeOffset = 12;

// The type of an ICMPv6 message, or nothing for other frames.
std::optional<uint64_t> icmp6_type(ByteView frame) {
  const Fields fields = decode_frame(frame, {});
  const Field* type = find_field(fields, "ip.icmp6.type");
  if (type == nullptr) return std::nullopt;
  return std::get<uint64_t>(type->value);
}

// RFC 4861.
bool is_neighbor_discovery(ByteView frame) {
  const auto type = icmp6_type(frame);
  return type && *type >= 133 && *type <= 136;
}

// Multicast listener reports (RFC 3810) and router solicitations, which the recorder leaves out as well.
bool is_housekeeping(ByteView frame) {
  const auto type = icmp6_type(frame);
  return type && ((*type >= 131 && *type <= 133) || *type == 143);
}

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
      : scenario_(scenario),
        mode_(mode),
        bed_(bed),
        queues_(mode),
        labels_(scenario.random),
        rehearsal_(scenario, bed) {}

  Result<Playback> play() {
    if (auto done = configure(scenario_.config); !done) return std::unexpected(std::move(done).error());
    Playback playback;
    for (const Step& step : scenario_.steps) {
      if (step.config)
        if (auto done = configure(*step.config); !done) return std::unexpected(std::move(done).error());
      if (step.skip) continue;
      Judgement judgement = play(step);
      if (judgement.deviation) playback.deviations.push_back(*judgement.deviation);
      for (Difference& each : judgement.differences) playback.differences.push_back(std::move(each));
    }
    return playback;
  }

 private:
  Result<void> configure(const std::string& text) {
    if (auto done = bed_.apply(text); !done) return done;
    bed_.run_until_idle();
    bed_.take_to_host();
    return require_only_resolution(take_output());
  }

  // A gateway may announce its addresses when it starts; the recording began later.
  static Result<void> require_only_resolution(const FramesByInterface& output) {
    for (const auto& [interface, frames] : output)
      for (const Bytes& frame : frames)
        if (get16(frame, kEtherTypeOffset) != kEtherTypeArp && !is_neighbor_discovery(frame))
          return fail("{} sent {} without being asked", interface, to_hex(frame));
    return {};
  }

  Judgement play(const Step& step) {
    const std::vector<Bytes> input = with_our_values(step);
    // What Linux drops may change something once, so that the next packet passes.
    if (mode_.cache == Cache::kWarm && !scenario_.limited && !step.expected.output.empty()) run_in_vain(step);
    const DropCounts before = bed_.drops();
    rehearsal_.rehearse(step.interface, input);
    inject(step, input);
    Observation observed;
    observed.to_host = take_to_host();
    if (step.wait.count() != 0) bed_.advance_time(step.wait);
    observed.output = take_output();
    const DropCounts after = bed_.drops();
    observed.drops = named_drops(before, after);
    const FrameOrder order = mode_.workers == 1 ? FrameOrder::kRecorded : FrameOrder::kAny;
    const Labels labels = labels_;
    Judgement judgement = judge(scenario_, step, observed, order, labels_);
    auto differences = rehearsal_.judge(step, {judgement, before, after}, order, labels);
    if (auto lost = find_lost(step)) differences.push_back(*std::move(lost));
    for (Difference& each : differences) judgement.differences.push_back(std::move(each));
    return judgement;
  }

  // Every packet left, ended for a reason, or waits (drop_reason.hpp).
  std::optional<Difference> find_lost(const Step& step) const {
    const auto counted = bed_.packets();
    if (!counted) return std::nullopt;
    const DropCounts drops = bed_.drops();
    const uint64_t ended = std::accumulate(drops.begin(), drops.end(), uint64_t{0});
    const uint64_t came = injected_ + counted->made, went = taken_ + ended + counted->waiting;
    if (came == went) return std::nullopt;
    return Difference{step.id,
                      "packets",
                      fmt::format("{} received, {} made", injected_, counted->made),
                      fmt::format("{} sent, {} ended, {} waiting", taken_, ended, counted->waiting),
                      "there came",
                      "there went"};
  }

  std::vector<Bytes> with_our_values(const Step& step) const {
    std::vector<Bytes> input;
    for (const Bytes& packet : step.input)
      input.push_back(step.is_local()
                          ? packet
                          : rewrite_frame(packet, scenario_.keys,
                                          [this](FieldKind kind, const Bytes& scope, uint16_t value) {
                                            return labels_.ours(kind, scope, value);
                                          }));
    return input;
  }

  // With other IP ids, so that no fragment of it meets one of the packets that count.
  void run_in_vain(const Step& step) {
    std::vector<Bytes> twins;
    for (const Bytes& packet : with_our_values(step))
      twins.push_back(step.is_local() ? packet : rewrite_frame(packet, scenario_.keys, other_ip_id));
    const Bytes state = bed_.sa_state();
    inject(step, twins);
    take_to_host();
    rehearsal_.forget();
    take_output();
    bed_.restore_sa_state(state);
  }

  void inject(const Step& step, const std::vector<Bytes>& input) {
    for (const Bytes& packet : input) {
      if (step.is_local())
        bed_.inject_from_host(packet);
      else
        bed_.inject(step.interface, queues_.next(), packet), ++injected_;
      if (mode_.cache != Cache::kInvalidated) continue;
      bed_.run_until_idle();
      bed_.invalidate_flows();
    }
    bed_.run_until_idle();
  }

  FramesByInterface take_output() {
    FramesByInterface output;
    for (const auto& [interface, mac] : scenario_.macs) {
      auto frames = bed_.take_sent(interface);
      taken_ += frames.size();
      std::erase_if(frames, is_housekeeping);
      if (!frames.empty()) output[interface] = std::move(frames);
    }
    return output;
  }

  // What sockets of the host get. Without a socket its kernel answers that the port is unreachable.
  std::vector<Datagram> take_to_host() {
    std::vector<Datagram> received;
    for (const Bytes& packet : bed_.take_to_host()) {
      auto datagram = datagram_of(packet);
      if (!datagram) continue;
      if (scenario_.host_ports.contains(datagram->port))
        received.push_back(*std::move(datagram));
      else if (auto answer = port_unreachable(packet, ++answers_))
        answer_from_host(*answer);
    }
    bed_.run_until_idle();
    return received;
  }

  void answer_from_host(const Bytes& answer) {
    rehearsal_.rehearse("local", {answer});
    bed_.inject_from_host(answer);
  }

  const Scenario& scenario_;
  const Mode mode_;
  Testbed& bed_;
  QueueChooser queues_;
  Labels labels_;
  RehearsalCheck rehearsal_;
  uint64_t injected_ = 0, taken_ = 0;  // frames since the start
  uint16_t answers_ = 0xe000;          // IP ids of the host's, apart from those of what it sends by itself
};

}  // namespace

std::string describe(const Mode& mode) {
  static constexpr std::string_view kCaches[] = {"cold", "warm", "invalidated"};
  static constexpr std::string_view kQueues[] = {"one queue", "round robin", "pseudo random"};
  return fmt::format("{}, {} worker(s), {}", kCaches[static_cast<size_t>(mode.cache)], mode.workers,
                     kQueues[static_cast<size_t>(mode.queues)]);
}

TestbedOptions testbed_options(const Scenario& scenario, const Mode& mode) {
  return {mode.workers, mode.workers, mode.cache != Cache::kCold, scenario.macs, scenario.largest_mtu};
}

Result<Playback> play(const Scenario& scenario, const Mode& mode, Testbed& bed) {
  return Player(scenario, mode, bed).play();
}

}  // namespace espalier::test
