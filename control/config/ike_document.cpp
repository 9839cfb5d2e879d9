#include "control/config/ike_document.hpp"

#include <algorithm>
#include <set>

#include "control/config/topology.hpp"

namespace espalier::config {
namespace {

constexpr uint32_t kFirstReqid = 0x8000'0000;

// FNV-1a, 32 bits: the same in every build.
uint32_t hash_of(std::string_view text) {
  uint32_t hash = 0x811c9dc5;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x01000193;
  return hash;
}

template <class Group>
const Group& group_named(const std::vector<Group>& groups, std::string_view name) {
  return *std::find_if(groups.begin(), groups.end(), [&](const Group& group) { return group.name == name; });
}

// Without `prf` the hash names it, with an AEAD too.
uint8_t prf_of(const Proposal& proposal) {
  if (proposal.prf != nullptr) return static_cast<uint8_t>(proposal.prf - kPrfs);
  return static_cast<uint8_t>(proposal.hash.value - kIntegrities);
}
static_assert(std::size(kPrfs) == std::size(kIntegrities));

uint16_t pfs_group_of(const EspGroup& esp, const IkeGroup& ike) {
  switch (esp.pfs) {
    case Pfs::kDisable:
      return 0;
    case Pfs::kGroup:
      return static_cast<uint16_t>(esp.pfs_group);
    case Pfs::kIkeGroup:
      return static_cast<uint16_t>(ike.proposals.front().dh_group);
  }
  return 0;
}

template <class T>
std::vector<T> values_of(const std::vector<Located<T>>& located) {
  std::vector<T> values;
  for (const auto& one : located) values.push_back(one.value);
  return values;
}

PortRange ports_of(std::optional<uint16_t> port) {
  return port ? PortRange{*port, *port} : PortRange{};
}

class IkeCompiler {
 public:
  explicit IkeCompiler(const Model& model) : model_(model), topology_(model) {
    for (const State& state : model.states) reqids_.insert(state.reqid);
    for (const Policy& policy : model.policies)
      for (const Template& one : policy.templates) reqids_.insert(one.record.reqid.value);
  }

  IkeDocument run() {
    const Vpn& vpn = model_.vpn;
    for (const Peer& peer : vpn.peers)
      if (!peer.disable) add_peer(peer);
    for (const Psk& psk : vpn.psks)
      document_.psks.push_back(
          {psk.name, values_of(psk.ids), Secret(psk.secret.text()), psk.secret_file.value});
    add_local_addresses();
    document_.log_level = vpn.log_level;
    document_.log_subsystems = vpn.log_subsystems;
    document_.short_lifetimes = vpn.short_lifetimes;
    return std::move(document_);
  }

 private:
  void add_local_addresses() {
    for (const auto& name : model_.vpn.interfaces)
      for (const auto& address : model_.interfaces[*topology_.interface(name.value)].addresses)
        document_.local_addresses.push_back(address.value.address);
  }

  void add_peer(const Peer& peer) {
    const IkeGroup& ike = group_named(model_.vpn.ike_groups, peer.ike_group.value);
    IkeConnection to;
    to.line = peer.line;
    to.name = peer.name;
    to.type = peer.connection_type;
    to.local = peer.local_address.value;
    to.remotes = values_of(peer.remote_addresses);
    to.force_encapsulation = peer.force_udp_encapsulation;
    add_authentication(peer.authentication, to);
    add_ike_group(ike, to);
    for (const Tunnel& tunnel : peer.tunnels)
      if (!tunnel.disable) add_tunnel(peer, tunnel, ike, to);
    if (peer.vti && peer.tunnels.empty()) add_vti(peer, *peer.vti, ike, to);
    if (!to.children.empty()) document_.connections.push_back(std::move(to));
  }

  static void add_authentication(const Authentication& from, IkeConnection& to) {
    to.mode = from.mode;
    to.local_id = from.local_id;
    to.remote_id = from.remote_id;
    to.use_x509_id = from.use_x509_id;
    to.certificate = from.certificate;
    to.private_key = from.mode == AuthenticationMode::kRsa ? from.rsa_local_key
                     : from.x509_key.empty()               ? from.certificate
                                                           : from.x509_key;
    to.remote_key = from.rsa_remote_key;
    to.authorities = from.ca_certificates;
    to.revocations = from.revocation_lists;
    to.passphrase = Secret(from.passphrase.text());
  }

  static void add_ike_group(const IkeGroup& from, IkeConnection& to) {
    for (const Proposal& proposal : from.proposals)
      to.suites.push_back(
          {algorithm_of(proposal), prf_of(proposal), static_cast<uint16_t>(proposal.dh_group)});
    to.lifetime_s = from.lifetime;
    to.close_action = from.close_action;
    if (!from.dpd) return;
    to.dpd_interval_s = from.dpd->interval;
    to.dpd_action = from.dpd->action;
  }

  void add_tunnel(const Peer& peer, const Tunnel& from, const IkeGroup& ike, IkeConnection& to) {
    IkeChild child = child_of(peer, from.esp_group, ike, fmt::format("tunnel-{}", from.number));
    child.local = values_of(from.local.prefixes);
    child.remote = values_of(from.remote.prefixes);
    child.protocol = from.protocol;
    child.local_ports = ports_of(from.local.port);
    child.remote_ports = ports_of(from.remote.port);
    child.priority = from.priority;
    if (peer.vti) child.vti = interface_of(*peer.vti);
    to.children.push_back(std::move(child));
  }

  void add_vti(const Peer& peer, const VtiBinding& from, const IkeGroup& ike, IkeConnection& to) {
    const std::vector<IpPrefix> everything{IpPrefix::any(Family::kIpv4), IpPrefix::any(Family::kIpv6)};
    IkeChild child = child_of(peer, from.esp_group, ike, "vti");
    child.vti = interface_of(from);
    child.local = from.local.empty() ? everything : values_of(from.local);
    child.remote = from.remote.empty() ? everything : values_of(from.remote);
    to.children.push_back(std::move(child));
  }

  InterfaceIndex interface_of(const VtiBinding& vti) const {
    return InterfaceIndex(static_cast<uint16_t>(*topology_.interface(vti.bind.value)));
  }

  IkeChild child_of(const Peer& peer, const Located<std::string>& own_group, const IkeGroup& ike,
                    std::string name) {
    const std::string& group = own_group.value.empty() ? peer.default_esp_group.value : own_group.value;
    const EspGroup& esp = group_named(model_.vpn.esp_groups, group);
    IkeChild child;
    child.reqid = reqid_of(peer.name, name);
    child.name = std::move(name);
    child.transport = esp.mode == EspMode::kTransport;
    for (const Proposal& proposal : esp.proposals)
      child.suites.push_back({algorithm_of(proposal), pfs_group_of(esp, ike)});
    child.lifetime_s = esp.lifetime;
    child.life_bytes = esp.life_bytes.value_or(0);
    child.life_packets = esp.life_packets.value_or(0);
    child.rekey = !esp.disable_rekey;
    child.replay_window = peer.replay_window;
    return child;
  }

  // Of two names with one hash the later takes the next number.
  Reqid reqid_of(std::string_view peer, std::string_view child) {
    uint32_t reqid = kFirstReqid | hash_of(fmt::format("{}/{}", peer, child));
    while (!reqids_.insert(reqid).second) reqid = kFirstReqid | (reqid + 1);
    return Reqid(reqid);
  }

  const Model& model_;
  const Topology topology_;
  std::set<uint32_t> reqids_;  // taken
  IkeDocument document_;
};

// kernel_netlink's formula, which `ip xfrm policy` shows of strongSwan's policies: 375423 of two /24.
uint32_t priority_of(const Selector& selector) {
  constexpr uint32_t kBase = 400'000;
  const auto port_bits = [](PortRange ports) { return ports.is_any() ? 0u : 16u; };
  const uint32_t prefix_bits = selector.source.written_length() + selector.destination.written_length();
  return kBase - 512 * prefix_bits - (selector.protocol != kProtoAny ? 256 : 0) -
         4 * (port_bits(selector.source_port) + port_bits(selector.destination_port)) - 1;
}

PolicyRecord policy_of(const IkeConnection& connection, const IkeChild& child, Direction direction,
                       const IpPrefix& local, const IpPrefix& remote) {
  const bool out = direction == Direction::kOut;
  PolicyRecord policy;
  policy.direction = direction;
  policy.action = PolicyAction::kProtect;
  policy.templates = 1;
  policy.selector.protocol = child.protocol;
  policy.selector.source = out ? local : remote;
  policy.selector.destination = out ? remote : local;
  policy.selector.source_port = out ? child.local_ports : child.remote_ports;
  policy.selector.destination_port = out ? child.remote_ports : child.local_ports;
  policy.priority = child.priority.value_or(priority_of(policy.selector));
  policy.vti = child.vti;
  policy.tmpl[0].reqid = child.reqid;
  policy.tmpl[0].mode = child.transport ? EspMode::kTransport : EspMode::kTunnel;
  const std::string name = fmt::format("{}-{}", connection.name, child.name);  // as VyOS lists them
  policy.name.assign(std::string_view(name).substr(0, sizeof policy.name.bytes));
  return policy;
}

}  // namespace

EspAlgorithm algorithm_of(const Proposal& proposal) {
  EspAlgorithm algorithm;
  algorithm.cipher = proposal.cipher->cipher;
  algorithm.key_bytes = proposal.cipher->key_bytes;
  algorithm.icv_bytes = proposal.cipher->icv_bytes;
  if (proposal.cipher->aead()) return algorithm;
  algorithm.integrity = proposal.hash.value->integrity;
  algorithm.icv_bytes = proposal.hash.value->icv_bytes;
  return algorithm;
}

IkeDocument compile_ike(const Model& model) {
  return IkeCompiler(model).run();
}

std::vector<PolicyRecord> policies_of(const IkeConnection& connection, const IkeChild& child) {
  std::vector<PolicyRecord> policies;
  for (const Direction direction : {Direction::kOut, Direction::kFwd, Direction::kIn}) {
    if (direction == Direction::kFwd && child.transport) continue;  // such packets end or begin here
    for (const IpPrefix& local : child.local)
      for (const IpPrefix& remote : child.remote)
        if (local.family() == remote.family())
          policies.push_back(policy_of(connection, child, direction, local, remote));
  }
  return policies;
}

}  // namespace espalier::config
