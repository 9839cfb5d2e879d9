// The engine's configuration, the connections of it, and the states of an earlier process.
#include "ike/sa/engine.hpp"
#include "ike/sa/state.hpp"

namespace espalier::ike {

void Engine::configure(Configuration configuration) {
  configuration_ = std::move(configuration);
  if (!cookies_) {
    if (auto jar = CookieJar::create(context.now)) cookies_.emplace(std::move(*jar));
  }
  std::set<std::string> kept;
  for (ConnectionConfig& each : configuration_.connections) {
    kept.insert(each.name);
    auto config = std::make_shared<const ConnectionConfig>(each);
    auto& connection = connections_[each.name];
    if (connection) {
      connection->reconfigure(std::move(config));
    } else {
      connection = std::make_unique<Connection>(*this, ++connection_numbers_, std::move(config));
      by_number_[connection->number()] = connection.get();
      connection->start();
    }
    touch(*connection);
  }
  remove_connections(kept);
  index_connections();
}

void Engine::remove_connections(const std::set<std::string>& kept) {
  for (auto at = connections_.begin(); at != connections_.end();) {
    if (kept.contains(at->first)) {
      ++at;
      continue;
    }
    at->second->stop();
    by_number_.erase(at->second->number());
    schedule(at->second->number() * 2 + 1, kNever);
    at = connections_.erase(at);
  }
}

Connection* Engine::connection(const std::string& name) {
  const auto found = connections_.find(name);
  return found == connections_.end() ? nullptr : found->second.get();
}

// In the configuration's order, which is the order among equals.
void Engine::index_connections() {
  by_reqid_.clear();
  by_remote_.clear();
  by_remote_id_.clear();
  of_any_id_.clear();
  suites_of_any_remote_.clear();
  size_t place = 0;
  for (const ConnectionConfig& config : configuration_.connections) {
    Connection* each = connection(config.name);
    bool any = false;
    ++place;
    for (const std::string& remote : config.remotes) {
      const auto address = literal_address(remote);
      address ? by_remote_[*address].push_back(each) : void(any = true);
    }
    if (any) {
      const auto id = exact_key(config.remote_id);
      (id ? by_remote_id_[*id] : of_any_id_).emplace_back(place, each);
    }
    const bool seen = std::ranges::any_of(suites_of_any_remote_, [&](const Connection* other) {
      return other->config()->suites == config.suites && other->config()->local == config.local &&
             other->config()->force_encapsulation == config.force_encapsulation &&
             (other->config()->trust || !config.trust);
    });
    if (any && !seen) suites_of_any_remote_.push_back(each);
    for (const ChildConfig& child : config.children) by_reqid_[child.reqid.value] = {each, child.name};
  }
}

// A host name may be any address here: who it is shows when it authenticates.
std::vector<Connection*> Engine::candidates(const IpAddress& local, const IpAddress& remote,
                                            const Identity& peer) {
  const auto id = exact_key(peer);
  const auto named = id ? by_remote_id_.find(*id) : by_remote_id_.end();
  Placed placed;
  std::ranges::merge(named == by_remote_id_.end() ? Placed() : named->second, of_any_id_,
                     std::back_inserter(placed));
  std::vector<Connection*> of_any_remote;
  for (const auto& [place, connection] : placed) of_any_remote.push_back(connection);
  return choose_candidates(local, remote, of_any_remote);
}

std::vector<Connection*> Engine::suite_candidates(const IpAddress& local, const IpAddress& remote) {
  return choose_candidates(local, remote, suites_of_any_remote_);
}

std::vector<Connection*> Engine::choose_candidates(const IpAddress& local, const IpAddress& remote,
                                                   const std::vector<Connection*>& of_any_remote) {
  std::vector<Connection*> found;
  const auto take = [&](const std::vector<Connection*>& from, bool any_local) {
    for (Connection* each : from) {
      const IpAddress& own = each->config()->local;
      const bool fits = any_local ? own.is_unspecified() : own == local;
      if (fits) found.push_back(each);
    }
  };
  const auto exact = by_remote_.find(remote);
  for (const bool any_local : {false, true})
    if (exact != by_remote_.end()) take(exact->second, any_local);
  for (const bool any_local : {false, true}) take(of_any_remote, any_local);
  return found;
}

// --- States of an earlier process ---

bool Engine::adopt_one(const SavedState& saved) {
  auto sa = load_state(*this, saved.state.view());
  if (!sa) {
    context.log(LogLevel::kError, Subsystem::kIke, "", "", "saved state {} forgotten: {}", saved.id,
                sa.error().text);
    return false;
  }
  if (find((*sa)->local_spi())) return false;
  (*sa)->facts.id = saved.id;
  const uint64_t spi = (*sa)->local_spi();
  IkeSa& added = *(sas_[spi] = std::move(*sa));
  spi_by_id_[saved.id] = spi;
  by_connection_[added.facts.connection].push_back(spi);
  ids_ = std::max(ids_, saved.id);
  added.window.resume(context);
  saved_.insert(saved.id);
  for (const auto& child : added.children) place(*child, added);
  added.watch_children();
  touch(added);
  return true;
}

void Engine::adopt(std::vector<SavedState> states) {
  std::set<uint64_t> used;
  for (const SavedState& saved : states) used.insert(saved.id);
  for (const SavedState& saved : states)
    if (!adopt_one(saved)) forgotten_.push_back(saved.id);
  for (uint64_t id = 1; id < ids_; ++id)
    if (!used.contains(id)) free_ids_.insert(id);
  for (const auto& [spi, sa] : sas_) {
    Connection& known = *connection(sa->facts.connection);  // load_state() made sure
    known.adopt_config(*sa);
    touch(known);
  }
}

}  // namespace espalier::ike
