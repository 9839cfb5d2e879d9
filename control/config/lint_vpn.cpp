// Weak or contradictory choices in vpn.ipsec.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "control/config/lint.hpp"
#include "control/config/validate.hpp"

namespace espalier::config {
namespace {

template <class Group>
const Group* find_group(const std::vector<Group>& groups, std::string_view name) {
  const auto found =
      std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.name == name; });
  return found == groups.end() ? nullptr : &*found;
}

// An id in one spelling, as IKE compares it (ike/identity.cpp): addresses by value, names without case.
std::string id_key(std::string_view id) {
  std::string key(id);
  std::transform(key.begin(), key.end(), key.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
  if (const auto address = parse_address(id)) return to_text(*address);
  if (id.starts_with("@@")) return key.substr(2);
  if (id.starts_with('@') && !id.starts_with("@#") && !parse_address(id.substr(1))) return key.substr(1);
  return key;
}

// "*.example.org", "*@example.org"
bool is_wildcard_of(std::string_view pattern, std::string_view id) {
  const bool wildcard = pattern.starts_with("*.") || pattern.starts_with("*@");
  return wildcard && id.size() >= pattern.size() && id.ends_with(pattern.substr(1));
}

// A pair of prefixes that a peer's tunnel is for.
struct Pair {
  const Peer& peer;
  const Tunnel& tunnel;
  IpPrefix local, remote;

  uint32_t priority() const { return tunnel.priority.value_or(UINT32_MAX); }  // 1 to 100 come before ours
  auto key() const {
    return std::tuple(peer.vti ? std::string_view(peer.vti->bind.value) : std::string_view(), order_of(local),
                      order_of(remote), tunnel.protocol, tunnel.local.port.value_or(0),
                      tunnel.remote.port.value_or(0));
  }
};

std::vector<Pair> pairs_of(const Vpn& vpn) {
  std::vector<Pair> pairs;
  for (const Peer& peer : vpn.peers)
    for (const Tunnel& tunnel : peer.tunnels) {
      if (peer.disable || tunnel.disable) continue;
      for (const auto& local : tunnel.local.prefixes)
        for (const auto& remote : tunnel.remote.prefixes)
          if (local.value.family() == remote.value.family())
            pairs.push_back({peer, tunnel, local.value, remote.value});
    }
  return pairs;
}

class VpnLint {
 public:
  VpnLint(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : vpn_(model.vpn), topology_(topology), diagnostics_(diagnostics) {
    for (const Psk& psk : vpn_.psks)
      for (const auto& id : psk.ids) {
        const std::string key = id_key(id.value);
        psks_of_id_[key].push_back(&psk);
        if (key.starts_with('*')) wildcards_.emplace_back(key, &psk);
      }
    for (const auto& name : vpn_.interfaces)
      for (const auto& address : model.interfaces[*topology.interface(name.value)].addresses)
        heard_.insert(address.value.address);
  }

  void run() {
    if (vpn_.short_lifetimes)
      diagnostics_.warning(
          Lint::kShortLifetimes, vpn_.short_lifetimes_line,
          "vpn.ipsec.options.short-lifetimes: is for tests, keys change all the time: leave it out");
    for (const EspGroup& group : vpn_.esp_groups) check_esp_group(group);
    for (const IkeGroup& group : vpn_.ike_groups) check_ike_group(group);
    for (const Peer& peer : vpn_.peers)
      if (!peer.disable) check_peer(peer);
    check_pairs();
  }

 private:
  // The policies of all tunnels are always there, whether or not they have SAs: the first decides.
  void check_pairs() {
    const std::vector<Pair> pairs = pairs_of(vpn_);
    std::set<const Tunnel*> told;
    for_each_duplicate(
        pairs, [](const Pair& pair) { return pair.key(); },
        [&](const Pair& first, const Pair& second) {
          const bool earlier_wins = first.priority() <= second.priority();
          const Pair& used = earlier_wins ? first : second;
          const Pair& unused = earlier_wins ? second : first;
          if (&used.tunnel == &unused.tunnel || !told.insert(&unused.tunnel).second) return;
          diagnostics_.warning(Lint::kPolicyNeverUsed, unused.tunnel.line,
                               "vpn.ipsec.site-to-site.peer.{}.tunnel {}: {} -> {} is never used, because "
                               "tunnel {} of peer {} "
                               "(line {}) has the same selector, also while that is down: remove one, or for "
                               "a second way bind "
                               "both peers to VTIs",
                               unused.peer.name, unused.tunnel.number, to_text(unused.local),
                               to_text(unused.remote), used.tunnel.number, used.peer.name, used.tunnel.line);
        });
  }

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
    check_local_address(peer, path);
    check_initiation(peer, *ike, path);
    check_lifetimes(peer, *ike, path);
    if (peer.authentication.mode == AuthenticationMode::kPreSharedSecret) check_psk(peer, path);
  }

  void check_local_address(const Peer& peer, const std::string& path) {
    const IpAddress& local = peer.local_address.value;
    if (local.is_unspecified()) return;
    if (!topology_.is_own(local))
      diagnostics_.warning(
          Lint::kLocalAddress, peer.local_address.line,
          "{}.local-address: {} is no address of this gateway: give it to an interface, or use \"any\"", path,
          to_text(local));
    else if (!vpn_.interfaces.empty() && !heard_.contains(local))
      diagnostics_.warning(Lint::kLocalAddress, peer.local_address.line,
                           "{}.local-address: IKE does not use {}, which is on none of vpn.ipsec.interface: "
                           "name its interface there",
                           path, to_text(local));
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
    if (peer.vti && peer.tunnels.empty()) names.push_back(peer.vti->esp_group.value);
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

  // Who the peer may say that it is; none where only it knows: of any, and of a host name.
  static std::vector<std::string> remote_ids(const Peer& peer) {
    const std::string& configured = peer.authentication.remote_id;
    if (configured == "%any") return {};
    if (!configured.empty()) return {configured};
    std::vector<std::string> ids;
    for (const auto& remote : peer.remote_addresses)
      if (parse_address(remote.value)) ids.push_back(remote.value);
    return ids;
  }

  // RFC 7296 section 2.15 leaves the choice to the ids: best is the key that names both.
  void check_psk(const Peer& peer, const std::string& path) {
    const std::string local =
        peer.authentication.local_id.empty() && !peer.local_address.value.is_unspecified()
            ? to_text(peer.local_address.value)
            : peer.authentication.local_id;
    for (const std::string& remote : remote_ids(peer)) {
      const std::vector<const Psk*> best = best_psks(id_key(local), id_key(remote));
      if (best.size() == 1) continue;
      if (best.empty())
        diagnostics_.warning(Lint::kPskMissing, peer.authentication.line,
                             "{}.authentication: no psk has the id {}: add it to one", path, quoted(remote));
      else
        diagnostics_.warning(
            Lint::kPskAmbiguous, peer.authentication.line,
            "{}.authentication: psk {} (line {}) and {} (line {}) fit its ids equally: make them differ",
            path, best[0]->name, best[0]->line, best[1]->name, best[1]->line);
      return;
    }
  }

  // As PreSharedKeys::find() of ike/pre_shared_keys.cpp ranks them.
  std::vector<const Psk*> best_psks(const std::string& local, const std::string& remote) const {
    constexpr int kRemote = 8, kWildcard = 4, kLocal = 2, kAny = 1;
    std::map<const Psk*, int> scores;
    for (const auto& [id, score] :
         {std::pair<std::string_view, int>{remote, kRemote}, {local, kLocal}, {"%any", kAny}}) {
      const auto found = psks_of_id_.find(id);
      if (found == psks_of_id_.end()) continue;
      for (const Psk* psk : found->second) scores[psk] |= score;
    }
    for (const auto& [pattern, psk] : wildcards_)
      if (is_wildcard_of(pattern, remote)) scores[psk] |= kWildcard;
    std::vector<const Psk*> best;
    int most = 1;
    for (const Psk& psk : vpn_.psks) {
      const auto found = scores.find(&psk);
      // The local id says something about this peer only where the key names nobody else.
      if (found == scores.end() || found->second < most || (found->second == kLocal && psk.ids.size() > 1))
        continue;
      if (found->second > most) best.clear();
      most = found->second;
      best.push_back(&psk);
    }
    return best;
  }

  const Vpn& vpn_;
  const Topology& topology_;
  Diagnostics& diagnostics_;
  std::map<std::string, std::vector<const Psk*>, std::less<>> psks_of_id_;  // by id_key()
  std::vector<std::pair<std::string, const Psk*>> wildcards_;
  std::set<IpAddress> heard_;  // those of vpn.ipsec.interface
};

}  // namespace

void lint_vpn(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  VpnLint(model, topology, diagnostics).run();
}

}  // namespace espalier::config
