// One end of a connection that letters (letter.hpp) travel over: sends them in order, also when the socket's
// queue is full for a while, and hands over what arrives. Owner: the thread of its EventLoop.
#pragma once

#include <deque>

#include "control/shared/event_loop.hpp"
#include "control/shared/letter.hpp"

namespace espalier {

class Post {
 public:
  struct Events {
    std::function<void(Letter)> on_letter;
    std::function<void(const Error&)> on_closed;  // the last that is called; the Post may be destroyed in it
  };
  static constexpr size_t kMostWaiting = 4096;

  // `socket` is connected, of type SOCK_SEQPACKET and non-blocking.
  static Result<std::unique_ptr<Post>> open(EventLoop& loop, Fd socket, Events events);
  ~Post();
  Post(const Post&) = delete;
  Post& operator=(const Post&) = delete;

  // Sends now or later. Errors: the other side does not take letters any more, or more than kMostWaiting
  // wait: the connection is of no use then, and is the caller's to close.
  Result<void> send(Result<Letter> letter);
  const Fd& socket() const { return socket_; }

 private:
  Post(EventLoop& loop, Fd socket, Events events)
      : loop_(loop), socket_(std::move(socket)), events_(std::make_shared<const Events>(std::move(events))) {}
  void on_ready(uint32_t events);
  Result<bool> receive_one();
  Result<void> send_waiting();

  EventLoop& loop_;
  Fd socket_;
  std::shared_ptr<const Events> events_;  // one that destroys us goes on to its end
  std::deque<Letter> waiting_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // false: a callback destroyed us
};

}  // namespace espalier
