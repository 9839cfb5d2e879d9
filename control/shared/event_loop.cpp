#include "control/shared/event_loop.hpp"

#include <algorithm>
#include <array>

namespace espalier {

Result<EventLoop> EventLoop::create() {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail("epoll: {}", errno_text());
  return EventLoop(std::move(epoll));
}

Result<void> EventLoop::watch(int fd, IoCallback callback) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail("epoll: {}", errno_text());
  watched_[fd] = std::make_shared<IoCallback>(std::move(callback));
  return {};
}

void EventLoop::want(int fd, bool readable, bool writable) {
  epoll_event event{};
  event.events = (readable ? uint32_t{EPOLLIN} : 0) | (writable ? uint32_t{EPOLLOUT} : 0);
  event.data.fd = fd;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::forget(int fd) {
  if (watched_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::after(milliseconds delay, Callback callback) {
  timers_.emplace(std::pair(Clock::now() + delay, ++last_timer_), std::move(callback));
  return last_timer_;
}

void EventLoop::cancel(TimerId timer) {
  std::erase_if(timers_, [timer](const auto& entry) { return entry.first.second == timer; });
}

void EventLoop::run() {
  while (!stopped_) run_once(milliseconds(1000));
}

void EventLoop::run_once(milliseconds limit) {
  std::array<epoll_event, 32> events;
  const int timeout = static_cast<int>(time_to_next_timer(limit).count());
  const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), timeout);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    const auto found = watched_.find(event.data.fd);
    if (found == watched_.end()) continue;  // an earlier callback of this round forgot it
    const auto keep_alive = found->second;  // it may forget itself
    (*keep_alive)(event.events);
  }
  run_timers();
}

// Rounded up, so that a timer is due when epoll_wait returns.
milliseconds EventLoop::time_to_next_timer(milliseconds limit) const {
  if (timers_.empty()) return limit;
  const auto left = std::chrono::ceil<milliseconds>(timers_.begin()->first.first - Clock::now());
  return std::clamp(left, milliseconds(0), limit);
}

void EventLoop::run_timers() {
  const auto now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto due = timers_.extract(timers_.begin());
    due.mapped()();
  }
}

}  // namespace espalier
