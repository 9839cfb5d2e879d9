#include "ike/sa/tasks/child_create.hpp"

#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"

namespace espalier::ike {

std::optional<Request> ChildCreate::request(IkeSa& sa) {
  const Connection* connection = sa.engine.connection(sa.facts.connection);
  const bool made_by_peer = connection && connection->is_up(child_);  // meanwhile
  if (!sa.is_up() || made_by_peer) return {};
  return make_request(sa);
}

// Both sides may create the same child at once, see IkeSa::watch_children().
void ChildCreate::created(IkeSa& sa, std::unique_ptr<ChildSa> child) {
  ChildSa& added = sa.add_child(std::move(child));
  sa.install(added, Direction::kIn);
  sa.install(added, Direction::kOut);
  announce_child(sa, added, false);
}

void ChildCreate::refused(IkeSa& sa, const Refusal& refusal) {
  Connection* connection = sa.engine.connection(sa.facts.connection);
  if (connection && refusal.notify == NotifyType::kTemporaryFailure) return connection->child_busy(child_);
  report_refusal(sa, child_, refusal);
}

void answer_child_create(IkeSa& sa, const Message& request) {
  const auto config = pick_child(sa, request);
  if (!config) {
    report_refusal(sa, "", no_such_child(sa, request));
    return sa.respond(request, {Notify{.type = NotifyType::kTsUnacceptable}});
  }
  answer_child(sa, request, config, nullptr);
}

}  // namespace espalier::ike
