// The differences from Linux that are intended, as data (deviations.json): each entry names one step, one
// field, the value that ours must have there, and the reason's number in the operator's documentation:
//   1 INVALID is dropped   2 CE on not-ECT is dropped   3 clear packets whose source is behind a tunnel
//   device 4 a full port range is counted   5 no redirects, ICMP errors limited   6 another outer source is
//   refused 7 no ICMP error in clear about a decrypted packet
#pragma once

#include "tests/golden/comparator.hpp"

namespace espalier::test {

inline constexpr int kLastReason = 7;

struct Deviation {
  std::string scenario;
  std::string step;
  std::string field;
  DifferenceValue ours;
  int reason = 0;
};
std::string describe(const Deviation& deviation);

// Refuses entries with an unknown reason and two entries for one field.
Result<std::vector<Deviation>> load_deviations(const std::filesystem::path& file);
std::vector<Deviation> deviations_of(const std::vector<Deviation>& all, const std::string& scenario);

struct Judgement {
  std::vector<Difference> unexplained;  // differences that no entry allows, also by another value
  std::vector<Deviation> unused;        // entries without their difference
  size_t explained = 0;
};
Judgement judge(const std::vector<Difference>& differences, const std::vector<Deviation>& allowed);

}  // namespace espalier::test
