#include "ike/sa/engine.hpp"

#include "control/shared/text.hpp"
#include "crypto/random.hpp"
#include "ike/sa/state.hpp"
#include "ike/sa/tasks/child_delete.hpp"
#include "ike/sa/tasks/child_rekey.hpp"
#include "ike/sa/tasks/ike_delete.hpp"
#include "ike/sa/tasks/ike_init.hpp"

namespace espalier::ike {
namespace {

constexpr uint32_t kFirstSpi = 0x100;  // RFC 4303 section 2.1

HalfOpenLimits limits_of(const CoreOptions& options) {
  return {.cookies = options.half_open_cookies,
          .in_all = options.half_open_limit,
          .unproven_per_address = options.half_open_per_address,
          .proven_per_address = options.half_open_proven};
}

uint64_t sa_key(const IkeSa& sa) {
  return sa.facts.id * 2;
}
uint64_t connection_key(const Connection& connection) {
  return connection.number() * 2 + 1;
}

}  // namespace

Engine::Engine(CoreOptions options)
    : context(std::move(options)), half_open_(limits_of(context.options), context.random()) {}

Engine::~Engine() {
  for (auto& [spi, sa] : sas_) sa->ticket.reset();  // tickets go before their table
}

// --- IKE SAs ---

uint64_t Engine::new_ike_spi() {
  uint64_t spi = 0;
  while (spi == 0 || sas_.contains(spi)) spi = context.random();
  return spi;
}

uint64_t Engine::new_id() {
  if (free_ids_.empty()) return ++ids_;
  return free_ids_.extract(free_ids_.begin()).value();
}

IkeSa& Engine::add(std::unique_ptr<IkeSa> given) {
  IkeSa& sa = *given;
  sa.facts.id = new_id();
  const uint64_t spi = sa.local_spi();
  spi_by_id_[sa.facts.id] = spi;
  if (!sa.facts.connection.empty()) by_connection_[sa.facts.connection].push_back(spi);
  sa.first_remote = sa.facts.remote;
  if (!sa.facts.initiator && sa.phase == IkePhase::kAuth)
    openings_[{sa.facts.initiator_spi, sa.facts.remote}] = spi;
  sas_[spi] = std::move(given);
  touch(sa);
  return sa;
}

IkeSa* Engine::find(uint64_t local_spi) {
  const auto found = sas_.find(local_spi);
  return found == sas_.end() ? nullptr : found->second.get();
}

std::vector<IkeSa*> Engine::sas_of(const std::string& connection) {
  std::vector<IkeSa*> found;
  const auto at = by_connection_.find(connection);
  if (at == by_connection_.end()) return found;
  for (const uint64_t spi : at->second)
    if (IkeSa* sa = find(spi); sa && sa->phase != IkePhase::kClosed) found.push_back(sa);
  return found;
}

void Engine::assign(IkeSa& sa, Connection& connection) {
  by_connection_[connection.config()->name].push_back(sa.local_spi());
  touch(connection);
}

void Engine::touch(IkeSa& sa) {
  touched_sas_.insert(sa.local_spi());
}

void Engine::touch(Connection& connection) {
  touched_connections_.insert(connection.number());
}

// --- Child SAs ---

Spi Engine::new_child_spi() {
  uint32_t spi = 0;
  while (spi < kFirstSpi || child_places_.contains(spi)) spi = static_cast<uint32_t>(context.random());
  return Spi{spi};
}

void Engine::place(const ChildSa& child, IkeSa& sa) {
  const bool known = !child_places_.insert_or_assign(child.spi_in.value, sa.local_spi()).second;
  if (!known) by_spi_out_.emplace(child.spi_out.value, child.spi_in.value);
}

void Engine::forget(const ChildSa& child) {
  child_places_.erase(child.spi_in.value);
  const auto [first, last] = by_spi_out_.equal_range(child.spi_out.value);
  const auto found =
      std::find_if(first, last, [&](const auto& each) { return each.second == child.spi_in.value; });
  if (found != last) by_spi_out_.erase(found);
}

IkeSa* Engine::find_child(Spi spi_in) {
  const auto found = child_places_.find(spi_in.value);
  return found == child_places_.end() ? nullptr : find(found->second);
}

IkeSa* Engine::find_child_out(Spi spi_out, const IpAddress& destination) {
  const auto [first, last] = by_spi_out_.equal_range(spi_out.value);
  for (auto at = first; at != last; ++at) {
    IkeSa* sa = find_child(Spi{at->second});
    if (sa && (destination == IpAddress() || sa->facts.remote.address == destination)) return sa;
  }
  return nullptr;
}

// --- Datagrams ---

void Engine::receive(const Endpoint& local, const Endpoint& remote, ByteView datagram) {
  ++context.counters.received;
  const auto envelope = parse_envelope(datagram);
  if (!envelope) {
    ++context.counters.malformed;
    if (envelope.error().notify == NotifyType::kInvalidMajorVersion) refuse_version(local, remote, datagram);
    return;
  }
  if (envelope->header.exchange == ExchangeType::kIkeSaInit)
    return receive_init(*envelope, local, remote, datagram);
  receive_encrypted(*envelope, local, remote, datagram);
}

// Section 2.5: who speaks another version is told ours, under its own SPIs and message id (section 1.5);
// never an answer to an answer.
void Engine::refuse_version(const Endpoint& local, const Endpoint& remote, ByteView datagram) {
  constexpr size_t kExchange = 18, kFlags = 19, kMessageId = 20;
  constexpr uint8_t kResponse = 0x20;
  if (datagram.size() < kHeaderBytes || (datagram[kFlags] & kResponse) != 0) return;
  be64 spis[2];
  be32 message_id;
  std::memcpy(spis, datagram.data(), sizeof spis);
  std::memcpy(&message_id, datagram.data() + kMessageId, sizeof message_id);
  const Header header{.initiator_spi = spis[0].host(),
                      .responder_spi = spis[1].host(),
                      .exchange = static_cast<ExchangeType>(datagram[kExchange]),
                      .response = true,
                      .message_id = message_id.host()};
  ++context.counters.sent;
  context.emit(SendDatagram{local, remote,
                            encode_clear({header, {Notify{.type = NotifyType::kInvalidMajorVersion}}})});
}

void Engine::receive_encrypted(const Envelope& envelope, const Endpoint& local, const Endpoint& remote,
                               ByteView datagram) {
  IkeSa* sa = find(envelope.header.initiator ? envelope.header.responder_spi : envelope.header.initiator_spi);
  // The flag I must be that of the other side (section 3.1): our own messages do not come back to us.
  const bool fits = sa && sa->facts.initiator != envelope.header.initiator &&
                    sa->facts.initiator_spi == envelope.header.initiator_spi &&
                    sa->facts.responder_spi == envelope.header.responder_spi;
  if (!fits) return void(++context.counters.unknown_spi);
  sa->receive(envelope, datagram, local, remote);
}

void Engine::note_malformed(const Endpoint& remote, const ParseError& error) {
  ++context.counters.malformed;
  context.log_stranger(LogLevel::kDebug, Subsystem::kNetwork, "IKE_SA_INIT of {} not read: {}",
                       to_text(remote.address), error.text);
}

void Engine::receive_init(const Envelope& envelope, const Endpoint& local, const Endpoint& remote,
                          ByteView datagram) {
  if (!envelope.header.response) return receive_init_request(envelope, local, remote, datagram);
  IkeSa* sa = find(envelope.header.initiator_spi);
  if (!sa || !sa->facts.initiator || sa->facts.remote != remote) return void(++context.counters.unknown_spi);
  auto payloads = parse_payloads(envelope.first_payload, envelope.body);
  if (!payloads) return note_malformed(remote, payloads.error());
  touch(*sa);
  sa->receive_init_response({envelope.header, std::move(*payloads)}, datagram);
}

void Engine::receive_init_request(const Envelope& envelope, const Endpoint& local, const Endpoint& remote,
                                  ByteView datagram) {
  const Header& header = envelope.header;
  const bool valid =
      header.initiator && header.responder_spi == 0 && header.message_id == 0 && header.initiator_spi != 0;
  if (!valid) return void(++context.counters.malformed);
  // Our own request come back: who is let in by it would be ourselves.
  if (const IkeSa* own = find(header.initiator_spi); own && own->facts.initiator)
    return void(++context.counters.unknown_spi);
  if (const auto known = openings_.find({header.initiator_spi, remote}); known != openings_.end()) {
    IkeSa* sa = find(known->second);
    const bool same_bytes = sa && sa->opening && std::ranges::equal(sa->opening->peer_message, datagram);
    return same_bytes ? sa->repeat_response(local, remote) : void(++context.counters.wrong_message_id);
  }
  auto payloads = parse_payloads(envelope.first_payload, envelope.body);
  if (!payloads) {
    note_malformed(remote, payloads.error());
    return answer_malformed_init(*this, header, payloads.error(), local, remote);
  }
  answer_ike_init(*this, {header, std::move(*payloads)}, datagram, local, remote);
}

// --- Commands ---

Result<void> Engine::command(const Command& command) {
  const std::string& name =
      std::visit([](const auto& each) -> const std::string& { return each.connection; }, command);
  const std::string& child =
      std::visit([](const auto& each) -> const std::string& { return each.child; }, command);
  Connection* found = connection(name);
  if (!found) return fail("there is no peer {}", name);
  if (std::holds_alternative<Initiate>(command)) return found->initiate(child);
  if (std::holds_alternative<Terminate>(command)) return found->terminate(child);
  return found->rekey(child);
}

// --- Events ---

void Engine::event(const Event& event) {
  std::visit([this](const auto& each) { apply_event(each); }, event);
}

void Engine::apply_event(const Acquire& event) {
  const auto found = by_reqid_.find(event.reqid.value);
  if (found != by_reqid_.end()) found->second.first->acquire(found->second.second);
}

void Engine::apply_event(const Expire& event) {
  const bool in = event.direction == Direction::kIn;
  IkeSa* sa = in ? find_child(event.spi) : find_child_out(event.spi, event.destination);
  ChildSa* child = !sa ? nullptr : in ? sa->find_in(event.spi) : sa->find_out(event.spi);
  if (!child || child->state == ChildState::kDeleting) return;
  touch(*sa);
  if (event.hard) return sa->enqueue(std::make_unique<ChildDelete>(child->spi_in, Down::kExpired));
  const bool idle = child->state == ChildState::kInstalled && !child->redundant && child->config->rekey;
  if (idle) child->rekey_at = context.now;
}

void Engine::apply_event(const MappingChanged& event) {
  IkeSa* sa = find_child(event.spi);
  if (!sa || !sa->facts.plan.follow_peer || sa->phase == IkePhase::kClosed) return;
  sa->log(LogLevel::kInfo, Subsystem::kNetwork, "the peer's NAT maps it to {}[{}] now",
          to_text(event.peer.address), event.peer.port);
  sa->move_to(sa->facts.local, event.peer);
}

void Engine::apply_event(const SaUse& event) {
  IkeSa* sa = find_child(event.spi);
  if (!sa) return;
  touch(*sa);
  sa->child_use(event);
}

void Engine::apply_event(const Resolved& event) {
  if (Connection* found = connection(event.connection)) found->resolved(event);
}

void Engine::apply_event(const DataplaneLost&) {
  if (!std::exchange(has_dataplane_, false)) return;
  context.log(LogLevel::kWarning, Subsystem::kChild, "", "", "the dataplane is gone");
}

// The oldest first: the newest outbound SA of a policy is the one that it uses.
void Engine::apply_event(const DataplaneReady&) {
  has_dataplane_ = true;
  std::vector<std::pair<IkeSa*, ChildSa*>> all;
  for (auto& [spi, sa] : sas_)
    for (auto& child : sa->children) all.emplace_back(sa.get(), child.get());
  std::ranges::stable_sort(all, {}, [](const auto& each) { return each.second->created; });
  for (auto& [sa, child] : all) {
    sa->install(*child, Direction::kIn);
    if (child->outbound == ChildSa::Outbound::kInstalled) sa->install(*child, Direction::kOut);
  }
}

// --- Time ---

void Engine::schedule(Key key, Time at) {
  const auto [entry, added] = scheduled_.try_emplace(key, kNever);
  if (entry->second != kNever) agenda_.erase({entry->second, key});
  entry->second = at;
  if (at != kNever) return void(agenda_.insert({at, key}));
  scheduled_.erase(entry);
}

Time Engine::next_deadline() const {
  return agenda_.empty() ? kNever : agenda_.begin()->first;
}

void Engine::tick() {
  std::vector<Key> due;
  for (const auto& [at, key] : agenda_) {
    if (at > context.now) break;
    due.push_back(key);
  }
  for (const Key key : due) {
    if (key % 2 != 0) {
      touched_connections_.insert(key / 2);
      continue;
    }
    const auto spi = spi_by_id_.find(key / 2);
    if (IkeSa* sa = spi == spi_by_id_.end() ? nullptr : find(spi->second)) {
      touch(*sa);
      sa->tick();
    }
  }
}

void Engine::shut_down() {
  for (auto& [name, connection] : connections_) connection->stop();
  for (auto& [spi, sa] : sas_)
    if (sa->phase < IkePhase::kEstablished) sa->close(Down::kOperator);
}

// --- After every input ---

void Engine::settle_touched() {
  std::set<uint64_t> seen;
  while (!touched_connections_.empty()) {
    const uint64_t number = touched_connections_.extract(touched_connections_.begin()).value();
    const auto found = by_number_.find(number);
    if (found == by_number_.end()) continue;
    found->second->advance();
    seen.insert(number);
  }
  // pump() may close an IKE SA and touch its connection, which then looks again after this.
  for (const uint64_t spi : std::set(touched_sas_))
    if (IkeSa* sa = find(spi)) sa->pump();
  for (const uint64_t number : seen)
    if (const auto found = by_number_.find(number); found != by_number_.end())
      schedule(connection_key(*found->second), found->second->deadline());
}

void Engine::finish() {
  do settle_touched();
  while (!touched_connections_.empty());
  save_touched();
}

// States go in front of what they caused (core.hpp).
void Engine::save_touched() {
  SaveStates save;
  for (const uint64_t spi : std::exchange(touched_sas_, {})) {
    IkeSa* sa = find(spi);
    if (!sa) continue;
    if (sa->is_over()) {
      reap(*sa);
      continue;
    }
    schedule(sa_key(*sa), sa->deadline());
    if (sa->phase < IkePhase::kEstablished) continue;
    if (sa->phase == IkePhase::kClosed) {
      forget_state(sa->facts.id);
      continue;
    }
    saved_.insert(sa->facts.id);
    save.states.push_back({sa->facts.id, save_state(*sa)});
  }
  save.forgotten = std::exchange(forgotten_, {});
  if (!save.states.empty() || !save.forgotten.empty())
    context.outputs.emplace(context.outputs.begin(), std::move(save));
  for (const uint64_t id : std::exchange(freed_ids_, {})) free_ids_.insert(id);
}

void Engine::forget_state(uint64_t id) {
  if (saved_.erase(id) != 0) forgotten_.push_back(id);
}

void Engine::reap(IkeSa& sa) {
  const uint64_t spi = sa.local_spi(), id = sa.facts.id;
  forget_state(id);
  schedule(sa_key(sa), kNever);
  if (const auto at = by_connection_.find(sa.facts.connection); at != by_connection_.end()) {
    std::erase(at->second, spi);
    if (at->second.empty()) by_connection_.erase(at);
  }
  if (const auto opening = openings_.find({sa.facts.initiator_spi, sa.first_remote});
      opening != openings_.end() && opening->second == spi)
    openings_.erase(opening);
  spi_by_id_.erase(id);
  freed_ids_.push_back(id);
  sas_.erase(spi);
}

}  // namespace espalier::ike
