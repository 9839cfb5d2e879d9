#include "control/config/lint.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace espalier::config {
namespace {

void add_tunnel(const Peer& peer, const Tunnel& tunnel, std::vector<Protected>& traffic) {
  Protected p;
  p.line = tunnel.line;
  p.name = fmt::format("{} tunnel {}", peer.name, tunnel.number);
  p.protocol = tunnel.protocol;
  if (tunnel.local.port) p.local_port = {*tunnel.local.port, *tunnel.local.port};
  if (tunnel.remote.port) p.remote_port = {*tunnel.remote.port, *tunnel.remote.port};
  for (const auto& remote : peer.remote_addresses)
    if (const auto address = parse_address(remote.value)) p.peers.push_back(*address);
  for (const auto& local : tunnel.local.prefixes)
    for (const auto& remote : tunnel.remote.prefixes) {
      if (local.value.address.family != remote.value.address.family) continue;
      p.local = local.value, p.remote = remote.value;
      traffic.push_back(p);
    }
}

Protected from_policy(const Policy& policy) {
  Protected p;
  p.line = policy.line;
  p.name = policy.name;
  p.local = policy.selector.source, p.remote = policy.selector.destination;
  p.protocol = policy.selector.protocol;
  p.local_port = policy.selector.source_port, p.remote_port = policy.selector.destination_port;
  p.mode = policy.templates.back().mode;  // the outermost
  if (policy.templates.back().destination.is_set()) p.peers = {policy.templates.back().destination};
  return p;
}

// What fits into ESP with AES-GCM inside of a packet of `outer` bytes: RFC 4303 section 2, IPv4, 16 bytes of
// ICV.
uint32_t esp_payload(uint32_t outer) {
  return ((outer - 20 - 8 - 8 - 16) & ~3u) - 2;
}

constexpr uint32_t kIpAndGre = 24;

// The largest packet that gets through a GRE tunnel; the tunnel's own header is inside of ESP where it is
// protected.
uint32_t gre_room(uint32_t path_mtu, const Protected* protection) {
  if (protection == nullptr) return path_mtu - kIpAndGre;
  if (protection->mode == Mode::kTunnel) return esp_payload(path_mtu) - kIpAndGre;
  return esp_payload(path_mtu) - (kIpAndGre - 20);
}

const Protected* find_protection(const Interface& gre, const std::vector<Protected>& traffic) {
  const auto found = std::find_if(traffic.begin(), traffic.end(), [&](const Protected& p) {
    return p.local.contains(gre.local_ip) && p.remote.contains(gre.remote_ip) &&
           (p.protocol == kProtoAny || p.protocol == kProtoGre);
  });
  return found == traffic.end() ? nullptr : &*found;
}

void check_mtu(const Interface& interface, uint32_t room, uint32_t path_mtu, Diagnostics& diagnostics) {
  if (interface.mtu <= room) return;
  diagnostics.warning(interface.line,
                      "interfaces.{}.mtu: {} is more than fits into a path MTU of {}: set mtu = {} or less",
                      interface.name, interface.mtu, path_mtu, room);
}

void check_vti_mtu(const Model& model, const Topology& topology, const Interface& interface,
                   Diagnostics& diagnostics) {
  uint32_t path_mtu = 1500;
  for (const Peer& peer : model.vpn.peers)
    if (peer.vti && peer.vti->bind.value == interface.name)
      path_mtu = topology.mtu_of(peer.local_address.value);
  check_mtu(interface, esp_payload(path_mtu), path_mtu, diagnostics);
}

bool holds_secrets(const Model& model) {
  const auto& peers = model.vpn.peers;
  return !model.states.empty() || std::any_of(model.vpn.psks.begin(), model.vpn.psks.end(), [](const Psk& p) {
    return !p.secret.empty();
  }) || std::any_of(peers.begin(), peers.end(), [](const Peer& p) {
    return !p.authentication.passphrase.empty();
  });
}

}  // namespace

std::vector<Protected> protected_traffic(const Model& model) {
  std::vector<Protected> traffic;
  for (const Policy& policy : model.policies)
    if (policy.direction == Direction::kOut && policy.action == PolicyAction::kProtect)
      traffic.push_back(from_policy(policy));
  for (const Peer& peer : model.vpn.peers)
    for (const Tunnel& tunnel : peer.tunnels)
      if (!peer.disable && !tunnel.disable) add_tunnel(peer, tunnel, traffic);
  return traffic;
}

void lint_selectors(const std::vector<Protected>& traffic, Diagnostics& diagnostics) {
  for (const Protected& p : traffic) {
    if (p.mode == Mode::kTransport) continue;  // its selector is the peers themselves
    for (const IpAddress& peer : p.peers)
      if (p.protocol == kProtoAny && !p.remote.is_host() && p.remote.contains(peer))
        diagnostics.warning(
            p.line,
            "{}: the remote prefix {} contains the peer's own address {}: narrow it, or add a bypass policy "
            "for that address",
            p.name, to_string(p.remote), to_string(peer));
    if (p.local.overlaps(p.remote))
      diagnostics.warning(
          p.line,
          "{}: local {} and remote {} overlap: hosts of the common part cannot reach each other; narrow one, "
          "or translate it with NAT",
          p.name, to_string(p.local), to_string(p.remote));
  }
}

void lint_tunnel_interfaces(const Model& model, const Topology& topology,
                            const std::vector<Protected>& traffic, Diagnostics& diagnostics) {
  for (const Interface& interface : model.interfaces) {
    if (interface.type == InterfaceType::kVti) check_vti_mtu(model, topology, interface, diagnostics);
    if (interface.type != InterfaceType::kGre) continue;
    const Protected* protection = find_protection(interface, traffic);
    if (protection == nullptr && interface.protect.value.empty())
      diagnostics.warning(interface.line,
                          "interfaces.{}: no policy protects GRE from {} to {}, so it leaves in clear: add a "
                          "tunnel or policy "
                          "with protocol \"gre\" between them",
                          interface.name, to_string(interface.local_ip), to_string(interface.remote_ip));
    const uint32_t path_mtu = topology.mtu_of(interface.local_ip);
    check_mtu(interface, gre_room(path_mtu, protection), path_mtu, diagnostics);
  }
}

void lint_secrets(const Model& model, std::optional<mode_t> mode, Diagnostics& diagnostics) {
  if (mode && (*mode & S_IROTH) != 0 && holds_secrets(model))
    diagnostics.warning(0, "holds secrets and is readable by others: chmod o-r {}, or use secret-file",
                        diagnostics.file());
  for (const Psk& psk : model.vpn.psks) {
    struct stat status {};
    if (psk.secret_file.value.empty()) continue;
    const std::string path = fmt::format("vpn.ipsec.authentication.psk.{}.secret-file", psk.name);
    if (stat(psk.secret_file.value.c_str(), &status) != 0)
      diagnostics.warning(psk.secret_file.line, "{}: there is no file {} that can be read here", path,
                          quoted(psk.secret_file.value));
    else if ((status.st_mode & S_IROTH) != 0)
      diagnostics.warning(psk.secret_file.line, "{}: {} is readable by others: take their permission away",
                          path, quoted(psk.secret_file.value));
  }
}

void lint(const Model& model, const Topology& topology, std::optional<mode_t> mode,
          Diagnostics& diagnostics) {
  const std::vector<Protected> traffic = protected_traffic(model);
  lint_source_nat(model, topology, traffic, diagnostics);
  lint_selectors(traffic, diagnostics);
  lint_tunnel_interfaces(model, topology, traffic, diagnostics);
  lint_xfrm(model, topology, diagnostics);
  lint_vpn(model, topology, diagnostics);
  if (mode) lint_secrets(model, mode, diagnostics);
}

}  // namespace espalier::config
