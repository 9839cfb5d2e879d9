// An IKE SA's child SAs and the dataplane.
#include "ike/sa/child_negotiation.hpp"
#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/child_delete.hpp"
#include "ike/sa/tasks/child_rekey.hpp"

namespace espalier::ike {
namespace {

constexpr seconds kDrain{5};
constexpr seconds kPollUse{1};
constexpr seconds kSettle{5};        // the first repetition of a lost answer has come then
constexpr seconds kSettlePeers{15};  // of what the peer made: it may delete it itself
constexpr seconds kAtOnce{60};

// Not a child and its replacement, which are both there while our own rekeying of it is still unanswered.
bool are_twins(const ChildSa& a, const ChildSa& b) {
  const auto stays = [](const ChildSa& child) { return child.is_live() && !child.redundant; };
  const bool related = a.replaces == b.spi_in || b.replaces == a.spi_in;
  return &a != &b && !related && stays(b) && a.config->name == b.config->name && same(a.local, b.local) &&
         same(a.remote, b.remote);
}

// Of two for the same traffic the one to keep. Made at about the same time, what both sides see alike
// decides, as with rekeyings (section 2.8.1). Else the newer: who asked for it may have lost the older.
bool is_better(const ChildSa& a, const ChildSa& b) {
  if (std::chrono::abs(a.created - b.created) < kAtOnce) return is_lower(b.lowest_nonce, a.lowest_nonce);
  return a.created > b.created;
}

}  // namespace

ChildSa* IkeSa::find_in(Spi spi_in) {
  const auto found = std::ranges::find(children, spi_in, [](const auto& child) { return child->spi_in; });
  return found == children.end() ? nullptr : found->get();
}

ChildSa* IkeSa::find_out(Spi spi_out) {
  const auto found = std::ranges::find(children, spi_out, [](const auto& child) { return child->spi_out; });
  return found == children.end() ? nullptr : found->get();
}

// The one that took over from a child; losers of a collision do not count.
ChildSa* IkeSa::find_replacement(Spi replaced) {
  const auto found = std::ranges::find_if(children, [&](const auto& child) {
    return child->replaces == replaced && !child->redundant && child->drained_at == kNever;
  });
  return found == children.end() ? nullptr : found->get();
}

ChildSa* IkeSa::find_twin(const ChildSa& child) {
  const auto found =
      std::ranges::find_if(children, [&](const auto& other) { return are_twins(child, *other); });
  return found == children.end() ? nullptr : found->get();
}

ChildSa& IkeSa::add_child(std::unique_ptr<ChildSa> child) {
  engine.place(*child, *this);
  engine.touch(*this);
  watch_children();
  return *children.emplace_back(std::move(child));
}

void IkeSa::watch_children() {
  if (settle_at_ == kNever) settle_at_ = context().now + kSettle;
}

// Both sides asked for the same, or the peer asked again for what it lost. Both children carry traffic, so
// there is no hurry: who asked for the worse one deletes it, the other side only when that does not happen.
void IkeSa::settle_children() {
  const Time now = context().now;
  if (now < settle_at_) return;
  settle_at_ = kNever;
  for (const auto& child : children) {
    const auto better = std::ranges::find_if(children, [&](const auto& other) {
      return are_twins(*child, *other) && are_twins(*other, *child) && is_better(*other, *child);
    });
    if (better == children.end()) continue;
    settle_at_ = now + kSettle;
    const bool overdue = now - std::max(child->created, (*better)->created) > kSettlePeers;
    if (child->state != ChildState::kInstalled || !(child->created_by_us || overdue)) continue;
    context().log(LogLevel::kInfo, Subsystem::kChild, facts.connection, child->config->name,
                  "duplicate child SA {:08x} deleted", child->spi_in.value);
    retire(*child, Down::kReplaced);
  }
}

ChildPath IkeSa::path() const {
  return {.local = facts.local.address,
          .remote = facts.remote.address,
          .local_port = facts.local.port,
          .remote_port = facts.remote.port,
          .keepalive = facts.plan.keepalive,
          .follow_peer = facts.plan.follow_peer,
          .connection = facts.connection};
}

void IkeSa::install(ChildSa& child, Direction direction) {
  context().emit(InstallSa{make_record(child, path(), direction)});
}

void IkeSa::withdraw(ChildSa& child, Direction direction) {
  const bool out = direction == Direction::kOut;
  context().emit(RemoveSa{out ? child.spi_out : child.spi_in, direction,
                          out ? facts.remote.address : facts.local.address});
  if (out) return;
  engine.forget(child);
  child.spi_in = Spi{};  // swept by who walks over the list
}

void IkeSa::activate(ChildSa& child) {
  if (child.outbound != ChildSa::Outbound::kWaits || child.redundant) return;
  child.outbound = ChildSa::Outbound::kInstalled;
  child.poll_at = kNever;
  install(child, Direction::kOut);
  engine.touch(*this);
}

void IkeSa::retire(ChildSa& child, Down why) {
  child.state = ChildState::kDeleting;
  child.rekey_at = kNever;
  enqueue(std::make_unique<ChildDelete>(child.spi_in, why));
}

void IkeSa::drop_child(ChildSa& child, Down why) {
  if (child.drained_at != kNever || child.spi_in.value == 0) return;
  engine.touch(*this);
  ChildSa* replacement = find_replacement(child.spi_in);
  if (replacement) {
    activate(*replacement);
    replacement->replaces = Spi{};
  }
  const bool replaced = replacement || find_twin(child);
  if (child.outbound == ChildSa::Outbound::kInstalled) withdraw(child, Direction::kOut);
  child.outbound = ChildSa::Outbound::kRemoved;
  child.rekey_at = child.expires_at = child.poll_at = kNever;
  child.state = ChildState::kDeleting;
  child.drained_at = context().now + (replaced ? kDrain : seconds{0});
  if (replaced || child.redundant) return;
  context().log(LogLevel::kInfo, Subsystem::kChild, facts.connection, child.config->name,
                "child SA {:08x} closed", child.spi_in.value);
  if (Connection* connection = engine.connection(facts.connection))
    connection->child_down(*this, child.config->name, why);
}

void IkeSa::move_to(const Endpoint& local, const Endpoint& remote) {
  if (local == facts.local && remote == facts.remote) return;
  const IpAddress old_local = facts.local.address, old_remote = facts.remote.address;
  facts.local = local;
  facts.remote = remote;
  engine.touch(*this);
  for (const auto& child : children) {
    if (child->drained_at != kNever) continue;
    const SaRecord in = make_record(*child, path(), Direction::kIn),
                   out = make_record(*child, path(), Direction::kOut);
    context().emit(MoveSa{in.spi, Direction::kIn, in.source, in.destination, in.encap_source_port,
                          in.encap_destination_port, old_local});
    if (child->outbound == ChildSa::Outbound::kInstalled)
      context().emit(MoveSa{out.spi, Direction::kOut, out.source, out.destination, out.encap_source_port,
                            out.encap_destination_port, old_remote});
  }
}

// The peer sends with a child that we made in answer to it: so it has its own side installed.
void IkeSa::child_use(const SaUse& use) {
  ChildSa* child = find_in(use.spi);
  if (!child) return;
  if (use.packets > 0) activate(*child);
  if (use.idle && config && config->dpd_interval && *use.idle < *config->dpd_interval)
    heard(context().now - *use.idle);
}

void IkeSa::tick_child(ChildSa& child) {
  const Time now = context().now;
  if (now >= child.drained_at) return withdraw(child, Direction::kIn);
  if (now >= child.poll_at) {
    child.poll_at = now + kPollUse;
    context().emit(AskSaUse{child.spi_in});
  }
  if (now >= child.rekey_at) {
    child.rekey_at = kNever;
    if (child.state == ChildState::kInstalled && !child.redundant)
      enqueue(std::make_unique<ChildRekey>(child.spi_in));
  }
  if (now >= child.expires_at) {
    child.expires_at = kNever;
    context().log(LogLevel::kInfo, Subsystem::kChild, facts.connection, child.config->name,
                  "lifetime is over");
    enqueue(std::make_unique<ChildDelete>(child.spi_in, Down::kExpired));
  }
}

}  // namespace espalier::ike
