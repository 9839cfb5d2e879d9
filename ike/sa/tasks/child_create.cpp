#include "ike/sa/tasks/child_create.hpp"

#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/answers.hpp"
#include "ike/sa/tasks/child_delete.hpp"

namespace espalier::ike {

std::optional<Request> ChildCreate::request(IkeSa& sa) {
  if (!sa.is_up()) return {};
  return make_request(sa);
}

// Both sides may create the same child at once: it is settled as a collision of rekeyings, so that one
// remains.
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

namespace {

// The peer makes a child that is there already. If ours is fresh, both made it at once, and the peer, for
// which ours is the rival, decides by the nonces. Else it has lost the older one.
void replace_duplicate(IkeSa& sa, ChildSa& made) {
  constexpr seconds kFresh{60};
  for (const auto& other : sa.children) {
    const bool duplicate = other.get() != &made && other->config->name == made.config->name &&
                           other->is_live() && !other->redundant && same(other->local, made.local) &&
                           same(other->remote, made.remote);
    if (!duplicate) continue;
    const bool fresh = other->created_by_us && sa.context().now - other->created < kFresh;
    if (fresh && is_lower(made.lowest_nonce, other->lowest_nonce)) {
      made.redundant = true;  // the peer deletes it
      made.rekey_at = kNever;
      continue;
    }
    sa.enqueue(std::make_unique<ChildDelete>(other->spi_in, Down::kReplaced));
  }
}

}  // namespace

void answer_child_create(IkeSa& sa, const Message& request) {
  const auto config = pick_child(sa, request);
  if (!config) {
    report_refusal(sa, "", no_such_child(sa, request));
    return sa.respond(request, {Notify{.type = NotifyType::kTsUnacceptable}});
  }
  ChildSa* child = answer_child(sa, request, config, nullptr);
  if (!child) return;
  replace_duplicate(sa, *child);
  if (!sa.is_running(TaskKind::kChildCreate)) return;
  auto* own = static_cast<ChildCreate*>(sa.current());
  if (own->child() == config->name) own->set_rival(child->spi_in);
}

}  // namespace espalier::ike
