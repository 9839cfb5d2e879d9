// The loop of a process that waits for descriptors and for time: espalierd's and espalier-ike's.
//
// Everything in such a process runs from here, in one thread, and nothing that runs may block. A callback may
// watch, forget and cancel whatever it likes, itself included.
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>

#include "control/shared/fd.hpp"

namespace espalier {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

class EventLoop {
 public:
  using Callback = std::function<void()>;
  using IoCallback = std::function<void(uint32_t events)>;  // EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR
  using TimerId = uint64_t;

  static Result<EventLoop> create();

  // Calls `callback` whenever `fd` is readable (or hung up); level-triggered. The descriptor stays its
  // owner's, who calls forget() before closing it.
  Result<void> watch(int fd, IoCallback callback);
  // What `fd`'s callback is called for; for hang-up and errors it always is.
  void want(int fd, bool readable, bool writable);
  void forget(int fd);

  TimerId after(milliseconds delay, Callback callback);
  void cancel(TimerId timer);

  // Until stop(). run_once() waits for at most `limit` and is for tests.
  void run();
  void run_once(milliseconds limit);
  void stop() { stopped_ = true; }

 private:
  explicit EventLoop(Fd epoll) : epoll_(std::move(epoll)) {}
  void run_timers();
  milliseconds time_to_next_timer(milliseconds limit) const;

  Fd epoll_;
  std::map<int, std::shared_ptr<IoCallback>> watched_;
  std::map<std::pair<Clock::time_point, TimerId>, Callback> timers_;
  TimerId last_timer_ = 0;
  bool stopped_ = false;
};

}  // namespace espalier
