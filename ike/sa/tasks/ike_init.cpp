#include "ike/sa/tasks/ike_init.hpp"

#include "control/shared/text.hpp"
#include "ike/sa/authentication.hpp"
#include "ike/sa/child_negotiation.hpp"
#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/ike_auth.hpp"

namespace espalier::ike {
namespace {

constexpr uint16_t kMaxRepeated = 5;  // cookies and groups that a peer may ask for
constexpr milliseconds kWaitForAnother{2000};
constexpr seconds kHalfOpenLives{30};

// NAT detection, fragmentation, hashes: what both sides announce.
Result<void> add_announcements(std::vector<Payload>& payloads, const IkeFacts& facts,
                               const ConnectionConfig& config) {
  for (Notify& notify : TRY(nat_notifies(facts.initiator_spi, facts.responder_spi, facts.local, facts.remote,
                                         config.force_encapsulation)))
    payloads.emplace_back(std::move(notify));
  if (config.fragment_bytes != 0) payloads.emplace_back(Notify{.type = NotifyType::kFragmentationSupported});
  payloads.emplace_back(hash_announcement());
  return {};
}

// Of either side, when the other's message is there.
Result<void> note_announcements(IkeSa& sa, const Message& theirs) {
  sa.facts.nat = TRY(detect_nat(theirs, sa.facts.local, sa.facts.remote));
  sa.facts.plan = plan_nat(sa.facts.nat, sa.config->force_encapsulation);
  sa.facts.fragmentation =
      sa.config->fragment_bytes != 0 && theirs.notify(NotifyType::kFragmentationSupported) != nullptr;
  return {};
}

Result<void> derive(IkeSa& sa, ByteView shared) {
  const Opening& opening = *sa.opening;
  const bool us = sa.facts.initiator;
  return sa.set_keys(TRY(derive_ike_keys(sa.facts.suite, shared,
                                         {.initiator_nonce = us ? opening.our_nonce : opening.peer_nonce,
                                          .responder_nonce = us ? opening.peer_nonce : opening.our_nonce,
                                          .initiator_spi = sa.facts.initiator_spi,
                                          .responder_spi = sa.facts.responder_spi})));
}

}  // namespace

// --- Initiator ---

std::optional<Request> IkeInit::request(IkeSa& sa) {
  if (sa.phase != IkePhase::kInit || sa.config->suites.empty()) return {};
  sa.doubt.clear();
  if (group_ == 0) group_ = sa.config->suites.front().group;
  if (!key_ || key_->group() != group_) {
    auto key = crypto::KeyExchange::generate(group_);
    if (!key) return sa.fail(key.error()), std::nullopt;
    key_.emplace(std::move(*key));
  }
  if (sa.opening->our_nonce.empty()) {
    auto nonce = make_nonce();
    if (!nonce) return sa.fail(nonce.error().text), std::nullopt;
    sa.opening->our_nonce = std::move(*nonce);
  }
  Request request{ExchangeType::kIkeSaInit, {}};
  if (!cookie_.empty()) request.payloads.emplace_back(Notify{.type = NotifyType::kCookie, .data = cookie_});
  request.payloads.emplace_back(offer(sa.config->suites));
  request.payloads.emplace_back(
      KeyExchangeData{group_, {key_->public_value().begin(), key_->public_value().end()}});
  request.payloads.emplace_back(Nonce{sa.opening->our_nonce});
  if (auto added = add_announcements(request.payloads, sa.facts, *sa.config); !added)
    return sa.fail(added.error().text), std::nullopt;
  return request;
}

// Anybody could have sent this: the response that may be true is waited for a little, and once.
Task::Verdict IkeInit::wait_for_another(IkeSa& sa, const std::string& why) {
  sa.log(LogLevel::kDebug, Subsystem::kIke, "waits for another answer than: {}", why);
  const bool first = std::exchange(sa.doubt, why).empty();
  if (first) sa.window.stop_sending(kWaitForAnother, sa.context());
  return Verdict::kWait;
}

Task::Verdict IkeInit::refused(IkeSa& sa, const Notify& error) {
  if (error.type == NotifyType::kInvalidKePayload) {
    const uint16_t wanted = wanted_group(error);
    const bool ours =
        std::ranges::any_of(sa.config->suites, [&](const IkeSuite& suite) { return suite.group == wanted; });
    if (ours && wanted != group_ && ++repeated_ <= kMaxRepeated) {
      group_ = wanted;
      return Verdict::kAgain;
    }
    return wait_for_another(
        sa, fmt::format("the peer wants group {}; we offered {}", wanted, to_text(sa.config->suites)));
  }
  return wait_for_another(sa, refusal_of(error, to_text(sa.config->suites)).why);
}

Task::Verdict IkeInit::response(IkeSa& sa, const Message& message) {
  if (const Notify* cookie = message.notify(NotifyType::kCookie);
      cookie && message.header.responder_spi == 0) {
    if (cookie->data.empty() || cookie->data.size() > 64 || ++repeated_ > kMaxRepeated) return Verdict::kWait;
    cookie_ = cookie->data;
    return Verdict::kAgain;
  }
  if (const Notify* error = message.error()) return refused(sa, *error);
  return agree(sa, message);
}

Task::Verdict IkeInit::agree(IkeSa& sa, const Message& message) {
  const auto* proposals = message.find<SecurityAssociation>();
  const auto* theirs = message.find<KeyExchangeData>();
  const auto* nonce = message.find<Nonce>();
  if (!proposals || !theirs || !nonce || nonce->data.size() < 16 || message.header.responder_spi == 0)
    return wait_for_another(sa, "the peer's IKE_SA_INIT lacks SA, KE or nonce");
  const auto chosen = accept(sa.config->suites, *proposals);
  if (!chosen || chosen->suite.group != group_ || theirs->group != group_)
    return wait_for_another(
        sa, "the peer chose what we did not offer: " + first_difference(sa.config->suites, *proposals));
  const auto shared = key_->derive(theirs->data);
  if (!shared) return wait_for_another(sa, "key of the peer: " + shared.error());
  sa.facts.responder_spi = message.header.responder_spi;
  sa.facts.suite = chosen->suite;
  sa.opening->peer_nonce = nonce->data;
  sa.opening->peer_init = message;
  const auto noted = note_announcements(sa, message);
  const auto derived = noted ? derive(sa, shared->view()) : noted;
  if (!derived) return sa.fail(derived.error().text), Verdict::kDone;
  if (sa.config->force_encapsulation && !sa.facts.plan.encapsulate)
    return sa.fail("the peer cannot encapsulate ESP in UDP, which is forced here"), Verdict::kDone;
  sa.facts.local = floated(sa.facts.local, sa.facts.plan);
  sa.facts.remote = floated(sa.facts.remote, sa.facts.plan);
  sa.phase = IkePhase::kAuth;
  sa.enqueue_first(std::make_unique<IkeAuth>());
  return Verdict::kDone;
}

// --- Responder ---

namespace {

void answer_statelessly(Engine& engine, const Message& request, const Endpoint& local, const Endpoint& remote,
                        Notify notify) {
  Header header = request.header;
  header.response = true;
  header.initiator = false;
  ++engine.context.counters.sent;
  engine.context.emit(SendDatagram{local, remote, encode_clear({header, {std::move(notify)}})});
}

// Whether the request may cost us a key exchange.
bool passes_gate(Engine& engine, const Message& request, const Endpoint& local, const Endpoint& remote,
                 bool& proven) {
  engine.half_open().expire(engine.context.now);
  const Notify* cookie = request.notify(NotifyType::kCookie);
  const ByteView nonce = request.find<Nonce>()->data;
  CookieJar* jar = engine.cookies();
  proven =
      cookie && jar &&
      jar->accepts(cookie->data, nonce, request.header.initiator_spi, remote.address, engine.context.now);
  switch (engine.half_open().judge(remote.address, proven)) {
    case HalfOpenTable::Verdict::kProceed:
      return true;
    case HalfOpenTable::Verdict::kRefuse:
      ++engine.context.counters.half_open_refused;
      return false;
    case HalfOpenTable::Verdict::kAskForCookie:
      break;
  }
  auto made = jar ? jar->make(nonce, request.header.initiator_spi, remote.address, engine.context.now)
                  : Result<Bytes>(fail("no cookies"));
  if (!made) return false;
  ++engine.context.counters.cookies_asked;
  answer_statelessly(engine, request, local, remote, {.type = NotifyType::kCookie, .data = std::move(*made)});
  return false;
}

struct Choice {
  Connection* connection = nullptr;
  ChosenIke suite;
};
// The connection is only known by its addresses yet; it gives its suites, and may be another after IKE_AUTH.
// The best one by addresses says why none fits, and keeps it for the operator only if it names the address:
// anybody can say anything.
std::optional<Choice> choose_connection(Engine& engine, const SecurityAssociation& theirs,
                                        const Endpoint& local, const Endpoint& remote) {
  const std::vector<Connection*> candidates = engine.suite_candidates(local.address, remote.address);
  for (Connection* each : candidates)
    if (auto chosen = choose(each->config()->suites, theirs)) return Choice{each, std::move(*chosen)};
  if (!engine.context.may_log_stranger()) return {};
  if (candidates.empty()) {
    engine.context.log(LogLevel::kWarning, Subsystem::kIke, "", "",
                       "IKE_SA_INIT of {}: no connection has such addresses", to_text(remote));
    return {};
  }
  const auto& suites = candidates.front()->config()->suites;
  const std::string why = fmt::format("proposals: we {}, they {}; {}", to_text(suites), to_text(theirs),
                                      first_difference(suites, theirs));
  engine.context.log(LogLevel::kWarning, Subsystem::kIke, candidates.front()->config()->name, "",
                     "IKE_SA_INIT of {}: {}", to_text(remote), why);
  candidates.front()->note_stranger(remote.address, why);
  return {};
}

std::unique_ptr<IkeSa> make_responder(Engine& engine, const Message& request, ByteView datagram,
                                      const Choice& choice, const Endpoint& local, const Endpoint& remote) {
  IkeFacts facts;
  facts.initiator = false;
  facts.initiator_spi = request.header.initiator_spi;
  facts.responder_spi = engine.new_ike_spi();
  facts.local = local;
  facts.remote = remote;
  facts.suite = choice.suite.suite;
  facts.created = engine.context.now;
  facts.expires_at = engine.context.now + kHalfOpenLives;
  auto sa = std::make_unique<IkeSa>(engine, std::move(facts));
  sa->config = choice.connection->config();
  sa->phase = IkePhase::kAuth;
  sa->opening = std::make_unique<Opening>();
  sa->opening->peer_nonce = request.find<Nonce>()->data;
  sa->opening->peer_message.assign(datagram.begin(), datagram.end());
  sa->opening->peer_init = request;
  return sa;
}

// Which connection it is shows only in IKE_AUTH. A peer that is not asked for its certificate may send none,
// so it is asked for if any that fits the addresses wants one.
const crypto::TrustStore* wanted_trust(const IkeSa& sa) {
  if (sa.config->trust) return sa.config->trust.get();
  for (const Connection* each : sa.engine.suite_candidates(sa.facts.local.address, sa.facts.remote.address))
    if (each->config()->trust) return each->config()->trust.get();
  return nullptr;
}

// The key exchange and what the response says; an error is ours (OpenSSL) or the peer's key.
Result<std::vector<Payload>> open_sa(IkeSa& sa, const Message& request, const Choice& choice) {
  const auto* theirs = request.find<KeyExchangeData>();
  auto key = crypto::KeyExchange::generate(theirs->group);
  if (!key) return fail("{}", key.error());
  auto shared = key->derive(theirs->data);
  if (!shared) return fail("key of the peer: {}", shared.error());
  sa.opening->our_nonce = TRY(make_nonce());
  if (auto noted = note_announcements(sa, request); !noted) return std::unexpected(noted.error());
  if (sa.config->force_encapsulation && !sa.facts.plan.encapsulate)
    return fail("the peer cannot encapsulate ESP in UDP, which is forced here");
  if (auto derived = derive(sa, shared->view()); !derived) return std::unexpected(derived.error());
  std::vector<Payload> payloads{
      SecurityAssociation{{choice.suite.reply}},
      KeyExchangeData{key->group(), {key->public_value().begin(), key->public_value().end()}},
      Nonce{sa.opening->our_nonce}};
  if (auto added = add_announcements(payloads, sa.facts, *sa.config); !added)
    return std::unexpected(added.error());
  if (const auto* trust = wanted_trust(sa)) payloads.emplace_back(certificate_request(*trust));
  return payloads;
}

}  // namespace

void answer_malformed_init(Engine& engine, const Header& header, const ParseError& error,
                           const Endpoint& local, const Endpoint& remote) {
  if (error.notify != NotifyType::kUnsupportedCriticalPayload) return;
  answer_statelessly(engine, {header, {}}, local, remote, {.type = error.notify, .data = {error.payload}});
}

void answer_ike_init(Engine& engine, const Message& request, ByteView datagram, const Endpoint& local,
                     const Endpoint& remote) {
  const auto* proposals = request.find<SecurityAssociation>();
  const auto* theirs = request.find<KeyExchangeData>();
  const auto* nonce = request.find<Nonce>();
  if (!proposals || !theirs || !nonce || nonce->data.size() < 16 || nonce->data.size() > 256)
    return void(++engine.context.counters.malformed);
  bool proven = false;
  if (!passes_gate(engine, request, local, remote, proven)) return;
  const auto choice = choose_connection(engine, *proposals, local, remote);
  if (!choice)
    return answer_statelessly(engine, request, local, remote, {.type = NotifyType::kNoProposalChosen});
  if (theirs->group != choice->suite.suite.group)
    return answer_statelessly(engine, request, local, remote,
                              invalid_group(choice->suite.suite.group).to_notify());
  auto sa = make_responder(engine, request, datagram, *choice, local, remote);
  auto payloads = open_sa(*sa, request, *choice);
  if (!payloads) {
    engine.half_open().charge(remote.address, proven,
                              engine.context.now + kHalfOpenLives);  // it cost the same
    return engine.context.log_stranger(LogLevel::kWarning, Subsystem::kIke, "IKE_SA_INIT of {} refused: {}",
                                       to_text(remote.address), payloads.error().text);
  }
  sa->ticket = engine.half_open().open(remote.address, proven);
  engine.add(std::move(sa)).respond_in_clear(request, std::move(*payloads));
}

}  // namespace espalier::ike
