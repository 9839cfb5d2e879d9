// Weak or contradictory choices in vpn.ipsec.
#include <algorithm>
#include <map>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

template <class Group>
const Group* find_group(const std::vector<Group>& groups, std::string_view name) {
  const auto found =
      std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.name == name; });
  return found == groups.end() ? nullptr : &*found;
}

class VpnLint {
 public:
  VpnLint(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : vpn_(model.vpn), topology_(topology), diagnostics_(diagnostics) {
    for (const Psk& psk : vpn_.psks)
      for (const auto& id : psk.ids) psks_of_id_[id.value].push_back(&psk);
  }

  void run() {
    if (vpn_.short_lifetimes)
      diagnostics_.warning(Lint::kShortLifetimes, vpn_.short_lifetimes_line,
                           "vpn.ipsec.options.short-lifetimes: is for tests, keys change all the time: leave it out");
    for (const EspGroup& group : vpn_.esp_groups) check_esp_group(group);
    for (const IkeGroup& group : vpn_.ike_groups) check_ike_group(group);
    for (const Peer& peer : vpn_.peers)
      if (!peer.disable) check_peer(peer);
  }

 private:
  void check_dh_group(int line, const std::string& path, uint32_t number) {
    const DhGroup* group = find_dh_group(number);
    if (group != nullptr && group->weak)
      diagnostics_.warning(Lint::kWeakDhGroup, line,
                           "{}: Diffie-Hellman group {} is weak (RFC 8247): use 19, 20, 21 or 31", path,
                           number);
  }

  void check_hash(const Proposal& proposal, const std::string& path) {
    const Integrity* hash = proposal.hash.value;
    if (hash != nullptr && hash->weak)
      diagnostics_.warning(Lint::kWeakHash, proposal.hash.line, "{}: hash {} is weak: use sha256", path,
                           hash->name);
  }

  void check_esp_group(const EspGroup& group) {
    const std::string path = "vpn.ipsec.esp-group." + group.name;
    check_dh_group(group.pfs_line, path + ".pfs", group.pfs_group);
    for (const Proposal& proposal : group.proposals) {
      const std::string where = fmt::format("{}.proposal {}", path, proposal.number);
      check_hash(proposal, where);
      if (proposal.cipher->aead() && proposal.hash.value != nullptr)
        diagnostics_.warning(Lint::kAeadWithHash, proposal.hash.line,
                             "{}: {} authenticates by itself and needs no hash: leave it out", where,
                             proposal.cipher->name);
    }
  }

  void check_ike_group(const IkeGroup& group) {
    const std::string path = "vpn.ipsec.ike-group." + group.name;
    if (group.dpd && group.dpd->timeout < group.dpd->interval)
      diagnostics_.warning(Lint::kDpdTimeout, group.dpd->line,
                           "{}.dead-peer-detection: timeout {} is below interval {}: exchange them", path,
                           group.dpd->timeout, group.dpd->interval);
    for (const Proposal& proposal : group.proposals) {
      const std::string where = fmt::format("{}.proposal {}", path, proposal.number);
      check_dh_group(proposal.line, where, proposal.dh_group);
      check_hash(proposal, where);
      if (proposal.prf != nullptr && proposal.prf->weak)
        diagnostics_.warning(Lint::kWeakHash, proposal.line, "{}: {} is weak: use prfsha256", where,
                             proposal.prf->name);
      // Without prf the hash names it, as VyOS writes it.
      if (proposal.cipher->aead() && proposal.hash.value != nullptr && proposal.prf != nullptr)
        diagnostics_.warning(Lint::kAeadWithHash, proposal.hash.line,
                             "{}: {} authenticates by itself, and prf names the PRF: leave hash out", where,
                             proposal.cipher->name);
    }
  }

  void check_peer(const Peer& peer) {
    const std::string path = "vpn.ipsec.site-to-site.peer." + peer.name;
    const IkeGroup* ike = find_group(vpn_.ike_groups, peer.ike_group.value);
    if (!peer.local_address.value.is_unspecified() && !topology_.is_own(peer.local_address.value))
      diagnostics_.warning(
          Lint::kLocalAddress, peer.local_address.line,
          "{}.local-address: {} is no address of this gateway: give it to an interface, or use \"any\"", path,
          to_text(peer.local_address.value));
    check_initiation(peer, *ike, path);
    check_lifetimes(peer, *ike, path);
    if (peer.authentication.mode == AuthenticationMode::kPreSharedSecret) check_psk(peer, path);
  }

  static bool can_initiate(const Peer& peer) {
    return std::any_of(peer.remote_addresses.begin(), peer.remote_addresses.end(),
                       [](const auto& remote) { return remote.value != "any"; });
  }

  // An end that starts anew what the other closes must be the only one that does. That one which initiates
  // also restarts a dead tunnel is usual; the other end's file tells whether both do.
  void check_initiation(const Peer& peer, const IkeGroup& ike, const std::string& path) {
    const bool starts = ike.close_action == CloseAction::kStart;
    const bool restarts = ike.dpd && ike.dpd->action == DpdAction::kRestart;
    const std::string_view how = starts ? "close-action \"start\"" : "dead-peer-detection \"restart\"";
    if (peer.connection_type == ConnectionType::kInitiate && starts)
      diagnostics_.warning(
          Lint::kBothInitiate, peer.connection_type_line,
          "{}.connection-type: initiates again by itself ({} of ike-group {}): if the peer does so too, both "
          "build tunnels; let one of them only respond, with close-action \"none\"",
          path, how, ike.name);
    else if (peer.connection_type == ConnectionType::kRespond && can_initiate(peer) && (starts || restarts))
      diagnostics_.warning(
          Lint::kBothInitiate, peer.connection_type_line != 0 ? peer.connection_type_line : peer.line,
          "{}.connection-type: only responds, and yet initiates by {} of ike-group {}, as the peer does too, "
          "so "
          "both build tunnels: use an ike-group with close-action \"none\" and dead-peer-detection \"clear\"",
          path, how, ike.name);
  }

  void check_lifetimes(const Peer& peer, const IkeGroup& ike, const std::string& path) {
    std::vector<std::string> names;
    for (const Tunnel& tunnel : peer.tunnels) names.push_back(tunnel.esp_group.value);
    if (peer.vti) names.push_back(peer.vti->esp_group.value);
    for (std::string& name : names)
      if (name.empty()) name = peer.default_esp_group.value;
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    for (const std::string& name : names) {
      const EspGroup* esp = find_group(vpn_.esp_groups, name);
      if (ike.lifetime == 0 || esp->lifetime <= ike.lifetime) continue;
      diagnostics_.warning(
          Lint::kLifetimeOrder, peer.line,
          "{}: esp-group {} lives {} s, longer than the {} s of ike-group {}: make it shorter", path,
          esp->name, esp->lifetime, ike.lifetime, ike.name);
    }
  }

  // RFC 7296 section 2.15 leaves the choice to the ids: best is the key that names both.
  void check_psk(const Peer& peer, const std::string& path) {
    const std::string local =
        peer.authentication.local_id.empty() && !peer.local_address.value.is_unspecified()
            ? to_text(peer.local_address.value)
            : peer.authentication.local_id;
    const std::string remote = peer.authentication.remote_id.empty() && !peer.remote_addresses.empty()
                                   ? peer.remote_addresses[0].value
                                   : peer.authentication.remote_id;
    if (remote == "any") return;  // whoever comes says who it is
    const std::vector<const Psk*> best = best_psks(local, remote);
    if (best.empty())
      diagnostics_.warning(Lint::kPskMissing, peer.authentication.line,
                           "{}.authentication: no psk has the id {}: add it to one", path, quoted(remote));
    if (best.size() > 1)
      diagnostics_.warning(
          Lint::kPskAmbiguous, peer.authentication.line,
          "{}.authentication: psk {} (line {}) and {} (line {}) fit its ids equally: make them differ", path,
          best[0]->name, best[0]->line, best[1]->name, best[1]->line);
  }

  std::vector<const Psk*> best_psks(const std::string& local, const std::string& remote) const {
    std::map<const Psk*, int> scores;
    for (const auto& [id, score] : {std::pair<std::string_view, int>{remote, 4}, {local, 2}, {"%any", 1}}) {
      const auto found = psks_of_id_.find(id);
      if (found == psks_of_id_.end()) continue;
      for (const Psk* psk : found->second) scores[psk] |= score;
    }
    std::vector<const Psk*> best;
    int most = 1;
    for (const Psk& psk : vpn_.psks) {
      const auto found = scores.find(&psk);
      // The local id alone says nothing about this peer.
      if (found == scores.end() || found->second == 2 || found->second < most) continue;
      if (found->second > most) best.clear();
      most = found->second;
      best.push_back(&psk);
    }
    return best;
  }

  const Vpn& vpn_;
  const Topology& topology_;
  Diagnostics& diagnostics_;
  std::map<std::string_view, std::vector<const Psk*>> psks_of_id_;
};

}  // namespace

void lint_vpn(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  VpnLint(model, topology, diagnostics).run();
}

}  // namespace espalier::config
