// INFORMATIONAL in both roles (RFC 7296 sections 1.4 and 2.25): deletes of IKE SAs, liveness, and the peer's
// deletes.
#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"
#include "ike/sa/tasks/child_delete.hpp"
#include "ike/sa/tasks/child_exchange.hpp"
#include "ike/sa/tasks/ike_delete.hpp"
#include "ike/sa/tasks/ike_rekey.hpp"
#include "ike/sa/tasks/liveness.hpp"

namespace espalier::ike {
namespace {

// Why we are deleting the same child ourselves; nothing: we are not.
std::optional<Down> deleting(const IkeSa& sa, const ChildSa& child) {
  if (!sa.is_running(TaskKind::kChildDelete)) return {};
  const auto* task = static_cast<const ChildDelete*>(sa.current());
  return task->spi_in() == child.spi_in ? std::optional(task->why()) : std::nullopt;
}

// A child that is not there yet: the response that tells of it is still on its way, and comes after this.
void note_early_delete(IkeSa& sa, Spi spi_out) {
  if (sa.is_running(TaskKind::kChildCreate) || sa.is_running(TaskKind::kChildRekey))
    static_cast<ChildExchange*>(sa.current())->note_deleted(spi_out);
}

// The peer deletes its inbound halves; the answer names ours of the same pairs, but not of those that we are
// deleting ourselves (section 1.4.1, 2.25.1).
std::vector<Spi> delete_children(IkeSa& sa, const Delete& payload) {
  std::vector<Spi> ours;
  for (const Spi spi : payload.spis) {
    ChildSa* child = sa.find_out(spi);
    if (!child) note_early_delete(sa, spi);
    if (!child || child->drained_at != kNever) continue;
    const std::optional<Down> our_reason = deleting(sa, *child);
    if (!our_reason) ours.push_back(child->spi_in);
    sa.drop_child(*child, our_reason.value_or(Down::kPeerDeleted));
  }
  return ours;
}

// While our own rekeying waits for its response, the peer's new IKE SA may already be the one that remains.
void close_deleted(IkeSa& sa) {
  Down why = sa.phase == IkePhase::kRekeyed ? Down::kReplaced : Down::kPeerDeleted;
  if (sa.is_running(TaskKind::kIkeDelete)) why = sa.current()->lost();
  if (sa.is_running(TaskKind::kIkeRekey)) {
    if (IkeSa* other = static_cast<IkeRekey*>(sa.current())->rival(sa)) inherit(sa, *other);
  }
  sa.close(why, true);
}

}  // namespace

std::optional<Request> IkeDelete::request(IkeSa& sa) {
  if (sa.phase == IkePhase::kEstablished) sa.phase = IkePhase::kDeleting;
  Request request{ExchangeType::kInformational, {}};
  if (unauthentic_) request.payloads.emplace_back(Notify{.type = NotifyType::kAuthenticationFailed});
  request.payloads.emplace_back(Delete{ProtocolId::kIke, {}});
  return request;
}

Task::Verdict IkeDelete::response(IkeSa& sa, const Message&) {
  sa.close(why_);
  return Verdict::kDone;
}

std::optional<Request> Liveness::request(IkeSa& sa) {
  if (!sa.is_up()) return {};
  return Request{};
}

Task::Verdict Liveness::response(IkeSa&, const Message&) {
  return Verdict::kDone;  // hearing it was enough
}

void answer_informational(IkeSa& sa, const Message& request) {
  bool closes = std::ranges::any_of(request.payloads, [](const Payload& payload) {
    const auto* each = std::get_if<Delete>(&payload);
    return each && each->protocol == ProtocolId::kIke;
  });
  if (!closes) take_over(sa);
  std::vector<Spi> deleted;
  for (const Payload& payload : request.payloads) {
    const auto* each = std::get_if<Delete>(&payload);
    if (!each) continue;
    if (each->protocol == ProtocolId::kEsp)
      std::ranges::move(delete_children(sa, *each), std::back_inserter(deleted));
  }
  const Notify* error = request.error();
  if (error) sa.log(LogLevel::kWarning, Subsystem::kIke, "the peer says {}", name_of(error->type));
  if (error && error->type == NotifyType::kAuthenticationFailed) {
    closes = true;
    if (Connection* connection = sa.engine.connection(sa.facts.connection))
      connection->failed(sa, "the peer could not authenticate us");
  }
  std::vector<Payload> payloads;
  if (!deleted.empty()) payloads.emplace_back(Delete{ProtocolId::kEsp, std::move(deleted)});
  sa.respond(request, std::move(payloads));
  if (closes) close_deleted(sa);
}

}  // namespace espalier::ike
