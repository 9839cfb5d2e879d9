// espalier-ike around its core: what the core wants done is done, what happens is told to it.
//
//   espalierd ──letters──► Shell ──► Core ──outputs──► Shell ──► rings to the dataplane
//                            ▲                           ├──► state segment, before any later output
//   dataplane ──rings────────┘                           └──► letters: host names to resolve
//
// It listens for espalierd, and the newest that was authenticated counts; without one everything goes on as
// it is. States of an earlier process are adopted with the first configuration, the dataplane's rings are
// used from then on. Owner: the one thread of its EventLoop.
#pragma once

#include <sys/socket.h>

#include <nlohmann/json_fwd.hpp>

#include "control/shared/post.hpp"
#include "ike/core.hpp"
#include "ike/daemon/dataplane_port.hpp"
#include "ike/daemon/log.hpp"
#include "ike/daemon/name_resolution.hpp"
#include "ike/daemon/state_store.hpp"

namespace espalier::ike {

class Shell {
 public:
  // `listener`: listens, SOCK_SEQPACKET, non-blocking.
  static Result<std::unique_ptr<Shell>> create(EventLoop& loop, Fd listener, CoreOptions options);
  ~Shell();
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

  // Tells every peer that its SAs end; `done` when that is on its way, a moment later.
  void stop(std::function<void()> done);

 private:
  Shell(EventLoop& loop, Fd listener, CoreOptions options);

  // espalierd.
  void on_caller();
  Result<void> greet(Fd socket);
  void on_letter(Post* from, Letter letter);
  void on_closed(const Post* which, const Error& why);
  Result<void> take(Letter& letter);
  Result<void> welcome(Letter& letter);
  Result<void> take_channel(Letter& letter);
  void configure(Letter& letter);
  void adopt_states();
  void answer(uint64_t id, const nlohmann::json& document);
  void send(Letter::Kind kind, uint64_t id, std::string_view text);

  // The operator's requests; the document of the answer.
  nlohmann::json handle_request(std::string_view text);
  Result<nlohmann::json> perform(const nlohmann::json& request);
  Result<nlohmann::json> set_log(const nlohmann::json& request);
  nlohmann::json status() const;

  // The core.
  void use_channel(Channel channel);
  void on_datagram(const Endpoint& local, const Endpoint& remote, ByteView bytes);
  void on_broken_channel();
  void tick();
  void run_outputs();
  void run(SendDatagram& output);
  void run(InstallSa& output);
  void run(RemoveSa& output);
  void run(MoveSa& output);
  void run(AskSaUse& output);
  void run(Resolve& output);
  void run(SaveStates& output);
  void beat();

  EventLoop& loop_;
  Fd listener_;
  Log log_;
  Core core_;
  DataplanePort port_;
  NameResolution names_;
  std::optional<StateStore> states_;
  std::unique_ptr<Post> greeted_, espalierd_;
  std::optional<Channel> early_channel_;  // came before the first configuration
  bool configured_ = false;
  std::vector<IpAddress> local_addresses_;  // empty: all
  uint64_t wrong_address_ = 0;              // datagrams to others
  EventLoop::TimerId tick_timer_ = 0, beat_timer_ = 0;
};

}  // namespace espalier::ike
