#include "ike/sa/tasks/ike_auth.hpp"

#include "ike/sa/authentication.hpp"
#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"
#include "ike/sa/tasks/child_delete.hpp"
#include "ike/sa/tasks/ike_delete.hpp"

namespace espalier::ike {
namespace {

AuthSide our_side(const IkeSa& sa, const Identity& identity) {
  const bool initiator = sa.facts.initiator;
  return {.prf = sa.facts.suite.prf,
          .sk_p = (initiator ? sa.keys().pi : sa.keys().pr).view(),
          .first_message = sa.opening->our_message,
          .other_nonce = sa.opening->peer_nonce,
          .identity = identity};
}

AuthSide peer_side(const IkeSa& sa, const Identity& identity) {
  const bool initiator = !sa.facts.initiator;
  return {.prf = sa.facts.suite.prf,
          .sk_p = (initiator ? sa.keys().pi : sa.keys().pr).view(),
          .first_message = sa.opening->peer_message,
          .other_nonce = sa.opening->our_nonce,
          .identity = identity};
}

Result<void> check_peer(const IkeSa& sa, const Message& message) {
  return verify_peer({.connection = *sa.config,
                      .keys = sa.engine.configuration().keys,
                      .local = sa.facts.local_id,
                      .remote = sa.facts.remote.address,
                      .now = sa.context().options.wall_clock()},
                     peer_side(sa, sa.facts.remote_id), message);
}

void establish(IkeSa& sa) {
  sa.opening.reset();
  sa.ticket.reset();
  sa.wipe_auth_keys();
  sa.phase = IkePhase::kEstablished;
  sa.facts.expires_at = kNever;
  sa.set_lifetimes();
  ++sa.context().counters.ike_established;
  sa.log(LogLevel::kInfo, Subsystem::kIke, "IKE SA established with {}, {}", to_text(sa.facts.remote_id),
         to_text(sa.facts.suite));
  if (Connection* connection = sa.engine.connection(sa.facts.connection)) connection->ike_established(sa);
}

Payload our_id(const IkeSa& sa) {
  return IdPayload{sa.facts.initiator, sa.facts.local_id};
}

}  // namespace

// --- Initiator ---

std::optional<Request> IkeAuth::request(IkeSa& sa) {
  const ConnectionConfig& config = *sa.config;
  Connection* connection = sa.engine.connection(sa.facts.connection);
  sa.facts.local_id = local_identity(config, sa.facts.local.address);
  const auto expected = expected_identity(config, sa.facts.remote.address);
  auto proof = make_authentication(config, sa.engine.configuration().keys, our_side(sa, sa.facts.local_id),
                                   expected, {.init = sa.opening->peer_init});
  if (!proof) return sa.fail(proof.error().text), std::nullopt;
  Request request{ExchangeType::kIkeAuth, {our_id(sa)}};
  Payload auth = std::move(proof->back());
  proof->pop_back();
  for (Payload& certificate : *proof) request.payloads.push_back(std::move(certificate));
  if (config.trust) request.payloads.emplace_back(certificate_request(*config.trust));
  if (expected) request.payloads.emplace_back(IdPayload{false, *expected});
  request.payloads.push_back(std::move(auth));
  if (connection && connection->is_alone(sa))
    request.payloads.emplace_back(Notify{.type = NotifyType::kInitialContact});
  child_ = connection ? connection->first_wanted() : std::string();
  const auto child = child_config(sa.config, child_);
  if (!child) return sa.fail("no child is configured"), std::nullopt;
  offer_ = make_offer(sa, *child, false);
  for (Payload& payload : offer_payloads(*child, offer_)) request.payloads.push_back(std::move(payload));
  return request;
}

Task::Verdict IkeAuth::response(IkeSa& sa, const Message& message) {
  const auto* id = message.identity(false);
  const Notify* error = message.error();
  if (!id || !message.find<Authentication>()) {
    const std::string hint =
        error && error->type == NotifyType::kAuthenticationFailed
            ? "; pre-shared key, certificate or identities do not fit, the peer's log says which"
            : "";
    sa.fail(error ? fmt::format("the peer answered {} to IKE_AUTH as {}{}", name_of(error->type),
                                to_text(sa.facts.local_id), hint)
                  : "the peer's IKE_AUTH lacks ID or AUTH");
    return Verdict::kDone;
  }
  sa.facts.remote_id = id->identity;
  if (auto checked = check_peer(sa, message); !checked) {
    // The peer takes the IKE SA for established: it is told, and asked to forget it.
    ++sa.context().counters.ike_failed;
    sa.log(LogLevel::kWarning, Subsystem::kIke, "{}", checked.error().text);
    if (Connection* connection = sa.engine.connection(sa.facts.connection))
      connection->failed(sa, checked.error().text);
    sa.phase = IkePhase::kDeleting;
    sa.opening.reset();
    sa.enqueue(std::make_unique<IkeDelete>(Down::kFailed, true));
    return Verdict::kDone;
  }
  const Bytes our_nonce = sa.opening->our_nonce, peer_nonce = sa.opening->peer_nonce;
  establish(sa);
  finish_child(sa, message, our_nonce, peer_nonce);
  return Verdict::kDone;
}

void IkeAuth::finish_child(IkeSa& sa, const Message& message, ByteView our_nonce, ByteView peer_nonce) {
  const auto config = child_config(sa.config, child_);
  Agreed<ChildTerms> terms =
      std::unexpected(Refusal{NotifyType::kNoProposalChosen, {}, "is not configured any more"});
  if (config) terms = accept_child(*config, offer_, message);
  if (!terms) {
    if (!message.error()) sa.enqueue(std::make_unique<ChildDelete>(offer_.spi, Down::kFailed));
    return report_refusal(sa, child_, terms.error());
  }
  auto child =
      make_child(sa, config, *terms, offer_.spi,
                 {.shared = {}, .our_nonce = our_nonce, .peer_nonce = peer_nonce, .created_by_us = true});
  if (!child) return report_refusal(sa, child_, {NotifyType::kTemporaryFailure, {}, child.error().text});
  ChildSa& added = sa.add_child(std::move(*child));
  sa.install(added, Direction::kIn);
  sa.install(added, Direction::kOut);
  announce_child(sa, added, false);
}

// --- Responder ---

namespace {

bool uses(const ConnectionConfig& config, const Authentication& auth) {
  return (auth.method == AuthMethod::kSharedKey) == (config.auth == AuthKind::kPreSharedKey);
}

// How well a connection fits the identities of a request; 0: not at all.
int fitness(const IkeSa& sa, const ConnectionConfig& config, const Message& request) {
  const auto *theirs = request.identity(true), *ours = request.identity(false);
  if (!uses(config, *request.find<Authentication>())) return 0;
  if (std::ranges::find(config.suites, sa.facts.suite) == config.suites.end()) return 0;
  const int remote = quality(expected_identity(config, sa.facts.remote.address), theirs->identity);
  const int local = ours ? quality(local_identity(config, sa.facts.local.address), ours->identity) : 1;
  return remote == 0 || local == 0 ? 0 : 4 * remote + local;
}

// By addresses, then by identities (architecture: any address that fits, the configuration's order among
// equals).
Connection* refine(IkeSa& sa, const Message& request) {
  Connection* best = nullptr;
  int best_fitness = 0;
  for (Connection* each :
       sa.engine.candidates(sa.facts.local.address, sa.facts.remote.address, sa.facts.remote_id)) {
    const int fits = fitness(sa, *each->config(), request);
    if (fits <= best_fitness) continue;
    best = each;
    best_fitness = fits;
  }
  return best;
}

void refuse_peer(IkeSa& sa, const Message& request, const std::string& why) {
  sa.respond(request, {Notify{.type = NotifyType::kAuthenticationFailed}});
  sa.fail(why);
}

struct FirstChild {
  std::unique_ptr<ChildSa> child;  // null: none
  std::vector<Payload> payloads;
};
FirstChild first_child(IkeSa& sa, const Message& request) {
  FirstChild first;
  if (!request.find<SecurityAssociation>()) return first;  // RFC 6023: an IKE SA without a child
  const bool has_selectors = request.selectors(true) && request.selectors(false);
  const auto config = has_selectors ? pick_child(sa, request) : nullptr;
  Agreed<ChildTerms> terms = std::unexpected(
      has_selectors ? no_such_child(sa, request)
                    : Refusal{NotifyType::kTsUnacceptable, {}, "the peer's IKE_AUTH lacks TS"});
  if (config) terms = choose_child(sa, *config, request, false);
  const Spi spi = sa.engine.new_child_spi();
  Result<std::unique_ptr<ChildSa>> child = std::unexpected(Error{});
  if (terms)
    child = make_child(sa, config, *terms, spi,
                       {.shared = {},
                        .our_nonce = sa.opening->our_nonce,
                        .peer_nonce = sa.opening->peer_nonce,
                        .created_by_us = false});
  if (child) return {std::move(*child), reply_payloads(*terms, spi)};
  const Refusal refusal =
      terms ? Refusal{NotifyType::kTemporaryFailure, {}, child.error().text} : terms.error();
  report_refusal(sa, config ? config->name : "", refusal);
  first.payloads.emplace_back(refusal.to_notify());
  return first;
}

std::unexpected<Error> unknown_peer(IkeSa& sa, const Identity& identity) {
  const std::string why = fmt::format(
      "no connection fits {} with its identities, suite and kind of authentication", to_text(identity));
  const auto near = sa.engine.suite_candidates(sa.facts.local.address, sa.facts.remote.address);
  if (!near.empty()) near.front()->note_stranger(sa.facts.remote.address, why);
  return fail("{}", why);
}

// Who the peer is and that it is; the connection is settled then.
Result<Connection*> authenticate(IkeSa& sa, const Message& request) {
  const auto* id = request.identity(true);
  if (!id || !request.find<Authentication>()) return fail("the peer's IKE_AUTH lacks ID or AUTH");
  sa.facts.remote_id = id->identity;
  Connection* connection = refine(sa, request);
  if (!connection) return unknown_peer(sa, id->identity);
  sa.config = connection->config();
  sa.facts.connection = connection->config()->name;
  sa.facts.local_id = local_identity(*sa.config, sa.facts.local.address);
  if (auto checked = check_peer(sa, request); !checked) return std::unexpected(checked.error());
  return connection;
}

}  // namespace

void answer_ike_auth(IkeSa& sa, const Message& request) {
  auto connection = authenticate(sa, request);
  if (!connection) return refuse_peer(sa, request, connection.error().text);
  auto proof =
      make_authentication(*sa.config, sa.engine.configuration().keys, our_side(sa, sa.facts.local_id),
                          sa.facts.remote_id, {.init = sa.opening->peer_init, .auth = &request});
  if (!proof) return refuse_peer(sa, request, proof.error().text);
  sa.engine.assign(sa, **connection);
  if (request.notify(NotifyType::kInitialContact)) (*connection)->initial_contact(sa);
  FirstChild first = first_child(sa, request);
  std::vector<Payload> payloads{our_id(sa)};
  for (auto* part : {&*proof, &first.payloads})
    for (Payload& payload : *part) payloads.push_back(std::move(payload));
  establish(sa);
  ChildSa* child = first.child ? &sa.add_child(std::move(first.child)) : nullptr;
  if (child) {
    sa.install(*child, Direction::kIn);
    sa.install(*child, Direction::kOut);
  }
  sa.respond(request, std::move(payloads));
  if (child) announce_child(sa, *child, false);
}

}  // namespace espalier::ike
