// Who rekeys installs the new child in both directions when the response is there, and deletes the old one.
// Who answers installs the inbound half at once; see child_sa.hpp.
//
// Both at once (section 2.8.1): both children are made. The one whose four nonces hold the lowest is
// redundant, and who asked for it deletes it; the other side deletes the old child. Until our response is
// there the peer's child is the rival; afterwards its request meets a child that we are about to delete:
// TEMPORARY_FAILURE (section 2.25.1).
#include "ike/sa/tasks/child_rekey.hpp"

#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"
#include "ike/sa/tasks/child_create.hpp"
#include "ike/sa/tasks/child_delete.hpp"

namespace espalier::ike {
namespace {

constexpr seconds kRedundantLives{60};

Bytes spi_bytes(Spi spi) {
  const be32 wire = be32::from_host(spi.value);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&wire);
  return {bytes, bytes + sizeof wire};
}

Spi spi_of(const Notify& notify) {
  if (notify.spi.size() != 4) return {};
  be32 wire;
  std::memcpy(&wire, notify.spi.data(), sizeof wire);
  return Spi{wire.host()};
}

// Long before the hard lifetime, and not at once.
milliseconds retry_delay(const ChildSa& child, Context& context) {
  const milliseconds share = std::clamp<milliseconds>(child.config->lifetime / 20, seconds{1}, seconds{10});
  return share + context.spread(share);
}

// A child of ours that lost, or that nobody wants any more: it is only deleted.
void discard(IkeSa& sa, std::unique_ptr<ChildSa> child) {
  child->redundant = true;
  child->outbound = ChildSa::Outbound::kRemoved;
  child->rekey_at = kNever;
  sa.enqueue(std::make_unique<ChildDelete>(child->spi_in, Down::kReplaced));
  sa.add_child(std::move(child));
}

}  // namespace

void ChildRekey::archive(Writer& writer) {
  ChildExchange::archive(writer);
  writer(old_);
  writer(rival_);
  visit(writer, rival_nonce_);
}

void ChildRekey::archive(Reader& reader) {
  ChildExchange::archive(reader);
  reader(old_);
  reader(rival_);
  visit(reader, rival_nonce_);
}

void ChildRekey::set_rival(const ChildSa& child) {
  rival_ = child.spi_in;
  rival_nonce_ = child.lowest_nonce;
}

ChildSa* ChildRekey::rival(IkeSa& sa) const {
  ChildSa* found = rival_.value == 0 ? nullptr : sa.find_in(rival_);
  return found && found->drained_at == kNever ? found : nullptr;
}

std::optional<Request> ChildRekey::request(IkeSa& sa) {
  ChildSa* old = sa.find_in(old_);
  const bool wanted = old && (old->state == ChildState::kInstalled || old->state == ChildState::kRekeying);
  if (!sa.is_up() || !wanted) return {};
  if (old->outbound ==
      ChildSa::Outbound::kWaits) {  // the peer may not have our response yet, and not know it
    old->rekey_at = sa.context().now + retry_delay(*old, sa.context());
    return {};
  }
  child_ = old->config->name;
  auto request = make_request(sa);
  if (!request) return {};
  old->state = ChildState::kRekeying;
  request->payloads.insert(
      request->payloads.begin(),
      Notify{.type = NotifyType::kRekeySa, .protocol = ProtocolId::kEsp, .spi = spi_bytes(old_)});
  return request;
}

void ChildRekey::created(IkeSa& sa, std::unique_ptr<ChildSa> child) {
  ChildSa* old = sa.find_in(old_);
  ChildSa* other = rival(sa);
  const bool unwanted = old && old->state == ChildState::kDeleting && old->drained_at == kNever;
  if (unwanted) return discard(sa, std::move(child));
  if (old && old->drained_at == kNever) old->state = ChildState::kRekeyed;
  const bool lost = !rival_nonce_.empty() && is_lower(child->lowest_nonce, rival_nonce_);
  if (lost) return discard(sa, std::move(child));
  if (other) {
    other->redundant = true;
    other->rekey_at = other->poll_at = kNever;
    other->expires_at = sa.context().now + kRedundantLives;  // the peer deletes it
  }
  if (old && old->drained_at == kNever) {
    child->replaces = old_;
    sa.enqueue_first(std::make_unique<ChildDelete>(old_, Down::kReplaced));
  }
  ChildSa& added = sa.add_child(std::move(child));
  sa.install(added, Direction::kIn);
  sa.install(added, Direction::kOut);
  announce_child(sa, added, true);
}

void ChildRekey::refused(IkeSa& sa, const Refusal& refusal) {
  ChildSa* old = sa.find_in(old_);
  if (!old || old->state == ChildState::kDeleting) return;
  if (rival(sa)) {
    old->state = ChildState::kRekeyed;  // the peer deletes it
    return;
  }
  if (refusal.notify == NotifyType::kChildSaNotFound) {
    sa.enqueue(std::make_unique<ChildCreate>(child_));
    return sa.drop_child(*old, Down::kReplaced);
  }
  old->state = ChildState::kInstalled;
  old->rekey_at = sa.context().now + retry_delay(*old, sa.context());
  if (refusal.notify != NotifyType::kTemporaryFailure) report_refusal(sa, child_, refusal);
}

void answer_child_rekey(IkeSa& sa, const Message& request) {
  const Notify& notify = *request.notify(NotifyType::kRekeySa);
  ChildSa* old = sa.find_out(spi_of(notify));
  // One that the response we wait for may be about.
  const bool may_come =
      !old && (sa.is_running(TaskKind::kChildRekey) || sa.is_running(TaskKind::kChildCreate));
  if (may_come) return sa.respond(request, {Notify{.type = NotifyType::kTemporaryFailure}});
  if (!old || notify.protocol != ProtocolId::kEsp || old->drained_at != kNever)
    return sa.respond(
        request,
        {Notify{.type = NotifyType::kChildSaNotFound, .protocol = notify.protocol, .spi = notify.spi}});
  if (!old->is_live() || old->redundant)
    return sa.respond(request, {Notify{.type = NotifyType::kTemporaryFailure}});
  const Spi old_spi = old->spi_in;
  ChildSa* child = answer_child(sa, request, old->config, old);
  if (!child) return;
  auto* own = sa.is_running(TaskKind::kChildRekey) ? static_cast<ChildRekey*>(sa.current()) : nullptr;
  if (own && own->old_spi_in() == old_spi) return own->set_rival(*child);
  old->state = ChildState::kRekeyed;
  old->rekey_at = kNever;
}

}  // namespace espalier::ike
