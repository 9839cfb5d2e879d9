// The core's outputs as messages to the dataplane, and the dataplane's messages as the core's inputs
// (control/shared/messages_ike.hpp), through the rings of a Channel.
//
// Channels come and go: with every other dataplane, with every other espalierd. A new one begins with
// begin(), all of the core's SAs, and commit(); what the dataplane has beyond them it removes. So without a
// channel nothing about SAs has to be kept. Questions (use of an SA, the way to an address) are asked again
// on the new one.
//
// Nothing waits: messages that the ring has no room for wait in a queue of limited length and leave in order.
// Datagrams beyond its limit are lost, as on any wire; if SAs come to it the dataplane is taken for dead.
// Owner: espalier-ike's thread.
#pragma once

#include <deque>
#include <unordered_map>

#include "control/shared/event_loop.hpp"
#include "control/shared/message_decode.hpp"
#include "control/shared/ring.hpp"
#include "ike/core.hpp"

namespace espalier::ike {

class DataplanePort {
 public:
  struct Events {
    std::function<void(const Endpoint& local, const Endpoint& remote, ByteView bytes)> on_datagram;
    std::function<void(const Event&)> on_event;          // Acquire, Expire, MappingChanged, SaUse
    std::function<void(const std::string&)> on_trouble;  // for the log
    std::function<void()> on_broken;                     // the channel is of no use any more, and detached
  };
  using OnWay = std::function<void(IpAddress local)>;  // unspecified: there is no route
  struct Counters {
    uint64_t datagrams_lost = 0;    // to a full queue, or while there was no channel
    uint64_t parts_refused = 0;     // of datagrams that came in pieces that do not fit
    uint64_t messages_refused = 0;  // what cannot be decoded, answers to nothing
    uint64_t requests_refused = 0;  // by the dataplane
  };
  // How many messages may wait before datagrams, and anything else, do not fit.
  struct Limits {
    size_t datagram_parts = 8192;
    size_t messages = 65536;
  };

  DataplanePort(EventLoop& loop, Events events, Limits limits);
  DataplanePort(EventLoop& loop, Events events) : DataplanePort(loop, std::move(events), Limits{}) {}
  ~DataplanePort();
  DataplanePort(const DataplanePort&) = delete;
  DataplanePort& operator=(const DataplanePort&) = delete;

  Result<void> attach(Channel channel);
  void detach();
  bool attached() const { return channel_.has_value(); }

  void begin();
  void commit();
  void send(const SendDatagram& datagram);
  // The record's key is wiped.
  void install(InstallSa& install);
  void remove(const RemoveSa& remove);
  void move(const MoveSa& move);
  void ask_use(Spi spi);  // of no effect without a channel: the core asks again when it wants to know
  void ask_way(IpAddress remote, OnWay on_way);

  const Counters& counters() const { return counters_; }

 private:
  struct AskedUse {
    Spi spi;
  };
  struct AskedWay {
    IpAddress remote;
    OnWay on_way;
  };
  struct Installing {
    Spi spi;
    Direction direction{};
    IpAddress destination;
    std::string name;
  };
  struct Told {};  // a removal, a move, begin .. commit: only a refusal is of interest
  using Request = std::variant<AskedUse, AskedWay, Installing, Told>;
  struct Assembly {  // of a datagram in parts
    Endpoint local, remote;
    Bytes bytes;
    size_t total = 0;
  };

  template <class Payload>
  void request(const Payload& payload, Request kept);
  template <class Payload>
  void enqueue(const Payload& payload, uint64_t id);
  void ask_again();
  void pump();
  void pump_later(milliseconds delay);
  bool send_queue();
  bool receive_some();
  void break_off(const std::string& why);
  void clear_queue();

  void take(const message::Slot& slot);
  void take(const message::IkeReceived& part);
  void answer(uint64_t id, const message::ForIke& message);
  void answered(const Installing& request, const message::IkeAck& ack);
  std::optional<Event> event_of(const message::ForIke& message) const;

  EventLoop& loop_;
  Events events_;
  Limits limits_;
  std::optional<Channel> channel_;
  std::deque<message::Slot> queue_;
  std::unordered_map<uint64_t, Request> requests_;  // unanswered
  uint64_t last_id_ = 0;
  uint64_t last_id_before_ = 0;  // when the channel came: questions up to it were asked on an earlier one
  uint32_t named_ = 0;           // SAs since begin()
  Assembly assembly_;
  Counters counters_;
  EventLoop::TimerId pump_timer_ = 0;  // 0: none
};

}  // namespace espalier::ike
