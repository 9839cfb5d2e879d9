// One IKE SA: its keys, its window of messages, the queue of our exchanges, and its child SAs (RFC 7296
// section 2).
//
//   initiator  kInit ──► kAuth ──► kEstablished ──► kRekeyed ──► kDeleting ──► kClosed
//   responder            kAuth ──►
//
// The IKE SA knows how messages travel; what they mean is known by the tasks (folder tasks/), and what is
// wanted of the peer by the connection (connection.hpp). A closed IKE SA lingers to answer the request that
// closed it once more. Owner: the engine.
#pragma once

#include <deque>

#include "ike/sa/child_sa.hpp"
#include "ike/sa/cookie.hpp"
#include "ike/sa/nat.hpp"
#include "ike/sa/task.hpp"
#include "ike/sa/window.hpp"
#include "ike/wire/protection.hpp"

namespace espalier::ike {

class Engine;

enum class IkePhase : uint8_t { kInit, kAuth, kEstablished, kRekeyed, kDeleting, kClosed };

struct IkeFacts {
  uint64_t id = 0;         // in reports and of the saved state
  std::string connection;  // empty: not chosen yet (responder before IKE_AUTH)
  bool initiator = false;  // we created it: the flag I of our messages
  uint64_t initiator_spi = 0, responder_spi = 0;
  Endpoint local, remote;
  NatFindings nat;
  NatPlan plan;
  IkeSuite suite;
  bool fragmentation = false;  // the peer takes fragments (RFC 7383)
  Identity local_id, remote_id;
  Time created = kNever, established = kNever, rekey_at = kNever, expires_at = kNever;
  uint64_t predecessor = 0;    // our SPI of the IKE SA that this one replaced
  Bytes lowest_nonce;          // of the exchange that made it: decides collisions (section 2.8.2)
  bool rekeyed_by_us = false;  // kRekeyed: we delete it
};

// What IKE_SA_INIT and IKE_AUTH need of each other; wiped when the peer is authenticated.
struct Opening {
  Bytes our_nonce, peer_nonce;
  Bytes our_message, peer_message;  // as they were on the wire (section 2.15)
  Message peer_init;                // decoded
};

class IkeSa {
 public:
  IkeSa(Engine& engine, IkeFacts facts);
  ~IkeSa();
  IkeSa(const IkeSa&) = delete;
  IkeSa& operator=(const IkeSa&) = delete;

  Engine& engine;
  IkeFacts facts;
  IkePhase phase = IkePhase::kInit;
  std::shared_ptr<const ConnectionConfig> config;  // null: not chosen yet
  std::unique_ptr<Opening> opening;                // until established
  HalfOpenTable::Ticket ticket;                    // responder: until established, or destroyed
  std::vector<std::unique_ptr<ChildSa>> children;
  Window window;

  uint64_t local_spi() const { return facts.initiator ? facts.initiator_spi : facts.responder_spi; }
  Context& context() const;
  bool is_up() const { return phase == IkePhase::kEstablished; }
  // The peer's rekeying made it while our own still waits for its response: it may not remain, has no
  // children yet, and asks nothing.
  bool is_rival() const;
  bool is_stranger() const { return phase == IkePhase::kAuth && !facts.initiator; }
  const IkeKeys& keys() const { return keys_; }
  // Errors: OpenSSL's. `counter`: the first IV of ours.
  Result<void> set_keys(IkeKeys keys, uint64_t counter = 1);
  void wipe_auth_keys();  // SK_pi and SK_pr, when nothing is authenticated with them any more
  void set_lifetimes();
  IkeState report_state() const;
  // Who is not authenticated cannot fill the log.
  template <class... Args>
  void log(LogLevel level, Subsystem subsystem, fmt::format_string<Args...> format, Args&&... args) const {
    if (is_stranger() && !context().may_log_stranger()) return;
    context().log(level, subsystem, facts.connection, "", format, std::forward<Args>(args)...);
  }

  // --- Messages (ike_sa.cpp) ---
  // An encrypted datagram with one of our SPIs. Not authentic ones change nothing.
  void receive(const Envelope& envelope, ByteView datagram, const Endpoint& local, const Endpoint& remote);
  // The answer to our IKE_SA_INIT.
  void receive_init_response(const Message& message, ByteView datagram);
  // Sends and keeps the one response to the request being worked on.
  void respond(const Message& request, std::vector<Payload> payloads);
  // As the responder of IKE_SA_INIT, in clear.
  void respond_in_clear(const Message& request, std::vector<Payload> payloads);
  void repeat_response(const Endpoint& local, const Endpoint& remote);

  // --- Our exchanges ---
  void enqueue(std::unique_ptr<Task> task);
  void enqueue_first(std::unique_ptr<Task> task);
  Task* current() const { return current_.get(); }
  bool is_running(TaskKind kind) const { return current_ && current_->kind() == kind; }
  bool has(TaskKind kind) const;  // running or queued
  const std::deque<std::unique_ptr<Task>>& queue() const { return queue_; }
  std::deque<std::unique_ptr<Task>> take_queue() { return std::exchange(queue_, {}); }
  void pump();
  void forget_current();  // its response is of no interest any more
  void adopt_current(std::unique_ptr<Task> task) { current_ = std::move(task); }

  // --- Time ---
  void tick();
  Time deadline() const;
  void heard(Time when);  // the peer lives

  // --- Child SAs (ike_sa_children.cpp) ---
  ChildSa* find_in(Spi spi_in);
  ChildSa* find_out(Spi spi_out);
  ChildSa* find_replacement(Spi replaced);
  // Another one for the same traffic, that is to stay; null: none.
  ChildSa* find_twin(const ChildSa& child);
  ChildSa& add_child(std::unique_ptr<ChildSa> child);
  // Children came: looks in a while whether there are two for the same traffic, and deletes one of them.
  void watch_children();
  ChildPath path() const;
  void install(ChildSa& child, Direction direction);
  void activate(ChildSa& child);  // outbound of a responder's
  // It is not wanted any more: it carries traffic until it is deleted, but is neither rekeyed nor replaced.
  void retire(ChildSa& child, Down why);
  // Its outbound SA goes at once, its inbound one when what is on its way has come, if another takes over; if
  // none does, the connection is told.
  void drop_child(ChildSa& child, Down why);
  void move_to(const Endpoint& local, const Endpoint& remote);
  void child_use(const SaUse& use);

  // Everything goes: children out of the dataplane, nothing is sent. `linger`: the last response is given
  // again.
  void close(Down why, bool linger = false);
  // Before it is established: why the operator does not get what he wants.
  void fail(const std::string& why);
  bool is_over() const;  // may be destroyed
  size_t fragment_bytes() const;

  uint64_t next_counter() const { return sealer_ ? sealer_->next_counter : 1; }
  Time last_heard = kNever;
  Endpoint first_remote;  // where the IKE_SA_INIT came from, as the responder
  std::string doubt;      // why it will fail, if no better answer to IKE_SA_INIT comes

 private:
  bool accepts_requests(const Envelope& envelope) const;
  void receive_request(const Envelope& envelope, ByteView datagram);
  void receive_response(const Envelope& envelope, ByteView datagram);
  void receive_repeated(const Envelope& envelope, ByteView datagram);
  std::optional<Message> open_message(const Envelope& envelope, ByteView datagram, FragmentBuffer& buffer);
  void refuse(const Envelope& envelope, const ParseError& error);
  void note_authentic();
  void dispatch(const Message& request);
  void finish(Task::Verdict verdict, std::unique_ptr<Task> task);
  void send_request(std::unique_ptr<Task> task, Request request);
  void send(const std::vector<Bytes>& datagrams, const Endpoint& local, const Endpoint& remote);
  Header header(ExchangeType exchange, bool response, uint32_t message_id) const;
  void tick_child(ChildSa& child);
  void settle_children();
  void tick_rekeying();
  void tick_liveness();
  void tick_keepalive();
  void ask_for_use();
  Time liveness_at() const;
  Time keepalive_at() const;
  void lost();
  void withdraw(ChildSa& child, Direction direction);

  IkeKeys keys_;
  std::optional<Sealer> sealer_;
  std::optional<crypto::IkeCipher> opener_;
  FragmentBuffer request_fragments_, response_fragments_;
  std::deque<std::unique_ptr<Task>> queue_;
  std::unique_ptr<Task> current_;
  Endpoint reply_local_, reply_remote_;  // of the datagram being worked on
  Time last_sent_;                       // to the peer; or made
  Time asked_use_ = kNever;              // liveness: the dataplane was asked
  Time linger_until_ = kNever;
  Time settle_at_ = kNever;  // of watch_children()
};

}  // namespace espalier::ike
