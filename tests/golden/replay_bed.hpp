// A test bed without a gateway: it answers each step's input with the recorded output. The comparator is
// tested with it: what it replays must agree with the recording, and what it replays with an error must not.
#pragma once

#include <functional>

#include "tests/golden/scenario.hpp"
#include "tests/support/packet_builder.hpp"
#include "tests/support/packet_rewriter.hpp"

namespace espalier::test {

// The recorded drops of a step, as the first of the reasons that would do.
NamedCounts expected_drops(const Step& step);

// What the bed sends and drops in a step instead of what was recorded.
using Spoil = std::function<void(const Step& step, FramesByInterface& output, NamedCounts& drops)>;

class ReplayBed : public Testbed {
 public:
  // `rename` is used on all output, and expected in the input: a gateway that picks other random values.
  ReplayBed(const Scenario& scenario, Substitute rename, Spoil spoil)
      : scenario_(scenario), rename_(std::move(rename)), spoil_(std::move(spoil)) {
    skip_unplayed();
  }

  // False if some input was not what the scenario has next. What was followed by restore_sa_state() does not
  // count.
  bool input_was_right() const;

  Result<void> apply(const std::string&) override { return {}; }
  void inject(std::string_view interface, uint16_t queue, ByteView frame) override;
  void inject_from_host(ByteView packet) override;
  std::vector<Bytes> take_to_host() override { return std::exchange(to_host_, {}); }
  void run_until_idle() override;
  std::vector<Bytes> take_sent(std::string_view interface) override;
  DropCounts drops() const override { return drops_; }
  FlowCounts flow_counts() const override { return {}; }
  void advance_time(std::chrono::milliseconds) override {}
  void invalidate_flows() override {}
  Bytes sa_state() const override { return {static_cast<uint8_t>(next_)}; }
  void restore_sa_state(const Bytes& state) override;

 private:
  void skip_unplayed();
  void take(bool from_where_the_step_says, ByteView packet, const Bytes& renamed);
  void answer(const Step& step);

  const Scenario& scenario_;
  const Substitute rename_;
  const Spoil spoil_;
  size_t next_ = 0;  // the step that comes
  std::vector<Bytes> pending_;
  FramesByInterface sent_;
  std::vector<Bytes> to_host_;
  DropCounts drops_{};
  std::map<size_t, bool> input_was_right_;  // by step
};

}  // namespace espalier::test
