#include "dataplane/idle.hpp"

#include <sys/epoll.h>
#include <time.h>

#include <algorithm>

namespace espalier::dataplane {

IdleSleeper::IdleSleeper(Mailbox& mailbox) : mailbox_(mailbox) {}

void IdleSleeper::follow(std::shared_ptr<const PortSet> ports, WorkerId worker) {
  if (ports == ports_) return;
  ports_ = std::move(ports);
  worker_ = worker;
  epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  all_ring_ = static_cast<bool>(epoll_);
  const auto watch = [this](int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) all_ring_ = false;
  };
  watch(mailbox_.wait_fd());
  for (const ReceiveQueue& q : ports_->receive[worker.value]) {
    const auto fd = q.port->wait_fd(q.queue);
    if (fd)
      watch(*fd);
    else
      all_ring_ = false;
  }
}

void IdleSleeper::prepare(std::shared_ptr<const PortSet> ports, WorkerId worker) {
  follow(std::move(ports), worker);
  for (const ReceiveQueue& q : ports_->receive[worker.value]) q.port->arm(q.queue);
  quiet_mailbox_ = mailbox_.prepare_to_wait();
}

void IdleSleeper::disarm() {
  for (const ReceiveQueue& q : ports_->receive[worker_.value]) q.port->disarm(q.queue);
  mailbox_.awake();
}

void IdleSleeper::sleep() {
  epoll_event event;
  if (!quiet_mailbox_) return disarm();
  if (all_ring_) {
    ::epoll_wait(epoll_.get(), &event, 1, kHeartbeatMs);
  } else {
    const timespec pause{.tv_sec = 0, .tv_nsec = sleep_us_ * 1000L};
    ::epoll_pwait2(epoll_.get(), &event, 1, &pause, nullptr);
    sleep_us_ = std::min(sleep_us_ * 2, kLongestSleepUs);
  }
  disarm();
}

void IdleSleeper::cancel() {
  disarm();
  note_work();
}

}  // namespace espalier::dataplane
