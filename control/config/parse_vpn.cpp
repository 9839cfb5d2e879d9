// vpn.ipsec: groups, pre-shared keys, site-to-site peers, in VyOS's vocabulary.
#include <algorithm>
#include <limits>

#include "control/config/parse.hpp"

namespace espalier::config {
namespace {

constexpr int64_t kMaxLife = 26843545600000;  // VyOS's bound of life-bytes and life-packets

Result<uint32_t> parse_dh_group(std::string_view text) {
  uint32_t number = 0;
  if (!parse_decimal(text, 255, number) || find_dh_group(number) == nullptr)
    return fail("is not a Diffie-Hellman group that is supported: use 19, 20, 21, 31 or 14 to 18");
  return number;
}

const Prf* read_prf(Reader& reader) {
  const auto prf = reader.parsed("prf", [](std::string_view name) -> Result<const Prf*> {
    if (const Prf* found = find_prf(name)) return found;
    return fail("is not supported: use prfsha256, prfsha384 or prfsha512");
  });
  return prf.value_or(nullptr);
}

// What both kinds of group have in common; `finish(Reader&, Proposal&)` reads the rest.
template <class Finish>
std::vector<Proposal> read_proposals(Reader& group, Finish finish) {
  std::vector<Proposal> proposals;
  const std::string path = group.path();
  group.groups("proposal", [&](Reader& reader) {
    Proposal proposal;
    proposal.line = reader.line();
    const auto number = reader.required_integer("number", 1, 65535);
    if (!number) return;
    proposal.number = static_cast<uint32_t>(*number);
    reader.set_path(fmt::format("{}.proposal {}", path, proposal.number));
    proposal.cipher = read_cipher(reader);
    proposal.hash = read_hash(reader);
    finish(reader, proposal);
    for (const Proposal& other : proposals)
      if (other.number == proposal.number) reader.error("number", "stands twice");
    proposals.push_back(proposal);
  });
  group.require("proposal");
  if (proposals.size() > 64) group.error("proposal", "more than 64 proposals do not fit IKE's messages");
  std::stable_sort(proposals.begin(), proposals.end(),
                   [](const Proposal& a, const Proposal& b) { return a.number < b.number; });
  return proposals;
}

void read_pfs(Reader& reader, EspGroup& group) {
  constexpr std::string_view kGroup = "dh-group";
  group.pfs_line = reader.line_of("pfs");
  reader.parsed("pfs", [&](std::string_view text) -> Result<bool> {
    group.pfs = text == "disable" ? Pfs::kDisable : Pfs::kIkeGroup;
    if (text == "enable" || text == "disable") return true;
    if (!text.starts_with(kGroup)) return fail("is not one of: enable, disable, dh-group19 ...");
    group.pfs = Pfs::kGroup;
    group.pfs_group = TRY(parse_dh_group(text.substr(kGroup.size())));
    return true;
  });
}

void read_esp_group(std::string name, Reader& reader, Vpn& vpn) {
  EspGroup group;
  group.line = reader.line();
  group.name = std::move(name);
  group.lifetime = static_cast<uint32_t>(reader.integer("lifetime", 1, 86400, 3600));
  group.life_bytes = reader.optional_integer("life-bytes", 1024, kMaxLife);
  group.life_packets = reader.optional_integer("life-packets", 1000, kMaxLife);
  group.mode = reader.choice("mode", kModeWords, EspMode::kTunnel);
  group.disable_rekey = reader.flag("disable-rekey");
  reader.reject("compression", "IPComp does not pay beside AES-GCM");
  read_pfs(reader, group);
  group.proposals = read_proposals(reader, [](Reader& proposal, Proposal& p) {
    if (p.cipher != nullptr && !p.cipher->aead()) proposal.require("hash");
  });
  vpn.esp_groups.push_back(std::move(group));
}

void read_ike_proposal(Reader& reader, Proposal& proposal) {
  proposal.prf = read_prf(reader);
  if (reader.require("dh-group")) proposal.dh_group = reader.parsed("dh-group", parse_dh_group).value_or(0);
  if (proposal.cipher == nullptr) return;
  if (!proposal.cipher->aead()) reader.require("hash");
  // RFC 5282 section 8: an AEAD has no hash whose PRF could be taken.
  else if (!reader.has("prf") && !reader.has("hash"))
    reader.group_error("needs \"prf\" with {}", proposal.cipher->name);
}

std::optional<DeadPeerDetection> read_dpd(Reader& group) {
  std::optional<DeadPeerDetection> dpd;
  group.group("dead-peer-detection", [&](Reader& reader) {
    dpd.emplace();
    dpd->line = reader.line();
    dpd->action = reader.choice("action", kDpdActionWords, DpdAction::kClear);
    dpd->interval = static_cast<uint32_t>(reader.integer("interval", 2, 86400, 30));
    dpd->timeout = static_cast<uint32_t>(reader.integer("timeout", 2, 86400, 120));
  });
  return dpd;
}

void read_ike_group(std::string name, Reader& reader, Vpn& vpn) {
  IkeGroup group;
  group.line = reader.line();
  group.name = std::move(name);
  if (reader.has("key-exchange") && reader.string("key-exchange") != "ikev2")
    reader.error("key-exchange", "only \"ikev2\" is supported: IKEv1 is obsolete (RFC 9395)");
  reader.reject("mode", "main and aggressive mode belong to IKEv1");
  group.lifetime = static_cast<uint32_t>(reader.integer("lifetime", 0, 86400, 28800));
  group.close_action = reader.choice("close-action", kCloseActionWords, CloseAction::kNone);
  group.disable_mobike = reader.flag("disable-mobike");
  group.reauth = reader.flag("ikev2-reauth");
  group.dpd = read_dpd(reader);
  group.proposals = read_proposals(reader, read_ike_proposal);
  vpn.ike_groups.push_back(std::move(group));
}

void read_psk(std::string name, Reader& reader, Vpn& vpn) {
  Psk psk;
  psk.line = reader.line();
  psk.name = std::move(name);
  reader.require("id");
  psk.ids = reader.strings("id");
  psk.secret = reader.secret("secret");
  psk.secret_file = reader.located_string("secret-file");
  reader.reject("dhcp-interface", "name the address in \"id\"");
  if (reader.has("secret") == reader.has("secret-file"))
    reader.group_error("needs either secret or secret-file");
  vpn.psks.push_back(std::move(psk));
}

void read_x509(Reader& authentication, Authentication& result) {
  authentication.group("x509", [&](Reader& reader) {
    for (const char* key : {"certificate", "ca-certificate"}) reader.require(key);
    result.certificate = reader.string("certificate");
    result.x509_key = reader.string("key");
    for (auto& ca : reader.strings("ca-certificate")) result.ca_certificates.push_back(std::move(ca.value));
    for (auto& crl : reader.strings("crl")) result.revocation_lists.push_back(std::move(crl.value));
    result.passphrase = reader.secret("passphrase");
  });
  authentication.group("rsa", [&](Reader& reader) {
    for (const char* key : {"local-key", "remote-key"}) reader.require(key);
    result.rsa_local_key = reader.string("local-key");
    result.rsa_remote_key = reader.string("remote-key");
    result.passphrase = reader.secret("passphrase");
  });
}

Authentication read_authentication(Reader& peer) {
  Authentication result;
  if (!peer.require("authentication")) return result;
  peer.group("authentication", [&](Reader& reader) {
    result.line = reader.line();
    reader.require("mode");
    const auto mode = reader.optional_choice("mode", kAuthenticationModeWords);
    result.mode = mode.value_or(AuthenticationMode::kPreSharedSecret);
    result.local_id = reader.string("local-id");
    result.remote_id = reader.string("remote-id");
    result.use_x509_id = reader.flag("use-x509-id");
    read_x509(reader, result);
    if (result.use_x509_id && !result.local_id.empty())
      reader.error("use-x509-id", "and local-id exclude each other");
    if (!mode) return;
    if (result.use_x509_id && mode != AuthenticationMode::kX509)
      reader.error("use-x509-id", "needs mode \"x509\"");
    if ((mode == AuthenticationMode::kX509) != reader.has("x509"))
      reader.group_error("mode \"x509\" and the group x509 belong together");
    if ((mode == AuthenticationMode::kRsa) != reader.has("rsa"))
      reader.group_error("mode \"rsa\" and the group rsa belong together");
  });
  return result;
}

TunnelEnd read_tunnel_end(Reader& tunnel, const char* key) {
  TunnelEnd end;
  tunnel.require(key);
  tunnel.group(key, [&](Reader& reader) {
    reader.require("prefix");
    end.prefixes = reader.parsed_list("prefix", parse_prefix);
    if (const auto port = reader.optional_integer("port", 1, 65535)) end.port = static_cast<uint16_t>(*port);
  });
  return end;
}

void read_tunnel(Reader& reader, const std::string& peer_path, Peer& peer) {
  Tunnel tunnel;
  tunnel.line = reader.line();
  const auto number = reader.required_integer("number", 0, 4294967295);
  if (!number) return;
  tunnel.number = static_cast<uint32_t>(*number);
  reader.set_path(fmt::format("{}.tunnel {}", peer_path, tunnel.number));
  tunnel.disable = reader.flag("disable");
  tunnel.esp_group = reader.located_string("esp-group");
  tunnel.protocol = read_protocol(reader);
  if (const auto priority = reader.optional_integer("priority", 1, 100))
    tunnel.priority = static_cast<uint32_t>(*priority);
  tunnel.local = read_tunnel_end(reader, "local");
  tunnel.remote = read_tunnel_end(reader, "remote");
  if ((tunnel.local.port || tunnel.remote.port) && !has_ports(tunnel.protocol))
    reader.group_error("a port needs protocol tcp or udp");
  peer.tunnels.push_back(std::move(tunnel));
}

std::optional<VtiBinding> read_vti(Reader& peer) {
  std::optional<VtiBinding> vti;
  peer.group("vti", [&](Reader& reader) {
    vti.emplace();
    vti->line = reader.line();
    reader.require("bind");
    vti->bind = reader.located_string("bind");
    vti->esp_group = reader.located_string("esp-group");
    reader.group("traffic-selector", [&](Reader& selector) {
      selector.group("local", [&](Reader& end) { vti->local = end.parsed_list("prefix", parse_prefix); });
      selector.group("remote", [&](Reader& end) { vti->remote = end.parsed_list("prefix", parse_prefix); });
    });
  });
  return vti;
}

// An address or "any", which stays unset.
Result<IpAddress> parse_local_address(std::string_view text) {
  if (text == "any") return IpAddress{};
  return parse_address(text);
}

// An address, "any", or a host name as RFC 1123 section 2.1 has them.
Result<std::string> parse_remote_address(std::string_view text) {
  if (text == "any" || parse_address(text)) return std::string(text);
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  const bool has_letter =
      std::any_of(text.begin(), text.end(), [](char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; });
  if (text.size() > 253 || !has_letter || !std::all_of(text.begin(), text.end(), good) ||
      text.starts_with('-'))
    return fail("is not an address, a host name or \"any\"");
  return std::string(text);
}

std::optional<bool> read_peer_reauth(Reader& reader) {
  constexpr Word<int> kWords[] = {{"yes", 1}, {"no", 0}, {"inherit", -1}};
  const int choice = reader.choice("ikev2-reauth", kWords, -1);
  return choice < 0 ? std::nullopt : std::optional<bool>(choice == 1);
}

void read_peer_addresses(Reader& reader, Peer& peer) {
  for (const char* key : {"local-address", "remote-address"}) reader.require(key);
  peer.local_address = {reader.parsed("local-address", parse_local_address).value_or(IpAddress{}),
                        reader.line_of("local-address")};
  peer.remote_addresses = reader.parsed_list("remote-address", parse_remote_address);
  peer.virtual_addresses = reader.parsed_list("virtual-address", parse_address);
  reader.reject("dhcp-interface", "give the peer a local-address, or \"any\"");
}

void read_peer(std::string name, Reader& reader, Vpn& vpn) {
  Peer peer;
  peer.line = reader.line();
  peer.name = std::move(name);
  peer.disable = reader.flag("disable");
  peer.description = reader.string("description");
  peer.authentication = read_authentication(reader);
  peer.connection_type = reader.choice("connection-type", kConnectionTypeWords, ConnectionType::kRespond);
  peer.connection_type_line = reader.line_of("connection-type");
  reader.require("ike-group");
  peer.ike_group = reader.located_string("ike-group");
  peer.default_esp_group = reader.located_string("default-esp-group");
  peer.force_udp_encapsulation = reader.flag("force-udp-encapsulation");
  peer.reauth = read_peer_reauth(reader);
  peer.replay_window = static_cast<uint32_t>(reader.integer("replay-window", 0, kMaxReplayWindow, 32));
  read_peer_addresses(reader, peer);
  reader.groups("tunnel", [&](Reader& tunnel) { read_tunnel(tunnel, reader.path(), peer); });
  peer.vti = read_vti(reader);
  if (reader.has("tunnel"))
    reader.require("tunnel");
  else if (!peer.vti)
    reader.group_error("needs \"tunnel\" or \"vti\"");
  vpn.peers.push_back(std::move(peer));
}

void read_options(Reader& ipsec, Vpn& vpn) {
  ipsec.group("options", [&](Reader& reader) {
    vpn.disable_route_autoinstall = reader.flag("disable-route-autoinstall");
    vpn.short_lifetimes = reader.flag("short-lifetimes");
    vpn.short_lifetimes_line = reader.line_of("short-lifetimes");
    reader.reject("flexvpn", "FlexVPN is Cisco's and not specified in public");
    reader.reject("interface", "it is for virtual addresses of road warriors");
    reader.reject("virtual-ip", "it is for road warriors");
  });
  ipsec.group("log", [&](Reader& reader) {
    // Those of espalier-ike: the other programs' have no levels.
    constexpr Word<int> kSubsystems[] = {{"ike", 0}, {"child", 1}, {"cfg", 2}, {"net", 3}, {"crypto", 4}};
    vpn.log_level = static_cast<uint32_t>(reader.integer("level", 0, 2));
    for (const int index : reader.choices("subsystem", kSubsystems))
      vpn.log_subsystems.emplace_back(kSubsystems[index].name);
  });
  ipsec.reject("disable-uniqreqids", "it has no effect in VyOS either");
  ipsec.reject("profile", "DMVPN needs IKEv1 and NHRP");
  ipsec.reject("remote-access", "Espalier connects sites, not road warriors");
}

void read_ipsec(Reader& ipsec, Vpn& vpn) {
  vpn.line = ipsec.line();
  vpn.interfaces = ipsec.strings("interface");
  ipsec.group("authentication", [&](Reader& authentication) {
    authentication.named_groups(
        "psk", [&](std::string name, Reader& reader) { read_psk(std::move(name), reader, vpn); });
  });
  ipsec.named_groups("esp-group",
                     [&](std::string name, Reader& reader) { read_esp_group(std::move(name), reader, vpn); });
  ipsec.named_groups("ike-group",
                     [&](std::string name, Reader& reader) { read_ike_group(std::move(name), reader, vpn); });
  ipsec.group("site-to-site", [&](Reader& sites) {
    sites.named_groups("peer",
                       [&](std::string name, Reader& reader) { read_peer(std::move(name), reader, vpn); });
  });
  read_options(ipsec, vpn);
}

}  // namespace

void parse_vpn(Reader& root, Model& model) {
  root.group("vpn",
             [&](Reader& vpn) { vpn.group("ipsec", [&](Reader& ipsec) { read_ipsec(ipsec, model.vpn); }); });
}

}  // namespace espalier::config
