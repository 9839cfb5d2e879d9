#include "control/config/lint.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

namespace espalier::config {
namespace {

void add_tunnel(const Peer& peer, const Tunnel& tunnel, std::vector<Protected>& traffic) {
  Protected p;
  p.line = tunnel.line;
  p.name = fmt::format("{} tunnel {}", peer.name, tunnel.number);
  p.protocol = tunnel.protocol;
  if (tunnel.local.port) p.local_port = {*tunnel.local.port, *tunnel.local.port};
  if (tunnel.remote.port) p.remote_port = {*tunnel.remote.port, *tunnel.remote.port};
  p.own = peer.local_address.value;
  for (const auto& remote : peer.remote_addresses)
    if (const auto address = parse_address(remote.value)) p.peers.push_back(*address);
  for (const auto& local : tunnel.local.prefixes)
    for (const auto& remote : tunnel.remote.prefixes) {
      if (local.value.family() != remote.value.family()) continue;
      p.local = local.value, p.remote = remote.value;
      traffic.push_back(p);
    }
}

Protected from_policy(const Policy& policy) {
  Protected p;
  p.line = policy.line;
  p.name = policy.name;
  p.policy = &policy;
  p.local = policy.selector.source, p.remote = policy.selector.destination;
  p.protocol = policy.selector.protocol;
  p.local_port = policy.selector.source_port, p.remote_port = policy.selector.destination_port;
  const PolicyTemplate& outermost = policy.templates.back().record;
  p.mode = outermost.mode;
  p.own = outermost.source;
  if (!outermost.destination.is_unspecified()) p.peers = {outermost.destination};
  return p;
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
    if (policy.direction == Direction::kOut && policy.action == PolicyAction::kProtect &&
        policy.vti.value.empty())
      traffic.push_back(from_policy(policy));
  for (const Peer& peer : model.vpn.peers)
    for (const Tunnel& tunnel : peer.tunnels)
      if (!peer.disable && !tunnel.disable && !peer.vti) add_tunnel(peer, tunnel, traffic);
  return traffic;
}

void lint_secrets(const Model& model, std::optional<mode_t> mode, Diagnostics& diagnostics) {
  if (mode && (*mode & S_IROTH) != 0 && holds_secrets(model))
    diagnostics.warning(Lint::kSecretsReadable, 0,
                        "holds secrets and is readable by others: chmod o-r {}, or use secret-file",
                        diagnostics.file());
  // espalierd takes it relative to its configuration file, which this one is or will be.
  const auto folder = std::filesystem::path(diagnostics.file()).parent_path();
  for (const Psk& psk : model.vpn.psks) {
    struct stat status {};
    if (psk.secret_file.value.empty()) continue;
    const std::string path = fmt::format("vpn.ipsec.authentication.psk.{}.secret-file", psk.name);
    if (stat((folder / psk.secret_file.value).c_str(), &status) != 0)
      diagnostics.warning(Lint::kSecretFile, psk.secret_file.line,
                          "{}: there is no file {} that can be read here: make it, for root only", path,
                          config::quoted(psk.secret_file.value));
    else if ((status.st_mode & S_IROTH) != 0)
      diagnostics.warning(Lint::kSecretFile, psk.secret_file.line,
                          "{}: {} is readable by others: take their permission away", path,
                          config::quoted(psk.secret_file.value));
  }
}

void lint(const Model& model, const Topology& topology, std::optional<mode_t> mode,
          Diagnostics& diagnostics) {
  const std::vector<Protected> traffic = protected_traffic(model);
  lint_source_nat(model, topology, traffic, diagnostics);
  lint_nat_of_esp(model, topology, diagnostics);
  lint_destination_nat(model, diagnostics);
  lint_selectors(model, traffic, diagnostics);
  lint_tunnel_interfaces(model, topology, traffic, diagnostics);
  lint_vtis(model, topology, diagnostics);
  lint_states(model, topology, diagnostics);
  lint_policies(model, topology, diagnostics);
  lint_vpn(model, topology, diagnostics);
  if (mode) lint_secrets(model, mode, diagnostics);
}

}  // namespace espalier::config
