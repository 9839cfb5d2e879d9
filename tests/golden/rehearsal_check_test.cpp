// That the player notices when `explain` said something else than what happened, and when a packet got lost.
#include <gtest/gtest.h>

#include "tests/golden/player.hpp"
#include "tests/golden/recorded_scenario.hpp"
#include "tests/golden/replay_bed.hpp"

namespace espalier::test {
namespace {

// Rehearses what was recorded; `distort` changes what it says of a step.
class Prophet : public ReplayBed {
 public:
  using Distort = std::function<void(const Step& step, Rehearsed& said)>;
  Prophet(const Scenario& scenario, Distort distort)
      : ReplayBed(
            scenario, [](FieldKind, const Bytes&, uint16_t) { return std::nullopt; }, nullptr),
        scenario_(scenario),
        distort_(std::move(distort)) {}

  std::optional<Rehearsed> rehearse(std::string_view, const std::vector<Bytes>&, size_t) override {
    while (scenario_.steps.at(next_).skip) ++next_;
    const Step& step = scenario_.steps[next_++];
    Rehearsed said;
    said.output = step.expected.output;
    const NamedCounts drops = expected_drops(step);
    for (const DropReasonInfo& each : kDropReasonTable)
      if (const auto found = drops.find(each.name); found != drops.end())
        said.ended[static_cast<size_t>(each.reason)] = found->second;
    distort_(step, said);
    return said;
  }

 private:
  const Scenario& scenario_;
  const Distort distort_;
  size_t next_ = 0;
};

std::vector<Difference> differences(const Prophet::Distort& distort) {
  const Scenario scenario = load_recorded("05-tunnel");
  Prophet bed(scenario, distort);
  return play(scenario, {}, bed).value().differences;
}

TEST(RehearsalCheck, TakesWhatAgrees) {
  for (const Difference& each : differences([](const Step&, Rehearsed&) {})) ADD_FAILURE() << describe(each);
}

TEST(RehearsalCheck, SeesAnotherValueInAFrame) {
  constexpr size_t kTtl = 14 + 8;
  const auto found = differences([](const Step& step, Rehearsed& said) {
    if (step.id == "out-ttl2") ++said.output.at("wan0").front().at(kTtl);
  });
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found.front().step, "out-ttl2");
  EXPECT_EQ(found.front().field, "wan0[0].ip.ttl");
  EXPECT_EQ(found.front().ours_by, "explain said beforehand");
}

TEST(RehearsalCheck, SeesAFrameThatWasNotSaid) {
  const auto found = differences([](const Step& step, Rehearsed& said) {
    if (step.id == "out-ttl2") said.output.clear();
  });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.front().field, "output");
}

TEST(RehearsalCheck, SeesAnotherReason) {
  const auto found = differences([](const Step& step, Rehearsed& said) {
    if (step.id == "out-ttl2") said.ended[static_cast<size_t>(DropReason::kUsedFragment)] = 1;
  });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.front().field, "ended by reason");
  EXPECT_EQ(found.front().ours, "{ used_fragment: 1 }");
}

// Says that the gateway made more packets than left or ended.
class Loser : public ReplayBed {
 public:
  using ReplayBed::ReplayBed;
  std::optional<Packets> packets() const override { return Packets{.made = 1000, .waiting = 0}; }
};

TEST(RehearsalCheck, SeesThatPacketsAreLost) {
  const Scenario scenario = load_recorded("05-tunnel");
  Loser bed(
      scenario, [](FieldKind, const Bytes&, uint16_t) { return std::nullopt; }, nullptr);
  const auto found = play(scenario, {}, bed).value().differences;
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found.front().field, "packets");
  EXPECT_EQ(found.front().recorded_by, "there came");
}

}  // namespace
}  // namespace espalier::test
