#include "ike/sa/ike_sa.hpp"

#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"

namespace espalier::ike {
namespace {

constexpr seconds kLinger{30};
constexpr seconds kLongestInitWait{10};
constexpr size_t kUdpAndMarkerBytes = 12;

// Of an encrypted fragment (RFC 7383 section 2.5); 0: it is none.
uint16_t fragment_number(const Envelope& envelope) {
  if (envelope.first_payload != static_cast<uint8_t>(PayloadType::kEncryptedFragment) ||
      envelope.body.size() < 8)
    return 0;
  return static_cast<uint16_t>(envelope.body[4] << 8 | envelope.body[5]);
}

}  // namespace

IkeSa::IkeSa(Engine& engine_in, IkeFacts facts_in)
    : engine(engine_in), facts(std::move(facts_in)), last_sent_(engine_in.context.now) {}
IkeSa::~IkeSa() = default;

Context& IkeSa::context() const {
  return engine.context;
}

Result<void> IkeSa::set_keys(IkeKeys keys, uint64_t counter) {
  auto sealing = TRY(make_ike_cipher(facts.suite, keys, facts.initiator));
  auto opening_cipher = TRY(make_ike_cipher(facts.suite, keys, !facts.initiator));
  sealer_.emplace(Sealer{std::move(sealing), counter});
  opener_.emplace(std::move(opening_cipher));
  keys_ = std::move(keys);
  return {};
}

bool IkeSa::is_rival() const {
  const IkeSa* before = facts.predecessor == 0 ? nullptr : engine.find(facts.predecessor);
  return before && before->is_up();
}

void IkeSa::wipe_auth_keys() {
  keys_.pi = {};
  keys_.pr = {};
}

void IkeSa::set_lifetimes() {
  facts.established = last_heard = context().now;
  const milliseconds life = config ? config->lifetime : seconds{0};
  if (life <= milliseconds{0}) return;
  facts.rekey_at = context().now + life - context().spread(life / 10);
  facts.expires_at = context().now + life + life / 10;
}

IkeState IkeSa::report_state() const {
  switch (phase) {
    case IkePhase::kInit:
    case IkePhase::kAuth:
      return IkeState::kConnecting;
    case IkePhase::kEstablished:
      return has(TaskKind::kIkeRekey) ? IkeState::kRekeying : IkeState::kEstablished;
    case IkePhase::kRekeyed:
      return IkeState::kRekeyed;
    case IkePhase::kDeleting:
    case IkePhase::kClosed:
      break;
  }
  return IkeState::kDeleting;
}

size_t IkeSa::fragment_bytes() const {
  if (!facts.fragmentation || !config || config->fragment_bytes == 0) return 0;
  const size_t ip_header = facts.remote.address.is_v4() ? 20 : 40;
  return config->fragment_bytes - ip_header - kUdpAndMarkerBytes;
}

Header IkeSa::header(ExchangeType exchange, bool response, uint32_t message_id) const {
  return {.initiator_spi = facts.initiator_spi,
          .responder_spi = facts.responder_spi,
          .exchange = exchange,
          .initiator = facts.initiator,
          .response = response,
          .message_id = message_id};
}

// --- Receiving ---

void IkeSa::receive(const Envelope& envelope, ByteView datagram, const Endpoint& local,
                    const Endpoint& remote) {
  reply_local_ = local;
  reply_remote_ = remote;
  if (!opener_) return void(++context().counters.malformed);
  envelope.header.response ? receive_response(envelope, datagram) : receive_request(envelope, datagram);
}

// Before it is established only what establishes it, and of the side whose turn it is.
bool IkeSa::accepts_requests(const Envelope& envelope) const {
  if (phase == IkePhase::kClosed || phase == IkePhase::kInit) return false;
  if (phase == IkePhase::kAuth) return !facts.initiator && envelope.header.exchange == ExchangeType::kIkeAuth;
  return true;
}

void IkeSa::receive_request(const Envelope& envelope, ByteView datagram) {
  const uint32_t message_id = envelope.header.message_id;
  if (window.is_repeated(message_id)) return receive_repeated(envelope, datagram);
  if (message_id != window.next_expected() || !accepts_requests(envelope))
    return void(++context().counters.wrong_message_id);
  const auto message = open_message(envelope, datagram, request_fragments_);
  if (!message) return;
  window.accept_request();
  note_authentic();
  dispatch(*message);
}

// A request that was answered is answered again with the same bytes (section 2.1), once per message: of
// fragments by the first one (RFC 7383 section 2.6.1). It has to be authentic, so that nobody makes us send
// by guessing.
void IkeSa::receive_repeated(const Envelope& envelope, ByteView datagram) {
  const uint16_t number = fragment_number(envelope);
  if (number > 1) return;
  FragmentBuffer buffer;
  const bool authentic = number == 1 ? buffer.add(envelope, datagram, *opener_).has_value()
                                     : open(envelope, datagram, *opener_).has_value();
  if (!authentic) return void(++context().counters.not_authentic);
  repeat_response(reply_local_, reply_remote_);
}

void IkeSa::repeat_response(const Endpoint& local, const Endpoint& remote) {
  ++context().counters.answered_again;
  send(window.last_response(), local, remote);
}

std::optional<Message> IkeSa::open_message(const Envelope& envelope, ByteView datagram,
                                           FragmentBuffer& buffer) {
  const bool fragment = envelope.first_payload == static_cast<uint8_t>(PayloadType::kEncryptedFragment);
  std::expected<std::optional<Message>, OpenError> opened = std::unexpected(OpenError{});
  if (fragment && facts.fragmentation)
    opened = buffer.add(envelope, datagram, *opener_);
  else if (!fragment)
    opened = open(envelope, datagram, *opener_);
  if (opened) {
    if (!*opened) return {};  // fragments are missing
    buffer.clear();
    engine.touch(*this);
    return std::move(*opened);
  }
  if (!opened.error().authentic) {
    ++context().counters.not_authentic;
    return {};
  }
  ++context().counters.malformed;
  engine.touch(*this);
  refuse(envelope, opened.error().parse);
  return {};
}

// An authentic message that breaks the rules. INVALID_SYNTAX is the end of the IKE SA (section 2.21.3); an
// unknown critical payload only of the request (section 2.5).
void IkeSa::refuse(const Envelope& envelope, const ParseError& error) {
  log(LogLevel::kWarning, Subsystem::kIke, "message of the peer refused: {}", error.text);
  if (envelope.header.response) {
    window.answered();
    if (phase < IkePhase::kEstablished) return fail(error.text);
    return close(Down::kPeerLost);
  }
  window.accept_request();
  Message request{envelope.header, {}};
  Notify notify{.type = error.notify};
  if (error.notify == NotifyType::kUnsupportedCriticalPayload) notify.data = {error.payload};
  respond(request, {notify});
  if (error.notify != NotifyType::kInvalidSyntax) return;
  phase < IkePhase::kEstablished ? fail(error.text) : close(Down::kPeerLost, true);
}

// The message just opened is new and of the peer, so it tells where the peer is (section 2.23); while it
// authenticates itself the initiator floats to its other port.
void IkeSa::note_authentic() {
  heard(context().now);
  const bool floating = phase == IkePhase::kAuth && !facts.initiator;
  const bool moved = reply_remote_ != facts.remote;
  if (floating || (facts.plan.follow_peer && moved)) move_to(reply_local_, reply_remote_);
}

void IkeSa::heard(Time when) {
  last_heard = std::max(when, last_heard == kNever ? when : last_heard);
  asked_use_ = kNever;
}

void IkeSa::dispatch(const Message& request) {
  switch (request.header.exchange) {
    case ExchangeType::kIkeAuth:
      if (phase == IkePhase::kAuth) return answer_ike_auth(*this, request);
      break;
    case ExchangeType::kCreateChildSa:
      take_over(*this);
      return answer_create_child_sa(*this, request);
    case ExchangeType::kInformational:
      return answer_informational(*this, request);
    case ExchangeType::kIkeSaInit:
      break;
  }
  respond(request, {Notify{.type = NotifyType::kInvalidSyntax}});
}

void IkeSa::receive_response(const Envelope& envelope, ByteView datagram) {
  if (!current_ || !window.awaits(envelope.header.message_id) || phase == IkePhase::kClosed)
    return void(++context().counters.wrong_message_id);
  auto message = open_message(envelope, datagram, response_fragments_);
  if (!message) return;
  note_authentic();
  window.answered();
  auto task = std::move(current_);
  const Task::Verdict verdict = task->response(*this, *message);
  finish(verdict, std::move(task));
}

void IkeSa::receive_init_response(const Message& message, ByteView datagram) {
  if (phase != IkePhase::kInit || !is_running(TaskKind::kIkeInit))
    return void(++context().counters.wrong_message_id);
  opening->peer_message.assign(datagram.begin(), datagram.end());
  auto task = std::move(current_);
  const Task::Verdict verdict = task->response(*this, message);
  finish(verdict, std::move(task));
}

void IkeSa::finish(Task::Verdict verdict, std::unique_ptr<Task> task) {
  if (phase == IkePhase::kClosed) return;
  switch (verdict) {
    case Task::Verdict::kWait:
      current_ = std::move(task);
      return;
    case Task::Verdict::kAgain:
      window.answered();
      queue_.push_front(std::move(task));
      break;
    case Task::Verdict::kDone:
      window.answered();
      break;
  }
  pump();
}

// --- Sending ---

void IkeSa::send(const std::vector<Bytes>& datagrams, const Endpoint& local, const Endpoint& remote) {
  // A request that somebody repeats from elsewhere keeps no mapping alive.
  if (remote == facts.remote) last_sent_ = context().now;
  for (const Bytes& datagram : datagrams) {
    ++context().counters.sent;
    context().emit(SendDatagram{local, remote, datagram});
  }
}

void IkeSa::respond(const Message& request, std::vector<Payload> payloads) {
  Message message{header(request.header.exchange, true, request.header.message_id), std::move(payloads)};
  auto datagrams = seal(message, fragment_bytes(), *sealer_);
  if (!datagrams)
    return log(LogLevel::kError, Subsystem::kCrypto, "response not sent: {}", datagrams.error());
  window.responded(std::move(*datagrams));
  send(window.last_response(), reply_local_, reply_remote_);
}

void IkeSa::respond_in_clear(const Message& request, std::vector<Payload> payloads) {
  Message message{header(request.header.exchange, true, request.header.message_id), std::move(payloads)};
  opening->our_message = encode_clear(message);
  window.accept_request();
  window.responded({opening->our_message});
  send(window.last_response(), facts.local, facts.remote);
}

void IkeSa::send_request(std::unique_ptr<Task> task, Request request) {
  if (phase == IkePhase::kInit) window.begin_anew();
  Message message{header(request.exchange, false, window.next_request()), std::move(request.payloads)};
  std::vector<Bytes> datagrams;
  if (phase == IkePhase::kInit) {
    opening->our_message = encode_clear(message);
    datagrams = {opening->our_message};
  } else {
    auto sealed = seal(message, fragment_bytes(), *sealer_);
    if (!sealed) return log(LogLevel::kError, Subsystem::kCrypto, "request not sent: {}", sealed.error());
    datagrams = std::move(*sealed);
  }
  current_ = std::move(task);
  window.sent(std::move(datagrams), context(),
              phase == IkePhase::kInit ? kLongestInitWait : milliseconds::max());
  response_fragments_.clear();
  send(window.pending()->datagrams, facts.local, facts.remote);
}

// --- Our exchanges ---

void IkeSa::enqueue(std::unique_ptr<Task> task) {
  if (phase == IkePhase::kClosed) return;
  queue_.push_back(std::move(task));
  engine.touch(*this);
}

void IkeSa::enqueue_first(std::unique_ptr<Task> task) {
  if (phase == IkePhase::kClosed) return;
  queue_.push_front(std::move(task));
  engine.touch(*this);
}

bool IkeSa::has(TaskKind kind) const {
  return is_running(kind) ||
         std::ranges::any_of(queue_, [&](const auto& task) { return task->kind() == kind; });
}

void IkeSa::pump() {
  while (phase != IkePhase::kClosed && !window.pending() && !queue_.empty()) {
    auto task = std::move(queue_.front());
    queue_.pop_front();
    if (auto request = task->request(*this)) send_request(std::move(task), std::move(*request));
  }
}

void IkeSa::forget_current() {
  window.answered();
  current_.reset();
}

// --- Time ---

Time IkeSa::liveness_at() const {
  if (phase != IkePhase::kEstablished || !config || !config->dpd_interval || window.pending()) return kNever;
  if (is_rival()) return kNever;
  if (asked_use_ != kNever) return asked_use_ + seconds{1};
  return last_heard + *config->dpd_interval;
}

// While a child is up the dataplane keeps the mapping alive.
Time IkeSa::keepalive_at() const {
  const auto is_live = [](const auto& child) { return child->is_live(); };
  if (phase != IkePhase::kEstablished || !facts.plan.keepalive || std::ranges::any_of(children, is_live))
    return kNever;
  return last_sent_ + kKeepaliveInterval;
}

Time IkeSa::deadline() const {
  if (phase == IkePhase::kClosed) return linger_until_;
  Time at = std::min({window.deadline(), facts.expires_at, liveness_at(), keepalive_at()});
  if (phase == IkePhase::kEstablished) at = std::min({at, facts.rekey_at, settle_at_});
  for (const auto& child : children)
    at = std::min({at, child->rekey_at, child->expires_at, child->drained_at, child->poll_at});
  return at;
}

void IkeSa::tick() {
  if (phase == IkePhase::kClosed) {
    if (context().now >= linger_until_) linger_until_ = kNever;
    return;
  }
  if (is_up() && window.pending() && last_heard > window.last_sent()) window.renew();
  switch (window.tick(context())) {
    case Window::Due::kNothing:
      break;
    case Window::Due::kSend:
      ++context().counters.retransmitted;
      log(LogLevel::kDebug, Subsystem::kNetwork, "request {} sent again to {}", window.pending()->message_id,
          to_text(facts.remote));
      send(window.pending()->datagrams, facts.local, facts.remote);
      break;
    case Window::Due::kLost:
      return lost();
  }
  tick_rekeying();
  for (size_t i = 0; i < children.size() && phase != IkePhase::kClosed; ++i) tick_child(*children[i]);
  std::erase_if(children, [](const auto& child) { return child->spi_in.value == 0; });
  if (phase == IkePhase::kEstablished) settle_children();
  if (phase != IkePhase::kClosed) tick_liveness();
  tick_keepalive();
}

void IkeSa::tick_rekeying() {
  Context& now = context();
  if (phase == IkePhase::kEstablished && now.now >= facts.rekey_at) {
    facts.rekey_at = kNever;
    if (!has(TaskKind::kIkeRekey)) enqueue(make_task(TaskKind::kIkeRekey));
  }
  if (now.now < facts.expires_at) return;
  facts.expires_at = kNever;
  if (phase < IkePhase::kEstablished) return fail("the peer did not finish in time");
  if (phase == IkePhase::kRekeyed)
    return close(Down::kReplaced);  // without children; the peer may have lost sight of it
  log(LogLevel::kInfo, Subsystem::kIke, "lifetime is over");
  if (!has(TaskKind::kIkeDelete)) enqueue(make_task(TaskKind::kIkeDelete));
}

// Traffic is a sign of life too (section 2.4): the dataplane is asked before the peer.
void IkeSa::tick_liveness() {
  if (context().now < liveness_at() || has(TaskKind::kLiveness)) return;
  const bool carries = std::ranges::any_of(children, [](const auto& child) { return child->is_live(); });
  if (asked_use_ == kNever && carries) return ask_for_use();
  asked_use_ = kNever;
  enqueue(make_task(TaskKind::kLiveness));
}

void IkeSa::tick_keepalive() {
  if (context().now >= keepalive_at()) send({Bytes{kNatKeepalive}}, facts.local, facts.remote);
}

void IkeSa::ask_for_use() {
  asked_use_ = context().now;
  for (const auto& child : children)
    if (child->is_live()) context().emit(AskSaUse{child->spi_in});
}

// No response to any of the retransmissions.
void IkeSa::lost() {
  if (phase < IkePhase::kEstablished)
    return fail(doubt.empty() ? fmt::format("no answer from {}", to_text(facts.remote)) : doubt);
  if (phase == IkePhase::kEstablished) {
    ++context().counters.dpd_lost;
    log(LogLevel::kWarning, Subsystem::kIke, "the peer {} does not answer any more", to_text(facts.remote));
  }
  close(current_ ? current_->lost() : Down::kPeerLost);
}

// --- The end ---

void IkeSa::fail(const std::string& why) {
  ++context().counters.ike_failed;
  log(LogLevel::kWarning, Subsystem::kIke, "{}", why);
  if (Connection* connection = engine.connection(facts.connection)) connection->failed(*this, why);
  const bool told = is_stranger() && window.next_expected() > 1;  // in an answer that may be asked for again
  close(Down::kFailed, told);
}

void IkeSa::close(Down why, bool linger) {
  if (phase == IkePhase::kClosed) return;
  engine.touch(*this);
  const bool was_established = phase >= IkePhase::kEstablished;
  for (auto& child : children) drop_child(*child, why);
  for (auto& child : children)
    if (child->spi_in.value != 0) withdraw(*child, Direction::kIn);
  children.clear();
  phase = IkePhase::kClosed;
  queue_.clear();
  current_.reset();
  window.answered();
  opening.reset();
  if (linger && !window.last_response().empty()) linger_until_ = context().now + kLinger;
  if (was_established) log(LogLevel::kInfo, Subsystem::kIke, "IKE SA closed");
  if (Connection* connection = engine.connection(facts.connection)) connection->ike_closed(*this, why);
}

bool IkeSa::is_over() const {
  return phase == IkePhase::kClosed && linger_until_ == kNever;
}

}  // namespace espalier::ike
