// The operator's socket: JSON lines over RUNTIME_DIR/control.sock, mode 0660, group espalier if there is one.
//
// One request at a time per client, one line back for each. A client can be slow, silent, endless or hostile:
// no read or write blocks, lines and buffers have limits, who does not move is disconnected, and what is
// refused is counted. Owner: espalierd's thread.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "control/shared/event_loop.hpp"
#include "control/daemon/request.hpp"
#include "control/daemon/wiping_buffer.hpp"

namespace espalier::daemon {

// Answers to the operator (docs/socket.md). ok_reply() leaves a body that says "ok": false as it is.
Json ok_reply(Json body = Json::object());
Json error_reply(const Error& error);

class OperatorSocket {
 public:
  struct Limits {
    size_t clients = 32;
    size_t request_bytes = size_t{32} << 20;   // a configuration with tens of thousands of tunnels
    size_t buffered_bytes = size_t{64} << 20;  // of all clients' unfinished requests together
    milliseconds idle{60'000};                 // without a byte moving, unless we owe the answer
  };
  using Reply = std::function<void(Json)>;  // to be called once; does nothing when the client has gone
  using Handler = std::function<void(Request, Reply)>;

  static Result<std::unique_ptr<OperatorSocket>> listen(EventLoop& loop, const std::string& path,
                                                        Limits limits, Handler handler);
  ~OperatorSocket();
  OperatorSocket(const OperatorSocket&) = delete;
  OperatorSocket& operator=(const OperatorSocket&) = delete;

  // Requests that were not understood, too long, or came from too many clients.
  uint64_t refused() const { return refused_; }
  size_t clients() const { return clients_.size(); }

 private:
  struct Client {
    Fd fd;
    WipingBuffer input;
    std::string output;
    size_t start = 0;     // of the first line in input that was not handled
    size_t searched = 0;  // no line feed between start and here
    bool busy = false;    // its request is being answered
    bool input_ended = false;
    bool closing = false;  // after the output was written
    Clock::time_point last_moved = Clock::now();
  };
  using ClientId = uint64_t;

  OperatorSocket(EventLoop& loop, Fd listener, Limits limits, Handler handler);
  void accept();
  void on_event(ClientId id, uint32_t events);
  bool read_some(Client& client);
  void handle_lines(ClientId id);
  void handle_line(ClientId id, std::string_view line);
  void refuse_endless(ClientId id);
  void reply(ClientId id, const Json& document);
  bool write_some(Client& client);
  void settle(ClientId id);
  void drop(ClientId id);
  void drop_idle();
  size_t buffered_bytes() const;

  EventLoop& loop_;
  Fd listener_;
  Limits limits_;
  Handler handler_;
  std::map<ClientId, Client> clients_;
  ClientId last_client_ = 0;
  uint64_t refused_ = 0;
  EventLoop::TimerId idle_timer_ = 0;
  std::shared_ptr<OperatorSocket*> self_;  // for replies that outlive us
};

}  // namespace espalier::daemon
