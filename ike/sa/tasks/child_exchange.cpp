#include "ike/sa/tasks/child_exchange.hpp"

#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"
#include "ike/sa/tasks/child_delete.hpp"
#include "ike/sa/tasks/key_archive.hpp"

namespace espalier::ike {
namespace {

constexpr uint16_t kMaxGroupTries = 4;
constexpr size_t kMaxDeleted = 16;  // a peer may delete any number of what was never there

void refuse_request(IkeSa& sa, const Message& request, NotifyType notify) {
  sa.respond(request, {Notify{.type = notify}});
}

bool is_nonce_fine(const Nonce* nonce) {
  return nonce && nonce->data.size() >= 16 && nonce->data.size() <= 256;  // section 2.10
}

// The shared secret of PFS as the responder; empty without PFS. `ours`: for the response.
Agreed<crypto::Secret> agree_on_key(uint16_t group, const KeyExchangeData* theirs, KeyExchangeData& ours) {
  if (group == 0) return crypto::Secret();
  if (!theirs || theirs->group != group) return std::unexpected(invalid_group(group));
  const auto key = crypto::KeyExchange::generate(group);
  if (!key) return std::unexpected(Refusal{NotifyType::kNoProposalChosen, {}, key.error()});
  auto shared = key->derive(theirs->data);
  if (!shared)
    return std::unexpected(Refusal{NotifyType::kInvalidSyntax, {}, "key of the peer: " + shared.error()});
  ours = {group, {key->public_value().begin(), key->public_value().end()}};
  return std::move(*shared);
}

struct Answered {
  std::unique_ptr<ChildSa> child;
  std::vector<Payload> payloads;
};
Agreed<Answered> make_answer(IkeSa& sa, const Message& request,
                             const std::shared_ptr<const ChildConfig>& config) {
  auto terms = choose_child(sa, *config, request, true);
  if (!terms) return std::unexpected(std::move(terms.error()));
  KeyExchangeData our_key;
  auto shared = agree_on_key(terms->suite.group, request.find<KeyExchangeData>(), our_key);
  if (!shared) return std::unexpected(std::move(shared.error()));
  auto nonce = make_nonce();
  const Spi spi = sa.engine.new_child_spi();
  const ByteView peer_nonce = request.find<Nonce>()->data;
  Result<std::unique_ptr<ChildSa>> child = std::unexpected(Error{});
  if (nonce)
    child = make_child(
        sa, config, *terms, spi,
        {.shared = shared->view(), .our_nonce = *nonce, .peer_nonce = peer_nonce, .created_by_us = false});
  if (!nonce || !child)
    return std::unexpected(
        Refusal{NotifyType::kTemporaryFailure, {}, nonce ? child.error().text : nonce.error().text});
  Answered answered{std::move(*child), reply_payloads(*terms, spi)};
  answered.payloads.emplace_back(Nonce{*nonce});
  if (terms->suite.group != 0) answered.payloads.emplace_back(our_key);
  return answered;
}

}  // namespace

template <class Archive>
void ChildExchange::visit_exchange(Archive& archive) {
  visit(archive, child_);
  archive(group_);
  archive(tries_);
  archive(offer_.spi);
  visit(archive, offer_.local);
  visit(archive, offer_.remote);
  visit(archive, nonce_);
  visit_key(archive, key_);
  visit(archive, deleted_);
}
template void ChildExchange::visit_exchange(Writer&);
template void ChildExchange::visit_exchange(Reader&);

bool ChildExchange::prepare_key(uint16_t group) {
  key_.reset();
  if (group == 0) return true;
  auto key = crypto::KeyExchange::generate(group);
  if (!key) return false;
  key_.emplace(std::move(*key));
  return true;
}

std::optional<Request> ChildExchange::make_request(IkeSa& sa) {
  const auto config = child_config(sa.config, child_);
  if (!config || config->suites.empty()) return {};
  if (tries_ == 0) group_ = config->suites.front().group;
  auto nonce = make_nonce();
  if (!nonce || !prepare_key(group_)) {
    report_refusal(sa, child_, {NotifyType::kTemporaryFailure, {}, "no nonce or key"});
    return {};
  }
  nonce_ = std::move(*nonce);
  if (offer_.spi.value == 0) offer_ = make_offer(sa, *config, true);
  Request request{ExchangeType::kCreateChildSa, offer_payloads(*config, offer_)};
  request.payloads.insert(request.payloads.begin() + 1, Nonce{nonce_});
  if (key_)
    request.payloads.insert(
        request.payloads.begin() + 2,
        KeyExchangeData{group_, {key_->public_value().begin(), key_->public_value().end()}});
  return request;
}

bool ChildExchange::try_group(const ChildConfig& config, uint16_t group) {
  const bool ours =
      std::ranges::any_of(config.suites, [&](const EspSuite& suite) { return suite.group == group; });
  if (!ours || group == group_ || ++tries_ >= kMaxGroupTries) return false;
  group_ = group;
  return true;
}

Agreed<std::unique_ptr<ChildSa>> ChildExchange::make(IkeSa& sa,
                                                     const std::shared_ptr<const ChildConfig>& config,
                                                     const Message& message) {
  auto terms = accept_child(*config, offer_, message);
  if (!terms) return std::unexpected(std::move(terms.error()));
  const auto* nonce = message.find<Nonce>();
  const auto* theirs = message.find<KeyExchangeData>();
  const bool key_fits =
      terms->suite.group == 0 || (key_ && theirs && theirs->group == group_ && terms->suite.group == group_);
  if (!is_nonce_fine(nonce) || !key_fits)
    return std::unexpected(
        Refusal{NotifyType::kInvalidSyntax, {}, "the peer's response lacks nonce or key exchange"});
  crypto::Secret shared;
  if (terms->suite.group != 0) {
    auto derived = key_->derive(theirs->data);
    if (!derived)
      return std::unexpected(Refusal{NotifyType::kInvalidSyntax, {}, "key of the peer: " + derived.error()});
    shared = std::move(*derived);
  }
  auto child = make_child(
      sa, config, *terms, offer_.spi,
      {.shared = shared.view(), .our_nonce = nonce_, .peer_nonce = nonce->data, .created_by_us = true});
  if (!child) return std::unexpected(Refusal{NotifyType::kTemporaryFailure, {}, child.error().text});
  return std::move(*child);
}

Task::Verdict ChildExchange::response(IkeSa& sa, const Message& message) {
  const auto config = child_config(sa.config, child_);
  const Notify* other_group = message.notify(NotifyType::kInvalidKePayload);
  if (config && other_group && try_group(*config, wanted_group(*other_group))) return Verdict::kAgain;
  Agreed<std::unique_ptr<ChildSa>> child =
      std::unexpected(Refusal{NotifyType::kNoProposalChosen, {}, "is not configured any more"});
  if (config) child = make(sa, config, message);
  key_.reset();
  if (child) {
    const Spi spi_out = (*child)->spi_out;
    created(sa, std::move(*child));
    const bool deleted = std::ranges::find(deleted_, spi_out) != deleted_.end();
    if (ChildSa* made = deleted ? sa.find_out(spi_out) : nullptr) sa.drop_child(*made, Down::kPeerDeleted);
    return Verdict::kDone;
  }
  // What the peer made has to go, where it made something that we cannot take.
  if (!message.error()) sa.enqueue(std::make_unique<ChildDelete>(offer_.spi, Down::kFailed));
  refused(sa, child.error());
  return Verdict::kDone;
}

void ChildExchange::note_deleted(Spi spi_out) {
  if (deleted_.size() == kMaxDeleted) deleted_.erase(deleted_.begin());
  deleted_.push_back(spi_out);
}

ChildSa* answer_child(IkeSa& sa, const Message& request, const std::shared_ptr<const ChildConfig>& config,
                      ChildSa* replaced) {
  auto answered = make_answer(sa, request, config);
  if (!answered) {
    if (answered.error().notify != NotifyType::kInvalidKePayload)
      report_refusal(sa, config->name, answered.error());
    sa.respond(request, {answered.error().to_notify()});
    return nullptr;
  }
  ChildSa& child = sa.add_child(std::move(answered->child));
  sa.install(child, Direction::kIn);
  if (replaced) {
    child.replaces = replaced->spi_in;
    child.outbound = ChildSa::Outbound::kWaits;
    child.poll_at = sa.context().now + seconds{1};
  } else {
    sa.install(child, Direction::kOut);
  }
  sa.respond(request, std::move(answered->payloads));
  announce_child(sa, child, replaced != nullptr);
  return &child;
}

namespace {

// A peer may have some of each configured child (a pair of prefixes each, and generations that overlap), not
// any number.
bool has_too_many_children(const IkeSa& sa) {
  constexpr size_t kGenerations = 8;
  size_t most = 0;
  for (const ChildConfig& child : sa.config->children)
    most += kGenerations * std::max<size_t>(1, child.local.prefixes.size() * child.remote.prefixes.size());
  return sa.children.size() >= most;
}

}  // namespace

// Collisions with our own exchanges: section 2.25.
void answer_create_child_sa(IkeSa& sa, const Message& request) {
  const auto* proposals = request.find<SecurityAssociation>();
  if (!proposals || proposals->proposals.empty() || !is_nonce_fine(request.find<Nonce>()))
    return refuse_request(sa, request, NotifyType::kInvalidSyntax);
  const bool closing = sa.phase != IkePhase::kEstablished || sa.has(TaskKind::kIkeDelete);
  if (closing) return refuse_request(sa, request, NotifyType::kTemporaryFailure);
  if (proposals->proposals.front().protocol == ProtocolId::kIke) return answer_ike_rekey(sa, request);
  if (sa.is_running(TaskKind::kIkeRekey)) return refuse_request(sa, request, NotifyType::kTemporaryFailure);
  if (has_too_many_children(sa)) return refuse_request(sa, request, NotifyType::kNoAdditionalSas);
  if (!request.selectors(true) || !request.selectors(false))
    return refuse_request(sa, request, NotifyType::kInvalidSyntax);
  request.notify(NotifyType::kRekeySa) ? answer_child_rekey(sa, request) : answer_child_create(sa, request);
}

}  // namespace espalier::ike
