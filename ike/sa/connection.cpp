#include "ike/sa/connection.hpp"

#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/child_create.hpp"
#include "ike/sa/tasks/child_rekey.hpp"
#include "ike/sa/tasks/ike_delete.hpp"
#include "ike/sa/tasks/ike_init.hpp"
#include "ike/sa/tasks/ike_rekey.hpp"

namespace espalier::ike {
namespace {

constexpr milliseconds kFirstTry{100};
constexpr seconds kResolvingTakes{10};
constexpr seconds kLongestBackOff{60};
constexpr seconds kStable{10};  // an IKE SA that lived less counts as a failed try
constexpr seconds kPeerCreatesFirst{3};
constexpr milliseconds kSettle{2000};
constexpr seconds kSettlePeers{10};  // duplicates that the peer began: it may delete them itself

bool creates(const Task* task, const std::string& child) {
  return task && task->kind() == TaskKind::kChildCreate &&
         static_cast<const ChildCreate*>(task)->child() == child;
}

// Of two IKE SAs of one peer, the one to keep. Begun at once by both sides: what both see alike decides. Else
// the newer one, since who began it may have lost the older.
bool is_better(const IkeSa& a, const IkeSa& b) {
  const bool overlap = a.facts.created < b.facts.established && b.facts.created < a.facts.established;
  if (overlap) return a.facts.initiator_spi < b.facts.initiator_spi;
  return a.facts.established > b.facts.established;
}

}  // namespace

Connection::Connection(Engine& engine, uint64_t number, std::shared_ptr<const ConnectionConfig> config)
    : engine_(engine), number_(number), config_(std::move(config)) {
  for (const ChildConfig& child : config_->children) wanted_[child.name];
}

// --- Wishes ---

void Connection::start() {
  if (config_->type != ConnectionType::kInitiate) return;
  for (auto& [child, wanted] : wanted_) want(child, Goal::kAlways);
  // Not all at once, and not before what an earlier process left was adopted.
  retry_at_ = engine_.context.now + kFirstTry + engine_.context.spread(kFirstTry);
}

void Connection::want(const std::string& child, Goal goal, milliseconds wait) {
  const auto found = wanted_.find(child);
  if (found == wanted_.end() || stopped_) return;
  found->second.goal = std::max(found->second.goal, goal);
  found->second.retry_at = engine_.context.now + wait;
  engine_.touch(*this);
}

bool Connection::has_remote() const {
  return std::ranges::any_of(config_->remotes, [](const auto& remote) { return remote != "any"; });
}

bool Connection::wants_any() const {
  return std::ranges::any_of(wanted_, [](const auto& each) { return each.second.goal != Goal::kNone; });
}

Result<void> Connection::initiate(const std::string& child) {
  if (!child.empty() && !wanted_.contains(child))
    return fail("peer {} has no tunnel {}", config_->name, child);
  if (!has_remote()) return fail("peer {} has no remote address to initiate to", config_->name);
  const Goal goal = config_->type == ConnectionType::kInitiate ? Goal::kAlways : Goal::kOnce;
  stopped_ = false;
  tries_ = 0;
  retry_at_ = engine_.context.now;
  for (const ChildConfig& each : config_->children)
    if (child.empty() || each.name == child) want(each.name, goal);
  return {};
}

Result<void> Connection::terminate(const std::string& child) {
  if (!child.empty() && !wanted_.contains(child))
    return fail("peer {} has no tunnel {}", config_->name, child);
  bool found = false;
  for (auto& [name, wanted] : wanted_) {
    if (!child.empty() && name != child) continue;
    found |= wanted.goal != Goal::kNone;
    wanted.goal = Goal::kNone;
  }
  for (IkeSa* sa : engine_.sas_of(config_->name)) {
    if (child.empty()) {
      found = true;
      sa->is_up() ? sa->enqueue(std::make_unique<IkeDelete>(Down::kOperator)) : sa->close(Down::kOperator);
      continue;
    }
    for (const auto& each : sa->children) {
      if (each->config->name != child || !each->is_live()) continue;
      found = true;
      sa->retire(*each, Down::kOperator);
    }
  }
  if (!found) return fail("peer {} is down", config_->name);
  return {};
}

Result<void> Connection::rekey(const std::string& child) {
  if (!child.empty() && !wanted_.contains(child))
    return fail("peer {} has no tunnel {}", config_->name, child);
  IkeSa* sa = usable();
  if (!sa) return fail("peer {} is down", config_->name);
  if (child.empty()) {
    if (!sa->has(TaskKind::kIkeRekey)) sa->enqueue(std::make_unique<IkeRekey>());
    return {};
  }
  bool found = false;
  for (const auto& each : sa->children) {
    if (each->config->name != child || each->state != ChildState::kInstalled || each->redundant) continue;
    found = true;
    sa->enqueue(std::make_unique<ChildRekey>(each->spi_in));
  }
  if (!found) return fail("tunnel {} of peer {} is down or being rekeyed", child, config_->name);
  return {};
}

void Connection::acquire(const std::string& child) {
  const auto found = wanted_.find(child);
  if (found == wanted_.end() || found->second.goal != Goal::kNone || is_up(child) || !has_remote()) return;
  if (config_->type == ConnectionType::kNone && !found->second.trapped) return;
  engine_.context.log(LogLevel::kInfo, Subsystem::kChild, config_->name, child, "traffic asks for it");
  want(child, config_->type == ConnectionType::kInitiate ? Goal::kAlways : Goal::kOnce);
}

void Connection::stop() {
  stopped_ = true;
  for (auto& [name, wanted] : wanted_) wanted.goal = Goal::kNone;
  for (IkeSa* sa : engine_.sas_of(config_->name))
    sa->is_up() ? sa->enqueue(std::make_unique<IkeDelete>(Down::kOperator)) : sa->close(Down::kOperator);
}

// --- What IKE SAs report ---

void Connection::ike_established(IkeSa& sa) {
  tries_ = 0;
  retry_at_ = engine_.context.now;
  if (sa.facts.initiator) ways_.clear();
  engine_.touch(*this);
}

void Connection::ike_closed(IkeSa& sa, Down why) {
  engine_.touch(*this);
  if (why == Down::kOperator || why == Down::kReplaced || sa.facts.established == kNever) return;
  const bool was_stable = engine_.context.now - sa.facts.established >= kStable;
  if (!was_stable) count_failed_try();
}

void Connection::failed(const IkeSa& sa, const std::string& why) {
  note_failure(why);
  if (sa.facts.initiator) count_failed_try();
  engine_.touch(*this);
}

void Connection::note_failure(const std::string& why) {
  last_failure_ = why;
  last_failure_at_ = engine_.context.now;
}

void Connection::note_stranger(const IpAddress& remote, const std::string& why) {
  const bool named = std::ranges::any_of(config_->remotes,
                                         [&](const auto& each) { return literal_address(each) == remote; });
  if (named || config_->remotes.size() == 1) note_failure(why);
}

milliseconds Connection::back_off(unsigned tries) const {
  const milliseconds whole =
      std::min<milliseconds>(seconds{1} * (1u << std::min(tries, 6u)), kLongestBackOff);
  return whole / 2 + engine_.context.spread(whole / 2);
}

void Connection::count_failed_try() {
  retry_at_ = engine_.context.now + back_off(tries_++);
  if (tries_ < config_->remotes.size() || !ways_.empty()) return;
  for (auto& [name, wanted] : wanted_)
    if (wanted.goal == Goal::kOnce) wanted.goal = Goal::kNone;
}

void Connection::child_up(const std::string& child) {
  engine_.touch(*this);
  const auto found = wanted_.find(child);
  if (found != wanted_.end()) found->second = {};
}

void Connection::child_refused(const std::string& child, const std::string& why) {
  note_failure(child.empty() ? why : child + ": " + why);
  engine_.touch(*this);
  const auto found = wanted_.find(child);
  if (found == wanted_.end()) return;
  if (found->second.goal == Goal::kOnce) found->second.goal = Goal::kNone;
  child_busy(child);
}

void Connection::child_busy(const std::string& child) {
  engine_.touch(*this);
  const auto found = wanted_.find(child);
  if (found == wanted_.end()) return;
  found->second.retry_at = engine_.context.now + back_off(found->second.tries++);
}

void Connection::child_down(IkeSa& sa, const std::string& child, Down why) {
  if (is_up(child) || !wanted_.contains(child)) return;
  const bool initiates = config_->type == ConnectionType::kInitiate;
  const IkeSa* other = usable();
  if (why == Down::kPeerDeleted && other && other != &sa) why = Down::kReplaced;  // it keeps the other one
  switch (why) {
    case Down::kPeerDeleted:
      if (config_->close_action == CloseAction::kStart) want(child, Goal::kAlways);
      if (config_->close_action == CloseAction::kTrap) wanted_[child].trapped = true;
      break;
    case Down::kPeerLost:
      if (config_->dpd_action == DpdAction::kRestart) want(child, Goal::kAlways);
      if (config_->dpd_action == DpdAction::kTrap) wanted_[child].trapped = true;
      break;
    case Down::kExpired:
      if (initiates) want(child, Goal::kAlways);
      break;
    case Down::kReplaced:
      if (initiates) want(child, Goal::kAlways, kPeerCreatesFirst);
      break;
    case Down::kFailed:
    case Down::kOperator:
      break;
  }
}

bool Connection::is_alone(const IkeSa& sa) const {
  return std::ranges::none_of(engine_.sas_of(config_->name), [&](const IkeSa* other) {
    return other != &sa && other->phase >= IkePhase::kEstablished;
  });
}

std::string Connection::first_wanted() const {
  for (const ChildConfig& child : config_->children)
    if (const auto found = wanted_.find(child.name); found->second.goal != Goal::kNone) return child.name;
  return config_->children.empty() ? std::string() : config_->children.front().name;
}

void Connection::initial_contact(IkeSa& newer) {
  for (IkeSa* sa : engine_.sas_of(config_->name)) {
    // Not one that came up while this one did: the peer said it before it knew of that.
    const bool older = sa->phase >= IkePhase::kEstablished && sa->facts.established < newer.facts.created;
    if (sa == &newer || !older || sa->facts.remote_id != newer.facts.remote_id) continue;
    sa->log(LogLevel::kInfo, Subsystem::kIke, "the peer knows it no more");
    sa->close(Down::kReplaced);
  }
}

// --- Getting there ---

bool Connection::is_up(const std::string& child) const {
  for (const IkeSa* sa : engine_.sas_of(config_->name)) {
    if (sa->phase != IkePhase::kEstablished) continue;
    for (const auto& each : sa->children)
      if (each->config->name == child && each->state <= ChildState::kRekeyed && each->drained_at == kNever &&
          !each->redundant)
        return true;
  }
  return false;
}

IkeSa* Connection::usable() const {
  for (IkeSa* sa : engine_.sas_of(config_->name))
    if (sa->is_up() && !sa->has(TaskKind::kIkeDelete) && !sa->is_rival()) return sa;
  return nullptr;
}

bool Connection::is_connecting() const {
  return std::ranges::any_of(engine_.sas_of(config_->name),
                             [](const IkeSa* sa) { return sa->phase < IkePhase::kEstablished; });
}

void Connection::advance() {
  if (stopped_) return;
  settle_duplicates();
  for (auto& [child, wanted] : wanted_)
    if (wanted.goal != Goal::kNone && is_up(child)) wanted = {};
  if (!wants_any()) return;
  if (IkeSa* sa = usable()) return create_children(*sa);
  if (!is_connecting() && engine_.context.now >= retry_at_) attempt();
}

void Connection::create_children(IkeSa& sa) {
  for (auto& [child, wanted] : wanted_) {
    if (wanted.goal == Goal::kNone || engine_.context.now < wanted.retry_at) continue;
    const bool under_way =
        creates(sa.current(), child) ||
        std::ranges::any_of(sa.queue(), [&](const auto& task) { return creates(task.get(), child); });
    if (!under_way) sa.enqueue(std::make_unique<ChildCreate>(child));
  }
}

// The next address to try. Names are asked for anew at every try; so is our address, where it is not
// configured.
void Connection::attempt() {
  if (!ways_.empty()) {
    const Resolved::Way way = ways_.front();
    ways_.erase(ways_.begin());
    return begin(way);
  }
  const bool asked = resolving_until_ != kNever;
  if (asked && engine_.context.now < resolving_until_) return;
  if (asked) note_failure("name not resolved in time");
  for (size_t i = 0; i < config_->remotes.size(); ++i) {
    const std::string& remote = config_->remotes[remote_++ % config_->remotes.size()];
    if (remote == "any") continue;
    const auto address = literal_address(remote);
    if (address && !config_->local.is_unspecified()) return begin({config_->local, *address});
    resolving_ = remote;
    resolving_until_ = engine_.context.now + kResolvingTakes;
    return engine_.context.emit(Resolve{config_->name, remote});
  }
  for (auto& [name, wanted] : wanted_) wanted.goal = Goal::kNone;  // nowhere to go
}

void Connection::resolved(const Resolved& answer) {
  if (resolving_until_ == kNever || answer.name != resolving_) return;  // of an earlier try
  resolving_until_ = kNever;
  engine_.touch(*this);
  for (const auto& way : answer.ways) {
    const IpAddress local = config_->local.is_unspecified() ? way.local : config_->local;
    if (!local.is_unspecified() && local.family() == way.remote.family())
      ways_.push_back({local, way.remote});
  }
  if (!ways_.empty()) return;
  note_failure(fmt::format("{}: {}", answer.name, answer.failure.empty() ? "no route" : answer.failure));
  count_failed_try();
}

void Connection::begin(const Resolved::Way& way) {
  IkeFacts facts;
  facts.connection = config_->name;
  facts.initiator = true;
  facts.initiator_spi = engine_.new_ike_spi();
  facts.local = {way.local, kIkePort};
  facts.remote = {way.remote, kIkePort};
  facts.created = engine_.context.now;
  auto sa = std::make_unique<IkeSa>(engine_, std::move(facts));
  sa->config = config_;
  sa->opening = std::make_unique<Opening>();
  sa->enqueue(std::make_unique<IkeInit>());
  engine_.add(std::move(sa));
}

Time Connection::deadline() const {
  if (stopped_) return kNever;
  Time at = settle_at_;
  if (!wants_any()) return at;
  if (resolving_until_ != kNever) return std::min(at, std::max(retry_at_, resolving_until_));
  if (usable()) {
    for (const auto& [child, wanted] : wanted_)
      if (wanted.goal != Goal::kNone && wanted.retry_at > engine_.context.now)
        at = std::min(at, wanted.retry_at);
    return at;
  }
  return is_connecting() ? at : std::min(at, retry_at_);
}

// --- Duplicates ---

// Established IKE SAs by peer, the best of each first; not counting what a rekeying under way has made.
std::vector<std::vector<IkeSa*>> Connection::duplicates() const {
  std::map<std::pair<IdType, Bytes>, std::vector<IkeSa*>> by_peer;
  for (IkeSa* sa : engine_.sas_of(config_->name)) {
    if (!sa->is_up() || sa->has(TaskKind::kIkeDelete) || sa->is_rival()) continue;
    by_peer[{sa->facts.remote_id.type, sa->facts.remote_id.data}].push_back(sa);
  }
  std::vector<std::vector<IkeSa*>> found;
  for (auto& [peer, sas] : by_peer) {
    if (sas.size() < 2) continue;
    std::ranges::sort(sas, [](const IkeSa* a, const IkeSa* b) { return is_better(*a, *b); });
    found.push_back(std::move(sas));
  }
  return found;
}

// Who began the worse one deletes it; the other side only when that does not happen.
void Connection::settle_duplicates() {
  const Time now = engine_.context.now;
  const auto found = duplicates();
  if (found.empty()) return void(settle_at_ = kNever);
  if (settle_at_ == kNever) settle_at_ = now + kSettle + engine_.context.spread(kSettle / 2);
  if (now < settle_at_) return;
  settle_at_ = now + kSettle;
  for (const auto& sas : found) {
    for (IkeSa* worse : std::span(sas).subspan(1)) {
      const bool ours = worse->facts.initiator || now - sas.front()->facts.established > kSettlePeers;
      if (!ours) continue;
      worse->log(LogLevel::kInfo, Subsystem::kIke, "duplicate IKE SA deleted");
      worse->enqueue(std::make_unique<IkeDelete>(Down::kReplaced));
    }
  }
}

}  // namespace espalier::ike
