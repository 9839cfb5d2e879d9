// How long to wait before a process that died is started again.
//
// Not at all, so that traffic resumes at once, unless it died within a second of its start: then 100 ms,
// doubling to 5 s, until one lives longer. Pure; time is passed in.
#pragma once

#include <algorithm>
#include <chrono>

namespace espalier::daemon {

class BackOff {
 public:
  using milliseconds = std::chrono::milliseconds;

  milliseconds delay_after(milliseconds lived) {
    if (lived >= kShortLife) {
      next_ = kFirst;
      return milliseconds(0);
    }
    const auto delay = next_;
    next_ = std::min(next_ * 2, kLongest);
    return delay;
  }

 private:
  static constexpr milliseconds kShortLife{1000};
  static constexpr milliseconds kFirst{100};
  static constexpr milliseconds kLongest{5000};
  milliseconds next_ = kFirst;
};

}  // namespace espalier::daemon
