// Selectors that take what must not be encrypted: the peer itself, and hosts of the own network.
#include <algorithm>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

// The gateway's bypass policies, which let through in clear what a tunnel's selector would take.
class Bypasses {
 public:
  explicit Bypasses(const Model& model) {
    for (const Policy& policy : model.policies)
      if (policy.direction == Direction::kOut && policy.action == PolicyAction::kBypass &&
          policy.vti.value.empty())
        policies_.push_back(&policy);
  }
  // Whether one that is asked before the tunnel's lets some of `source` reach all of `destination`.
  bool cover(const Protected& tunnel, const IpPrefix& source, const IpPrefix& destination) const {
    return std::any_of(policies_.begin(), policies_.end(), [&](const Policy* bypass) {
      return comes_before(*bypass, tunnel) && bypass->selector.source.overlaps(source) &&
             contains(bypass->selector.destination, destination);
    });
  }

 private:
  static bool comes_before(const Policy& bypass, const Protected& tunnel) {
    if (tunnel.policy == nullptr) return true;  // IKE's policies are weaker than those of the file
    return bypass.priority < tunnel.policy->priority ||
           (bypass.priority == tunnel.policy->priority && &bypass < tunnel.policy);
  }
  std::vector<const Policy*> policies_;
};

// "Everything through the tunnel" is meant where only what is behind the gateway is taken.
bool is_meant_for_all(const Protected& p) {
  return network_of(p.remote) == IpPrefix::any(p.remote.family()) && !p.local.contains(p.own);
}

void check_peer(const Protected& p, const Bypasses& bypasses, Diagnostics& diagnostics) {
  if (p.protocol != kProtoAny || p.remote.is_host() || is_meant_for_all(p)) return;
  for (const IpAddress& peer : p.peers)
    if (p.remote.contains(peer) && !bypasses.cover(p, p.local, IpPrefix::host(peer)))
      diagnostics.warning(
          Lint::kSelectorContainsPeer, p.line,
          "{}: the remote prefix {} contains the peer's own address {}: narrow it, or add a bypass policy "
          "for that address",
          p.name, to_text(p.remote), to_text(peer));
}

void check_overlap(const Protected& p, const Bypasses& bypasses, Diagnostics& diagnostics) {
  const IpPrefix& common = p.local.length < p.remote.length ? p.remote : p.local;
  if (!p.local.overlaps(p.remote) || common.is_host() || bypasses.cover(p, common, common)) return;
  const bool all = network_of(common) == IpPrefix::any(common.family());
  const std::string among = all ? "the networks here" : to_text(common);
  diagnostics.warning(
      Lint::kSelectorOverlap, p.line,
      "{}: local {} and remote {} overlap: hosts of the common part cannot reach each other by this gateway; "
      "narrow one, translate it with NAT, or add a bypass policy from {} to {}",
      p.name, to_text(p.local), to_text(p.remote), among, among);
}

}  // namespace

void lint_selectors(const Model& model, const std::vector<Protected>& traffic, Diagnostics& diagnostics) {
  const Bypasses bypasses(model);
  for (const Protected& p : traffic) {
    if (p.mode == EspMode::kTransport) continue;  // its selector is the peers themselves
    check_peer(p, bypasses, diagnostics);
    check_overlap(p, bypasses, diagnostics);
  }
}

}  // namespace espalier::config
