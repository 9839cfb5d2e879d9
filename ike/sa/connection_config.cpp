// A connection meets another configuration; and how it is reported.
#include <arpa/inet.h>

#include "control/shared/text.hpp"
#include "ike/sa/authentication.hpp"
#include "ike/sa/child_negotiation.hpp"
#include "ike/sa/engine.hpp"
#include "ike/sa/tasks/ike_delete.hpp"

namespace espalier::ike {
namespace {

bool same_side(const SelectorSide& a, const SelectorSide& b) {
  return a.prefixes == b.prefixes && a.protocol == b.protocol && a.ports == b.ports;
}

bool same_credential(const LocalCredential* a, const LocalCredential* b) {
  if (!a || !b) return a == b;
  const auto same_der = [](const auto& x, const auto& y) { return x.to_der() == y.to_der(); };
  if (a->key.has_value() != b->key.has_value()) return false;
  if (a->key && a->key->public_key().to_der() != b->key->public_key().to_der()) return false;
  return std::ranges::equal(a->chain, b->chain, same_der);
}

bool same_trust(const crypto::TrustStore* a, const crypto::TrustStore* b) {
  if (!a || !b) return a == b;
  return std::ranges::equal(a->authorities(), b->authorities(),
                            [](const auto& x, const auto& y) { return x.to_der() == y.to_der(); });
}

bool same_key(const std::optional<crypto::PublicKey>& a, const std::optional<crypto::PublicKey>& b) {
  return a.has_value() == b.has_value() && (!a || a->to_der() == b->to_der());
}

// What was agreed on, with a configuration that it was perhaps not made by: the one of an earlier process.
bool still_fits(const ChildSa& child, const ChildConfig& config) {
  const auto in = [](const std::vector<TrafficSelector>& agreed, const SelectorSide& side) {
    return side.prefixes.empty() || within(agreed, to_wire(side));
  };
  const bool has_suite = std::ranges::any_of(
      config.suites, [&](const EspSuite& suite) { return suite.algorithm == child.suite.algorithm; });
  return has_suite && child.transport == config.transport && in(child.local, config.local) &&
         in(child.remote, config.remote);
}

const char* name_of(ConnectionType type) {
  switch (type) {
    case ConnectionType::kInitiate:
      return "initiate";
    case ConnectionType::kRespond:
      return "respond";
    case ConnectionType::kNone:
      break;
  }
  return "none";
}

}  // namespace

std::optional<IpAddress> literal_address(const std::string& text) {
  uint32_t v4 = 0;
  if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) return Ipv4Address{be32::from_raw(v4)};
  IpAddress v6;
  if (::inet_pton(AF_INET6, text.c_str(), &v6) == 1) return v6;
  return {};
}

// Secrets and revocation lists are looked at when somebody authenticates; they change nothing of an SA that
// is up.
bool is_same_peer(const ConnectionConfig& a, const ConnectionConfig& b) {
  const auto plain = [](const ConnectionConfig& c) {
    return std::tie(c.type, c.local, c.remotes, c.auth, c.local_id, c.remote_id, c.remote_id_is_address,
                    c.suites, c.lifetime, c.dpd_interval, c.dpd_action, c.close_action, c.force_encapsulation,
                    c.fragment_bytes);
  };
  return plain(a) == plain(b) && same_credential(a.credential.get(), b.credential.get()) &&
         same_key(a.remote_key, b.remote_key) && same_trust(a.trust.get(), b.trust.get());
}

// The interface's index may be counted anew by any change of the configuration.
bool is_same_child(const ChildConfig& a, const ChildConfig& b) {
  const auto plain = [](const ChildConfig& c) {
    return std::tie(c.name, c.transport, c.suites, c.reqid, c.lifetime, c.life_bytes, c.life_packets, c.rekey,
                    c.replay_window);
  };
  const bool both_or_no_vti = (a.vti == kNoInterface) == (b.vti == kNoInterface);
  return plain(a) == plain(b) && same_side(a.local, b.local) && same_side(a.remote, b.remote) &&
         both_or_no_vti;
}

bool operator==(const ChildConfig& a, const ChildConfig& b) {
  return is_same_child(a, b) && a.vti == b.vti;
}

void Connection::reconfigure(std::shared_ptr<const ConnectionConfig> config) {
  const auto before = std::exchange(config_, std::move(config));
  std::map<std::string, Wanted> wanted;
  for (const ChildConfig& child : config_->children) wanted[child.name] = wanted_[child.name];
  wanted_ = std::move(wanted);
  ways_.clear();
  remote_ = 0;
  resolving_until_ = kNever;
  if (is_same_peer(*before, *config_)) return update_children(*before);
  for (auto& [child, wish] : wanted_) wish = {};  // start() says what is wanted now
  for (IkeSa* sa : engine_.sas_of(config_->name))
    sa->is_up() ? sa->enqueue(std::make_unique<IkeDelete>(Down::kReplaced)) : sa->close(Down::kReplaced);
  tries_ = 0;
  retry_at_ = engine_.context.now;
  start();
}

// Children that stayed equal live on; the others are closed, and begun again where that is wanted.
void Connection::update_children(const ConnectionConfig& before) {
  for (IkeSa* sa : engine_.sas_of(config_->name)) adopt_config(*sa);
  if (config_->type != ConnectionType::kInitiate) return;
  for (const ChildConfig& child : config_->children) {
    const auto old = std::ranges::find(before.children, child.name, &ChildConfig::name);
    if (old == before.children.end() || !is_same_child(*old, child)) want(child.name, Goal::kAlways);
  }
}

void Connection::adopt_config(IkeSa& sa) {
  sa.config = config_;
  engine_.touch(sa);
  for (const auto& child : sa.children) {
    const auto now = child_config(config_, child->config->name);
    if (now && is_same_child(*now, *child->config) && still_fits(*child, *now)) {
      child->config = now;
      continue;
    }
    if (child->is_live()) sa.retire(*child, Down::kReplaced);
    child->rekey_at = kNever;
  }
}

std::string Connection::why_down(const std::string& child) const {
  const Wanted& wanted = wanted_.at(child);
  if (stopped_) return "shutting down";
  if (wanted.goal != Goal::kNone) {
    if (resolving_until_ != kNever) return "resolving the peer's name";
    if (is_connecting()) return fmt::format("connecting, try {}", tries_ + 1);
    return fmt::format("waits for try {}", std::max(tries_, wanted.tries) + 1);
  }
  if (config_->type == ConnectionType::kNone && !wanted.trapped) return "not started";
  return has_remote() ? "waits for traffic or the peer" : "waits for the peer";
}

void Connection::report(std::vector<ConnectionReport>& reports) const {
  const IkeSa* sa = usable();
  for (const ChildConfig& child : config_->children) {
    ConnectionReport& line = reports.emplace_back();
    line.connection = config_->name;
    line.child = child.name;
    line.type = name_of(config_->type);
    line.up = is_up(child.name);
    if (!line.up) line.why_down = why_down(child.name);
    line.last_failure = last_failure_;
    if (!last_failure_.empty())
      line.last_failure_ago = std::chrono::duration_cast<seconds>(engine_.context.now - last_failure_at_);
    line.local_address = sa                                ? to_text(sa->facts.local.address)
                         : config_->local.is_unspecified() ? "any"
                                                           : to_text(config_->local);
    line.remote_address =
        sa ? to_text(sa->facts.remote.address) : fmt::format("{}", fmt::join(config_->remotes, ","));
    const IpAddress local = sa ? sa->facts.local.address : config_->local;
    line.local_id = sa                  ? to_text(sa->facts.local_id)
                    : config_->local_id ? to_text(*config_->local_id)
                                        : line.local_address;
    line.remote_id = sa                   ? to_text(sa->facts.remote_id)
                     : config_->remote_id ? to_text(*config_->remote_id)
                                          : "%any";
    line.local_selectors = to_text(selectors_of(child.local, local));
    line.remote_selectors = to_text(selectors_of(child.remote, sa ? sa->facts.remote.address : IpAddress()));
  }
}

}  // namespace espalier::ike
