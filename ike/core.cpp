#include "ike/core.hpp"

#include "ike/sa/engine.hpp"

namespace espalier::ike {
namespace {

seconds until(Time at, Time now) {
  return at == kNever ? seconds{-1} : std::chrono::duration_cast<seconds>(at - now);
}

ChildReport report_of(const ChildSa& child, Time now) {
  return {.name = child.config->name,
          .state = child.redundant ? ChildState::kDeleting : child.state,
          .spi_in = child.spi_in,
          .spi_out = child.spi_out,
          .suite = to_text(child.suite),
          .local_selectors = to_text(child.local),
          .remote_selectors = to_text(child.remote),
          .encapsulated = child.encapsulated,
          .age = std::chrono::duration_cast<seconds>(now - child.created),
          .rekey_in = until(child.rekey_at, now),
          .expires_in = until(child.expires_at, now)};
}

IkeSaReport report_of(const IkeSa& sa, Time now) {
  const IkeFacts& facts = sa.facts;
  IkeSaReport report{.id = facts.id,
                     .connection = facts.connection,
                     .state = sa.report_state(),
                     .initiator = facts.initiator,
                     .initiator_spi = facts.initiator_spi,
                     .responder_spi = facts.responder_spi,
                     .local_address = to_text(facts.local),
                     .remote_address = to_text(facts.remote),
                     .local_id = facts.local_id.data.empty() ? "" : to_text(facts.local_id),
                     .remote_id = facts.remote_id.data.empty() ? "" : to_text(facts.remote_id),
                     .suite = facts.responder_spi == 0 ? "" : to_text(facts.suite),
                     .nat_local = facts.nat.local,
                     .nat_remote = facts.nat.remote,
                     .age = std::chrono::duration_cast<seconds>(now - facts.created),
                     .rekey_in = until(facts.rekey_at, now),
                     .children = {}};
  for (const auto& child : sa.children) report.children.push_back(report_of(*child, now));
  return report;
}

}  // namespace

class Core::Impl : public Engine {
 public:
  using Engine::Engine;

  // One input at a time `now`, and what follows of it.
  template <class Work>
  void at(Time now, Work work) {
    context.now = now;
    work();
    finish();
  }
};

Core::Core(CoreOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Core::~Core() = default;

void Core::configure(Configuration configuration, Time now) {
  impl_->at(now, [&] { impl_->configure(std::move(configuration)); });
}

void Core::adopt(std::vector<SavedState> states, Time now) {
  impl_->at(now, [&] { impl_->adopt(std::move(states)); });
}

void Core::receive(const Endpoint& local, const Endpoint& remote, ByteView datagram, Time now) {
  impl_->at(now, [&] { impl_->receive(local, remote, datagram); });
}

Result<void> Core::command(const Command& command, Time now) {
  Result<void> done;
  impl_->at(now, [&] { done = impl_->command(command); });
  return done;
}

void Core::event(const Event& event, Time now) {
  impl_->at(now, [&] { impl_->event(event); });
}

void Core::tick(Time now) {
  impl_->at(now, [&] { impl_->tick(); });
}

Time Core::next_deadline() const {
  return impl_->next_deadline();
}

std::vector<Output> Core::take_outputs() {
  return std::exchange(impl_->context.outputs, {});
}

std::vector<LogLine> Core::take_log() {
  return std::exchange(impl_->context.lines, {});
}

std::vector<IkeSaReport> Core::ike_sas(Time now) const {
  std::vector<IkeSaReport> reports;
  for (const auto& [spi, sa] : impl_->sas())
    if (sa->phase != IkePhase::kClosed) reports.push_back(report_of(*sa, now));
  std::ranges::sort(reports, {}, &IkeSaReport::id);
  return reports;
}

std::vector<ConnectionReport> Core::connections(Time now) const {
  std::vector<ConnectionReport> reports;
  impl_->context.now = now;
  for (const auto& [name, connection] : impl_->connections()) connection->report(reports);
  return reports;
}

const CoreCounters& Core::counters() const {
  return impl_->context.counters;
}

void Core::shut_down(Time now) {
  impl_->at(now, [&] { impl_->shut_down(); });
}

}  // namespace espalier::ike
