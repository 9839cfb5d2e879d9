// Both at once (section 2.8.2): each answers the other, so that there are two new IKE SAs. The one whose four
// nonces hold the lowest is redundant and deleted by who asked for it; the other inherits, and who asked for
// that deletes the old one. Until our own response is there, the peer's new IKE SA waits as the rival.
#include "ike/sa/tasks/ike_rekey.hpp"

#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"
#include "ike/sa/tasks/child_exchange.hpp"
#include "ike/sa/tasks/ike_delete.hpp"
#include "ike/sa/tasks/key_archive.hpp"

namespace espalier::ike {
namespace {

constexpr uint16_t kMaxRekeyTries = 4;
constexpr size_t kMostAtOnce = 16;     // with one peer, with those not deleted yet
constexpr seconds kPeerDeletesIn{60};  // else it is forgotten

Bytes ike_spi_bytes(uint64_t spi) {
  const be64 wire = be64::from_host(spi);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&wire);
  return {bytes, bytes + sizeof wire};
}

struct Material {
  ByteView shared, our_nonce, peer_nonce;
  uint64_t our_spi, peer_spi;
  bool created_by_us;
};

// A new IKE SA beside the old one, established, without children.
Result<IkeSa*> make_successor(IkeSa& old, const IkeSuite& suite, const Material& material) {
  const bool us = material.created_by_us;
  IkeFacts facts = old.facts;
  facts.initiator = us;
  facts.initiator_spi = us ? material.our_spi : material.peer_spi;
  facts.responder_spi = us ? material.peer_spi : material.our_spi;
  facts.suite = suite;
  facts.predecessor = old.local_spi();
  facts.created = old.context().now;
  facts.rekey_at = facts.expires_at = kNever;
  facts.rekeyed_by_us = false;
  facts.lowest_nonce = lower_nonce(material.our_nonce, material.peer_nonce);
  const KeySeed seed{.initiator_nonce = us ? material.our_nonce : material.peer_nonce,
                     .responder_nonce = us ? material.peer_nonce : material.our_nonce,
                     .initiator_spi = facts.initiator_spi,
                     .responder_spi = facts.responder_spi};
  auto keys = TRY(rekey_ike_keys(suite, old.facts.suite.prf, old.keys().d.view(), material.shared, seed));
  auto successor = std::make_unique<IkeSa>(old.engine, std::move(facts));
  if (auto set = successor->set_keys(std::move(keys)); !set) return std::unexpected(std::move(set.error()));
  successor->wipe_auth_keys();
  successor->config = old.config;
  successor->phase = IkePhase::kEstablished;
  successor->set_lifetimes();
  return &old.engine.add(std::move(successor));
}

// The peer has to delete this one. It may not: after a collision it has sometimes never known it.
void leave_to_peer(IkeSa& sa) {
  sa.phase = IkePhase::kRekeyed;
  sa.facts.rekey_at = kNever;
  sa.facts.expires_at = sa.context().now + kPeerDeletesIn;
  sa.engine.touch(sa);
}

// One of ours that lost: the peer has it too.
void discard(IkeSa& sa) {
  leave_to_peer(sa);
  sa.enqueue(std::make_unique<IkeDelete>(Down::kReplaced));
}

size_t generations(const IkeSa& sa) {
  return static_cast<size_t>(std::ranges::count_if(
      sa.engine.sas_of(sa.facts.connection),
      [&](const IkeSa* other) { return other->facts.remote_id == sa.facts.remote_id; }));
}

void announce_rekeyed(const IkeSa& sa) {
  ++sa.context().counters.ike_rekeyed;
  sa.log(LogLevel::kInfo, Subsystem::kIke, "IKE SA rekeyed, {}", to_text(sa.facts.suite));
}

}  // namespace

void inherit(IkeSa& old, IkeSa& successor) {
  for (auto& child : old.children) {
    old.engine.place(*child, successor);
    successor.children.push_back(std::move(child));
  }
  old.children.clear();
  successor.watch_children();
  for (auto& task : old.take_queue())
    if (task->kind() != TaskKind::kIkeRekey && task->kind() != TaskKind::kLiveness)
      successor.enqueue(std::move(task));
  leave_to_peer(old);
  old.engine.touch(successor);
  announce_rekeyed(successor);
}

template <class Archive>
void IkeRekey::visit_task(Archive& archive) {
  archive(spi_);
  archive(group_);
  archive(tries_);
  visit(archive, nonce_);
  visit_key(archive, key_);
  archive(rival_);
}
template void IkeRekey::visit_task(Writer&);
template void IkeRekey::visit_task(Reader&);

IkeSa* IkeRekey::rival(IkeSa& sa) const {
  IkeSa* found = rival_ == 0 ? nullptr : sa.engine.find(rival_);
  return found && found->is_up() ? found : nullptr;
}

std::optional<Request> IkeRekey::request(IkeSa& sa) {
  if (!sa.is_up() || !sa.config) return {};
  if (tries_ == 0) group_ = sa.facts.suite.group;
  auto nonce = make_nonce();
  auto key = crypto::KeyExchange::generate(group_);
  if (!nonce || !key) {
    sa.log(LogLevel::kError, Subsystem::kCrypto, "no nonce or key for rekeying");
    return {};
  }
  nonce_ = std::move(*nonce);
  key_.emplace(std::move(*key));
  if (spi_ == 0) spi_ = sa.engine.new_ike_spi();
  return Request{ExchangeType::kCreateChildSa,
                 {offer(sa.config->suites, ike_spi_bytes(spi_)), Nonce{nonce_},
                  KeyExchangeData{group_, {key_->public_value().begin(), key_->public_value().end()}}}};
}

void IkeRekey::refused(IkeSa& sa, const Message& message) {
  if (!sa.is_up()) return;
  if (IkeSa* other = rival(sa)) return inherit(sa, *other);
  const Notify* error = message.error();
  const bool busy = error && error->type == NotifyType::kTemporaryFailure;
  if (!busy)
    sa.log(LogLevel::kWarning, Subsystem::kIke, "rekeying failed: {}",
           error ? refusal_of(*error, to_text(sa.config->suites)).why : "the peer's response is not valid");
  const milliseconds life = sa.config->lifetime;
  const milliseconds wait = std::clamp<milliseconds>(life / 50, seconds{1}, seconds{busy ? 10 : 60});
  sa.facts.rekey_at = sa.context().now + wait + sa.context().spread(wait);
}

Task::Verdict IkeRekey::response(IkeSa& sa, const Message& message) {
  if (const Notify* notify = message.notify(NotifyType::kInvalidKePayload)) {
    const uint16_t wanted = wanted_group(*notify);
    const bool ours =
        std::ranges::any_of(sa.config->suites, [&](const IkeSuite& suite) { return suite.group == wanted; });
    if (ours && wanted != group_ && ++tries_ < kMaxRekeyTries) {
      group_ = wanted;
      return Verdict::kAgain;
    }
  }
  const auto* proposals = message.find<SecurityAssociation>();
  const auto* nonce = message.find<Nonce>();
  const auto* theirs = message.find<KeyExchangeData>();
  const auto chosen = proposals && !message.error() ? accept(sa.config->suites, *proposals) : std::nullopt;
  const bool complete = chosen && chosen->peer_spi != 0 && nonce && key_ && theirs &&
                        theirs->group == group_ && chosen->suite.group == group_;
  const auto shared = complete ? key_->derive(theirs->data) : std::unexpected(std::string());
  key_.reset();
  if (!shared) {
    refused(sa, message);
    return Verdict::kDone;
  }
  const auto successor = make_successor(sa, chosen->suite,
                                        {.shared = shared->view(),
                                         .our_nonce = nonce_,
                                         .peer_nonce = nonce->data,
                                         .our_spi = spi_,
                                         .peer_spi = chosen->peer_spi,
                                         .created_by_us = true});
  successor ? created(sa, **successor) : refused(sa, message);
  return Verdict::kDone;
}

void IkeRekey::created(IkeSa& sa, IkeSa& successor) {
  IkeSa* other = rival(sa);
  if (!sa.is_up()) return discard(successor);  // the peer's has taken over
  if (other && is_lower(successor.facts.lowest_nonce, other->facts.lowest_nonce)) {
    inherit(sa, *other);
    return discard(successor);
  }
  if (other) leave_to_peer(*other);
  inherit(sa, successor);
  sa.facts.rekeyed_by_us = true;
  sa.enqueue(std::make_unique<IkeDelete>(Down::kReplaced));
}

void take_over(IkeSa& sa) {
  IkeSa* old = sa.facts.predecessor == 0 ? nullptr : sa.engine.find(sa.facts.predecessor);
  if (!old || !old->is_up() || !old->is_running(TaskKind::kIkeRekey)) return;
  if (static_cast<IkeRekey*>(old->current())->rival(*old) == &sa) inherit(*old, sa);
}

void answer_ike_rekey(IkeSa& sa, const Message& request) {
  const bool busy = sa.is_running(TaskKind::kChildCreate) || sa.is_running(TaskKind::kChildRekey) ||
                    sa.is_running(TaskKind::kChildDelete);
  const bool too_many = generations(sa) >= kMostAtOnce;
  if (busy || too_many) return sa.respond(request, {Notify{.type = NotifyType::kTemporaryFailure}});
  const auto& proposals = *request.find<SecurityAssociation>();
  const auto chosen = choose(sa.config->suites, proposals);
  if (!chosen || chosen->peer_spi == 0) {
    sa.log(LogLevel::kWarning, Subsystem::kIke, "the peer's rekeying refused: we {}, they {}; {}",
           to_text(sa.config->suites), to_text(proposals), first_difference(sa.config->suites, proposals));
    return sa.respond(request, {Notify{.type = NotifyType::kNoProposalChosen}});
  }
  const auto* theirs = request.find<KeyExchangeData>();
  if (!theirs || theirs->group != chosen->suite.group)
    return sa.respond(request, {invalid_group(chosen->suite.group).to_notify()});
  const auto nonce = make_nonce();
  const auto key = crypto::KeyExchange::generate(theirs->group);
  const auto shared = key ? key->derive(theirs->data) : std::unexpected(key.error());
  const uint64_t spi = sa.engine.new_ike_spi();
  Result<IkeSa*> successor = std::unexpected(Error{});
  if (nonce && shared)
    successor = make_successor(sa, chosen->suite,
                               {.shared = shared->view(),
                                .our_nonce = *nonce,
                                .peer_nonce = request.find<Nonce>()->data,
                                .our_spi = spi,
                                .peer_spi = chosen->peer_spi,
                                .created_by_us = false});
  if (!successor) return sa.respond(request, {Notify{.type = NotifyType::kInvalidSyntax}});
  Proposal reply = chosen->reply;
  reply.spi = ike_spi_bytes(spi);
  sa.respond(request,
             {SecurityAssociation{{reply}}, Nonce{*nonce},
              KeyExchangeData{key->group(), {key->public_value().begin(), key->public_value().end()}}});
  if (sa.is_running(TaskKind::kIkeRekey)) return static_cast<IkeRekey*>(sa.current())->set_rival(spi);
  inherit(sa, **successor);
}

}  // namespace espalier::ike
