// Holds what `explain` says beforehand against what then happens: in every step the gateway rehearses the
// packets before it gets them (dataplane/rehearsal.hpp). The rehearsal has to do what the packets do
// afterwards: agree with Linux in the same fields, or deviate by the same rule, and end as many packets for
// each reason.
#pragma once

#include "tests/golden/deviations.hpp"

namespace espalier::test {

class RehearsalCheck {
 public:
  RehearsalCheck(const Scenario& scenario, Testbed& bed) : scenario_(scenario), bed_(bed) {}

  // Before packets of a step are given to the bed; `interface` as in Step.
  void rehearse(std::string_view interface, const std::vector<Bytes>& packets);

  void forget() { said_.reset(), held_.clear(); }

  // What happened in the step, as the bed counted it; `judgement` is of that. `labels` as they were before
  // the step. Forgets the step. Nothing where the bed cannot rehearse, or the step is wrong anyway.
  struct Happened {
    const Judgement& judgement;
    DropCounts before, after;
  };
  std::vector<Difference> judge(const Step& step, const Happened& happened, FrameOrder order, Labels labels);

 private:
  KeyRing keys_for(const Step& step) const;

  const Scenario& scenario_;
  Testbed& bed_;
  std::optional<Rehearsed> said_;
  // What came in while the gateway held fragments, which a rehearsal knows from here only; by interface.
  std::map<std::string, std::vector<Bytes>> held_;
  Bytes state_;  // of the SAs before those
};

}  // namespace espalier::test
