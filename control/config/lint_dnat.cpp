// Inbound policies are asked with a packet's addresses before destination NAT, as in Linux
// (nf_nat_decode_session): one that is written for the translated address lets nothing in.
#include <algorithm>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

bool meets(const AddressRange& range, const IpPrefix& prefix) {
  const AddressRange other = AddressRange::of(prefix);
  return range.low <= other.high && other.low <= range.high;
}

// Networks behind the gateway that inbound policies let decrypted packets reach.
std::vector<IpPrefix> reachable(const Model& model) {
  std::vector<IpPrefix> networks;
  for (const Policy& policy : model.policies)
    if (policy.direction != Direction::kOut && policy.action == PolicyAction::kProtect &&
        policy.vti.value.empty())
      networks.push_back(policy.selector.destination);
  for (const Peer& peer : model.vpn.peers) {
    if (peer.vti) continue;
    for (const Tunnel& tunnel : peer.tunnels)
      for (const auto& local : tunnel.local.prefixes) networks.push_back(local.value);
  }
  return networks;
}

}  // namespace

void lint_destination_nat(const Model& model, Diagnostics& diagnostics) {
  const std::vector<IpPrefix> networks = reachable(model);
  const auto is_reachable = [&](const AddressRange& range) {
    return std::any_of(networks.begin(), networks.end(), [&](const IpPrefix& n) { return meets(range, n); });
  };
  for (const NatRule& rule : model.nat.destination) {
    const AddressRange& before = rule.destination.address;
    // Only a rule that says so is for decrypted packets: others may be for what comes in clear.
    if (rule.disable || rule.ipsec != IpsecMatch::kIpsec || rule.action == NatTranslation::kExclude ||
        before.negate)
      continue;
    if (is_reachable(before) || !is_reachable(rule.translation)) continue;
    diagnostics.warning(
        Lint::kDnatPolicyAddress, rule.line,
        "{}: no fwd policy is for {}, and policies are asked before the address becomes {}, so decrypted "
        "packets are dropped: write the policy for {}",
        path_of(rule), to_text(before), to_text(rule.translation), to_text(before));
  }
}

}  // namespace espalier::config
