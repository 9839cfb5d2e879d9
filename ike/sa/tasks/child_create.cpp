#include "ike/sa/tasks/child_create.hpp"

#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"

namespace espalier::ike {

std::optional<Request> ChildCreate::request(IkeSa& sa) {
  if (!sa.is_up()) return {};
  return make_request(sa);
}

// Both sides may create the same child at once: it is settled as a collision of rekeyings, so that one remains.
void ChildCreate::created(IkeSa& sa, std::unique_ptr<ChildSa> child) {
  ChildSa* other = rival(sa);
  if (other && is_lower(child->lowest_nonce, other->lowest_nonce)) return discard(sa, std::move(child));
  if (other) other->redundant = true;  // the peer deletes it
  ChildSa& added = sa.add_child(std::move(child));
  sa.install(added, Direction::kIn);
  sa.install(added, Direction::kOut);
  announce_child(sa, added, false);
}

void ChildCreate::refused(IkeSa& sa, const Refusal& refusal) {
  if (!rival(sa)) report_refusal(sa, child_, refusal);
}

void answer_child_create(IkeSa& sa, const Message& request) {
  const auto config = pick_child(sa, request);
  if (!config) {
    const auto &theirs = request.selectors(true)->selectors, &ours = request.selectors(false)->selectors;
    report_refusal(sa, "", {NotifyType::kTsUnacceptable,
                            {},
                            fmt::format("selectors: they want {} === {}, no child of ours has such", to_text(ours),
                                        to_text(theirs))});
    return sa.respond(request, {Notify{.type = NotifyType::kTsUnacceptable}});
  }
  ChildSa* child = answer_child(sa, request, config, nullptr);
  if (!child || !sa.is_running(TaskKind::kChildCreate)) return;
  auto* own = static_cast<ChildCreate*>(sa.current());
  if (own->child() == config->name) own->set_rival(child->spi_in);
}

}  // namespace espalier::ike
