// The differences from Linux that are intended (docs/packet-order.md, "Where Espalier differs on purpose"),
// as rules: each looks at what a step sent and what Linux did, and says what Espalier does instead.
//
//   1 INVALID is dropped   2 CE on not-ECT is dropped   3 clear packets whose source is behind a tunnel
//   interface are dropped   4 a full port range is counted (no difference in packets: translate/ expects it)
//   5 no redirects   6 another outer source is refused   7 no ICMP error in clear about a decrypted packet
//
// A rule that applies does not make its outcome the only right one: a step is right if it does what Linux
// did, or exactly what one rule says.
#pragma once

#include "tests/golden/comparator.hpp"

namespace espalier::test {

struct Alternative {
  int reason = 0;  // the rule's number
  Expected expected;
};

// What the rules allow in this step; pure.
std::vector<Alternative> intended_differences(const Scenario& scenario, const Step& step);

// A step that did what a rule says.
struct Deviation {
  std::string step;
  int reason = 0;
  friend auto operator<=>(const Deviation&, const Deviation&) = default;
};

// Compares with Linux, and where that differs with what the rules say. `labels` learn from what agreed.
struct Judgement {
  std::vector<Difference> differences;  // from Linux; empty with a deviation
  std::optional<Deviation> deviation;
};
Judgement judge(const Scenario& scenario, const Step& step, const Observation& observed, FrameOrder order,
                Labels& labels);

}  // namespace espalier::test
