// Requests to the dataplane over the channel, and their answers.
//
// A request is a sequence of slots that can be produced again, so that it can be replayed: when the dataplane
// or the channel is replaced, every request that was not acknowledged is sent again from its beginning. All
// requests are idempotent (a configuration is compared with what runs). What arrives is decoded and checked;
// what does not belong is counted and dropped. Owner: espalierd's thread; callbacks run in it.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "control/shared/event_loop.hpp"
#include "control/shared/message_decode.hpp"
#include "control/shared/ring.hpp"

namespace espalier::daemon {

class DataplaneLink {
 public:
  // The slot at `position` of the request, std::nullopt behind its last. The link wipes what it got.
  using Source = std::function<std::optional<message::Slot>(size_t position, uint64_t request_id)>;
  struct Answer {
    message::Ack ack;  // may say no
    std::vector<message::FromDataplane> rows;
  };
  using Done = std::function<void(Result<Answer>)>;

  using OnEvent = std::function<void(const message::FromDataplane&)>;

  // `on_event`: an Acquire, Expire or Mapping; nobody asked for it. `on_broken`: the other side wrote
  // nonsense into the ring's positions; the channel was dropped.
  DataplaneLink(EventLoop& loop, OnEvent on_event, std::function<void()> on_broken);
  ~DataplaneLink();
  DataplaneLink(const DataplaneLink&) = delete;
  DataplaneLink& operator=(const DataplaneLink&) = delete;

  // In order; waits while there is no channel. `done` is called once: with the answer, or with an error when
  // there was no progress for `patience`. Returns the request's id.
  uint64_t request(Source source, milliseconds patience, Done done);
  // Forgets a request: it is not replayed and `done` is not called. What was sent already may take effect.
  void cancel(uint64_t request);
  // A new channel: everything unanswered is sent again.
  Result<void> attach(Channel channel);
  void detach();
  bool attached() const { return channel_.has_value(); }
  uint64_t refused_messages() const { return refused_; }

 private:
  struct Request {
    uint64_t id;
    Source source;
    milliseconds patience;
    Done done;
    Answer answer{};
    size_t position = 0;  // of the next slot to send
    bool sent = false;
    Clock::time_point last_progress = Clock::now();
  };

  void pump();
  bool send_all();
  bool send(Request& request);
  bool receive_some();
  void take(const message::Slot& slot);
  void take_row(Request& request, message::FromDataplane row);
  void finish(uint64_t id, std::optional<Error> error);
  void pump_later(milliseconds delay);
  void give_up_impatient();

  EventLoop& loop_;
  OnEvent on_event_;
  std::function<void()> on_broken_;
  std::optional<Channel> channel_;
  std::deque<Request> requests_;
  uint64_t last_id_;
  uint64_t refused_ = 0;
  EventLoop::TimerId pump_timer_ = 0;  // 0: none
  EventLoop::TimerId patience_timer_ = 0;
};

}  // namespace espalier::daemon
