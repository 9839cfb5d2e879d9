// From the configuration's text to what the core gets: compiled, written as a document, read by espalier-ike.
#include "ike/daemon/document.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "control/config/config.hpp"
#include "control/daemon/ike_material.hpp"

namespace espalier::ike {
namespace {

using Json = nlohmann::json;

std::string source_root() {
  return std::getenv("ESPALIER_SOURCE_ROOT");
}
std::string pki() {
  return source_root() + "/tests/unit/crypto/data/pki";
}

config::IkeDocument compiled(std::string_view text) {
  auto outcome = config::load(config::Source{"test.conf", config::Secret(text), std::nullopt});
  EXPECT_TRUE(outcome.tables) << config::render_diagnostics(outcome.diagnostics);
  return outcome.tables ? std::move(outcome.tables->ike) : config::IkeDocument();
}

std::span<const uint8_t> secrets_of(const daemon::IkeMaterial& material) {
  return {reinterpret_cast<const uint8_t*>(material.secrets.data()), material.secrets.size()};
}

Document read(std::string_view text, const std::string& directory = pki()) {
  const auto material = daemon::ike_material(compiled(text), directory);
  EXPECT_TRUE(material.complete()) << material.complete().error().text;
  auto document = parse_document(material.text, secrets_of(material));
  EXPECT_TRUE(document) << document.error().text;
  return document ? std::move(*document) : Document();
}

constexpr std::string_view kInterfaces = R"(
interfaces = {
  eth0 = { device = "net_af_packet,iface=a"; address = [ "192.0.2.1/24", "2001:db8::1/64" ]; };
  eth1 = { device = "net_af_packet,iface=b"; address = "10.1.0.1/16"; };
  vti7 = { type = "vti"; address = "10.9.0.1/30"; mtu = 1400; };
};
routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; } );
)";

std::string with_peer(const std::string& peer, const std::string& options = "") {
  return std::string(kInterfaces) + R"(
vpn = { ipsec = {
  interface = [ "eth0" ];
  log = { level = 2; subsystem = [ "ike", "net" ]; };
  )" + options +
         R"(
  authentication = { psk = {
    one = { id = [ "192.0.2.1", "@peer.example.org" ]; secret = "first secret"; };
    two = { id = [ "%any" ]; secret-file = "psk.txt"; };
  }; };
  esp-group = {
    E = { lifetime = 1800; life-bytes = 100000; life-packets = 5000; pfs = "enable";
          proposal = ( { number = 2; encryption = "aes256"; hash = "sha512"; }, { number = 1; encryption = "aes128gcm64"; } ); };
    T = { mode = "transport"; pfs = "dh-group32"; disable-rekey = true; proposal = ( { number = 1; encryption = "chacha20poly1305"; } ); };
    D = { pfs = "disable"; proposal = ( { number = 1; encryption = "aes192"; hash = "sha1"; } ); };
  };
  ike-group = {
    I = { lifetime = 7200; close-action = "start"; dead-peer-detection = { action = "restart"; interval = 7; };
          proposal = ( { number = 1; encryption = "aes256gcm128"; prf = "prfsha384"; dh-group = 20; },
                       { number = 2; encryption = "aes128"; hash = "sha256"; dh-group = 14; },
                       { number = 3; encryption = "aes128gcm96"; hash = "sha512"; dh-group = 31; } ); };
    J = { lifetime = 0; proposal = ( { number = 1; encryption = "aes128"; hash = "sha1"; prf = "prfsha256"; dh-group = 5; } ); };
  };
  site-to-site = { peer = { )" +
         peer + " }; };\n}; };\n";
}

// The directory of the certificates with a secret-file beside them.
class DocumentTest : public ::testing::Test {
 protected:
  DocumentTest() {
    char name[] = "/tmp/espalier-document-XXXXXX";
    directory_ = ::mkdtemp(name);
    std::filesystem::copy(pki(), directory_, std::filesystem::copy_options::recursive);
    std::filesystem::copy(pki() + "/../keys", directory_ + "/keys", std::filesystem::copy_options::recursive);
    std::ofstream(directory_ + "/psk.txt") << "second secret\n";
  }
  ~DocumentTest() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

constexpr const char* kPeer = R"(
    B = { authentication = { mode = "pre-shared-secret"; local-id = "@us"; remote-id = "peer@example.org"; };
      connection-type = "initiate"; ike-group = "I"; default-esp-group = "E"; force-udp-encapsulation = true; replay-window = 128;
      local-address = "192.0.2.1"; remote-address = [ "198.51.100.9", "gw.example.org" ];
      tunnel = ( { number = 3; local = { prefix = [ "10.1.0.0/16", "10.2.0.0/16" ]; port = 80; }; remote = { prefix = "10.3.0.0/16"; port = 443; }; protocol = "tcp"; },
                 { number = 4; disable = true; local = { prefix = "10.1.0.0/16"; }; remote = { prefix = "10.5.0.0/16"; }; },
                 { number = 5; esp-group = "T"; local = { prefix = "192.0.2.1/32"; }; remote = { prefix = "198.51.100.9/32"; }; } ); };
    V = { authentication = { mode = "pre-shared-secret"; }; ike-group = "J"; local-address = "any"; remote-address = "any";
      vti = { bind = "vti7"; esp-group = "D"; }; };
    OFF = { disable = true; authentication = { mode = "pre-shared-secret"; }; ike-group = "I"; default-esp-group = "E"; local-address = "any";
      remote-address = "any"; tunnel = ( { number = 0; local = { prefix = "10.1.0.0/16"; }; remote = { prefix = "10.6.0.0/16"; }; } ); };
)";

TEST_F(DocumentTest, APolicyBasedPeerArrivesAsItWasWritten) {
  const Document document = read(with_peer(kPeer), directory_);
  ASSERT_EQ(document.configuration.connections.size(), 2u);
  const ConnectionConfig& c = document.configuration.connections[0];
  EXPECT_EQ(c.name, "B");
  EXPECT_EQ(c.type, ConnectionType::kInitiate);
  EXPECT_EQ(c.local, IpAddress(Ipv4Address::from_host(0xc0000201)));
  EXPECT_EQ(c.remotes, (std::vector<std::string>{"198.51.100.9", "gw.example.org"}));
  EXPECT_EQ(c.auth, AuthKind::kPreSharedKey);
  EXPECT_EQ(c.local_id, (Identity{IdType::kFqdn, {'u', 's'}}));
  EXPECT_EQ(c.remote_id->type, IdType::kEmail);
  EXPECT_FALSE(c.remote_id_is_address);
  EXPECT_EQ(c.lifetime, seconds(7200));
  EXPECT_EQ(c.dpd_interval, seconds(7));
  EXPECT_EQ(c.dpd_action, DpdAction::kRestart);
  EXPECT_EQ(c.close_action, CloseAction::kStart);
  EXPECT_TRUE(c.force_encapsulation);
  const crypto::EspSuite gcm{crypto::Cipher::kAesGcm, crypto::Integrity::kNone, 32, 16};
  const crypto::EspSuite cbc{crypto::Cipher::kAesCbc, crypto::Integrity::kHmacSha256, 16, 16};
  const crypto::EspSuite gcm96{crypto::Cipher::kAesGcm, crypto::Integrity::kNone, 16, 12};
  EXPECT_EQ(c.suites, (std::vector<IkeSuite>{{gcm, crypto::Prf::kHmacSha384, 20},
                                             {cbc, crypto::Prf::kHmacSha256, 14},
                                             {gcm96, crypto::Prf::kHmacSha512, 31}}));
}

TEST_F(DocumentTest, ItsTunnelsToo) {
  const Document document = read(with_peer(kPeer), directory_);
  const auto& children = document.configuration.connections.at(0).children;
  ASSERT_EQ(children.size(), 2u);  // the third is disabled
  EXPECT_EQ(children[0].name, "tunnel-3");
  EXPECT_FALSE(children[0].transport);
  const EspAlgorithm gcm64{EspCipher::kAesGcm, EspIntegrity::kNone, 16, 8};
  const EspAlgorithm cbc{EspCipher::kAesCbc, EspIntegrity::kHmacSha512, 32, 32};
  EXPECT_EQ(children[0].suites,
            (std::vector<EspSuite>{{gcm64, 20, EsnChoice::kBoth}, {cbc, 20, EsnChoice::kBoth}}));
  ASSERT_EQ(children[0].local.prefixes.size(), 2u);
  EXPECT_EQ(children[0].local.prefixes[1], IpPrefix::of(Ipv4Address::from_host(0x0a020000), 16));
  EXPECT_EQ(children[0].local.ports, (PortRange{80, 80}));
  EXPECT_EQ(children[0].remote.ports, (PortRange{443, 443}));
  EXPECT_EQ(children[0].local.protocol, kProtoTcp);
  EXPECT_EQ(children[0].lifetime, seconds(1800));
  EXPECT_EQ(children[0].life_bytes, 100000u);
  EXPECT_EQ(children[0].life_packets, 5000u);
  EXPECT_TRUE(children[0].rekey);
  EXPECT_EQ(children[0].replay_window, 128u);
  EXPECT_EQ(children[0].vti, kNoInterface);
  EXPECT_EQ(children[1].name, "tunnel-5");
  EXPECT_TRUE(children[1].transport);
  EXPECT_FALSE(children[1].rekey);
  EXPECT_EQ(children[1].suites.at(0).group, 32);
  EXPECT_NE(children[0].reqid, children[1].reqid);
}

TEST_F(DocumentTest, AVtiTakesEverythingOfBothFamilies) {
  const Document document = read(with_peer(kPeer), directory_);
  const ConnectionConfig& c = document.configuration.connections.at(1);
  EXPECT_EQ(c.type, ConnectionType::kRespond);
  EXPECT_TRUE(c.local.is_unspecified());
  EXPECT_FALSE(c.local_id);
  EXPECT_FALSE(c.remote_id);
  EXPECT_FALSE(c.remote_id_is_address);  // it may come from anywhere
  EXPECT_EQ(c.lifetime, seconds(0));
  EXPECT_FALSE(c.dpd_interval);
  EXPECT_EQ(c.suites.at(0).prf, crypto::Prf::kHmacSha256);
  ASSERT_EQ(c.children.size(), 1u);
  EXPECT_EQ(c.children[0].name, "vti");
  EXPECT_EQ(c.children[0].vti, InterfaceIndex(2));
  EXPECT_EQ(c.children[0].local.prefixes,
            (std::vector<IpPrefix>{IpPrefix::any(Family::kIpv4), IpPrefix::any(Family::kIpv6)}));
  EXPECT_EQ(c.children[0].suites.at(0).group, 0);
}

TEST_F(DocumentTest, WhatIsOfTheWhole) {
  const Document document = read(with_peer(kPeer), directory_);
  EXPECT_FALSE(document.configuration.short_lifetimes);
  EXPECT_EQ(document.log_level, 2u);
  EXPECT_EQ(document.log_subsystems, (std::vector<Subsystem>{Subsystem::kIke, Subsystem::kNetwork}));
  ASSERT_EQ(document.local_addresses.size(), 2u);
  const auto& keys = document.configuration.keys;
  ASSERT_EQ(keys.size(), 2u);
  ASSERT_EQ(keys[0].ids.size(), 2u);
  EXPECT_EQ(keys[0].ids[0]->type, IdType::kIpv4);
  EXPECT_EQ(keys[0].ids[1]->type, IdType::kFqdn);
  EXPECT_FALSE(keys[1].ids.at(0));
  const auto text = [](const crypto::Secret& secret) {
    return std::string(secret.view().begin(), secret.view().end());
  };
  EXPECT_EQ(text(keys[0].secret), "first secret");
  EXPECT_EQ(text(keys[1].secret), "second secret");  // without the line's end
}

TEST_F(DocumentTest, NoSecretIsInTheText) {
  const auto material = daemon::ike_material(compiled(with_peer(kPeer)), directory_);
  for (const char* secret : {"first secret", "second secret"})
    EXPECT_EQ(material.text.find(secret), std::string::npos);
}

TEST_F(DocumentTest, TheExampleIsRead) {
  std::ifstream file(source_root() + "/docs/example.conf");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::string named = "/etc/espalier/office-c.psk";
  text.replace(text.find(named), named.size(), "psk.txt");
  const Document document = read(text, directory_);
  ASSERT_EQ(document.configuration.connections.size(), 2u);
  EXPECT_EQ(document.configuration.connections[0].name, "OFFICE-B");
  EXPECT_EQ(document.configuration.connections[1].children.at(0).name, "vti");
}

std::string x509_peer(const std::string& x509) {
  return R"(X = { authentication = { mode = "x509"; use-x509-id = true; remote-id = "CN=b"; x509 = { )" +
         x509 +
         R"( }; }; ike-group = "I"; default-esp-group = "E"; local-address = "any"; remote-address = "192.0.2.9";
      tunnel = ( { number = 0; local = { prefix = "10.1.0.0/16"; }; remote = { prefix = "10.6.0.0/16"; }; } ); };)";
}

TEST_F(DocumentTest, FilesThatCannotBeReadLeaveTheirPeerOut) {
  const auto material = daemon::ike_material(
      compiled(
          with_peer(kPeer + x509_peer(R"(certificate = "absent.pem"; ca-certificate = "absent-ca.pem";)"))),
      directory_);
  ASSERT_EQ(material.left_out.size(), 1u);
  EXPECT_NE(material.left_out.at("X").find("absent.pem: No such file"), std::string::npos);
  EXPECT_FALSE(material.complete());
  auto document = parse_document(material.text, secrets_of(material));
  ASSERT_TRUE(document);
  EXPECT_EQ(document->configuration.connections.size(), 2u);
  std::filesystem::remove(directory_ + "/psk.txt");
  const auto without_key = daemon::ike_material(compiled(with_peer(kPeer)), directory_);
  EXPECT_EQ(without_key.keys_left_out.size(), 1u);
  EXPECT_NE(without_key.complete().error().text.find("psk two"), std::string::npos);
}

// Our certificate, of keys/rsa.pem.
void make_certificate(const std::string& directory) {
  const std::string command = fmt::format(
      "openssl req -x509 -key {0}/keys/rsa.pem -subj /C=CH/CN=us -days 2 -out {0}/us.pem 2>/dev/null",
      directory);
  ASSERT_EQ(std::system(command.c_str()), 0);
}

Result<Document> read_x509(const std::string& x509, const std::string& directory) {
  const auto material = daemon::ike_material(compiled(with_peer(x509_peer(x509))), directory);
  EXPECT_TRUE(material.complete()) << material.complete().error().text;
  return parse_document(material.text, secrets_of(material));
}

TEST_F(DocumentTest, CertificatesAndTheirKeysArriveAsFilesHadThem) {
  make_certificate(directory_);
  const auto document = read_x509(
      R"(certificate = "us.pem"; key = "keys/rsa.pem"; ca-certificate = [ "root.pem", "us.pem" ]; crl = "root.crl";)",
      directory_);
  ASSERT_TRUE(document) << document.error().text;
  const ConnectionConfig& c = document->configuration.connections.at(0);
  EXPECT_EQ(c.auth, AuthKind::kX509);
  ASSERT_EQ(c.credential->chain.size(), 1u);
  EXPECT_EQ(c.credential->chain[0].subject_text(), "C=CH, CN=us");
  EXPECT_EQ(c.credential->key->type(), crypto::KeyType::kRsa);
  EXPECT_EQ(c.trust->authorities().size(), 2u);
  EXPECT_EQ(c.local_id, (Identity{IdType::kDistinguishedName, c.credential->chain[0].subject()}));
  EXPECT_EQ(c.remote_id->type, IdType::kDistinguishedName);
}

TEST_F(DocumentTest, WhatCannotBeReadLeavesItsPeerOutWithTheReason) {
  make_certificate(directory_);
  const auto reason_of = [&](const std::string& x509) {
    const auto document = read_x509(R"(ca-certificate = "root.pem"; )" + x509, directory_);
    EXPECT_TRUE(document) << document.error().text;
    EXPECT_EQ(document->configuration.connections.size(), 1u - document->left_out.size());
    const auto found = document->left_out.find("X");
    return found == document->left_out.end() ? "" : found->second;
  };
  EXPECT_EQ(reason_of(R"(certificate = "us.pem"; key = "keys/rsa-other.pem";)"),
            "key: is not the key of the certificate C=CH, CN=us");
  EXPECT_EQ(reason_of(R"(certificate = "us.pem"; key = "keys/rsa-encrypted.pem"; passphrase = "wrong";)")
                .find("key: "),
            0u);
  EXPECT_EQ(reason_of(R"(certificate = "keys/message"; key = "keys/rsa.pem";)").find("certificate: "), 0u);
  EXPECT_EQ(reason_of(R"(certificate = "us.pem"; key = "keys/rsa.pem"; crl = "us.pem";)").find("crl: "), 0u);
  EXPECT_EQ(reason_of(R"(certificate = "us.pem"; key = "keys/rsa.pem";)"), "");
}

// A list that one peer could not use is missing for no other either.
TEST_F(DocumentTest, TheOthersAreReadAsIfItWereNotThere) {
  make_certificate(directory_);
  const auto peer = [](const std::string& name, const std::string& crl) {
    std::string text = x509_peer(
        R"(certificate = "us.pem"; key = "keys/rsa.pem"; ca-certificate = "root.pem"; crl = )" + crl + ";");
    return text.replace(0, 1, name);
  };
  const Document document = read(with_peer(peer("A", R"("us.pem")") + peer("B", R"("us.pem")") +
                                           peer("C", R"("root.crl")") + peer("D", R"("root.crl")")),
                                 directory_);
  EXPECT_EQ(document.left_out.size(), 2u);
  ASSERT_EQ(document.configuration.connections.size(), 2u);
  const auto& connections = document.configuration.connections;
  EXPECT_EQ(connections[0].credential, connections[1].credential);  // one key, decrypted once
  EXPECT_EQ(connections[0].trust, connections[1].trust);
}

TEST_F(DocumentTest, AnIdentityThatIsNoneLeavesItsOwnerOut) {
  const auto material = daemon::ike_material(compiled(with_peer(kPeer)), directory_);
  Json json = Json::parse(material.text);
  json["connections"][0]["remote_id"] = "a:b";
  json["keys"][1]["ids"][0] = "c:d";
  const auto document = parse_document(json.dump(), secrets_of(material));
  ASSERT_TRUE(document) << document.error().text;
  EXPECT_EQ(document->configuration.connections.size(), 1u);
  EXPECT_EQ(document->left_out.at("B"),
            "remote-id: 'a:b' is no address, and no name; a key id is written keyid:a:b");
  EXPECT_EQ(document->configuration.keys.size(), 1u);
  EXPECT_TRUE(document->keys_left_out.contains("two"));
}

TEST_F(DocumentTest, RawRsaKeysArrive) {
  const std::string peer = R"(R = { authentication = { mode = "rsa"; local-id = "@a"; remote-id = "@b";
      rsa = { local-key = "keys/rsa.pem"; remote-key = "keys/rsa.rfc3110"; }; };
      ike-group = "I"; default-esp-group = "E"; local-address = "any"; remote-address = "192.0.2.9";
      tunnel = ( { number = 0; local = { prefix = "10.1.0.0/16"; }; remote = { prefix = "10.6.0.0/16"; }; } ); };)";
  const Document document = read(with_peer(peer), directory_);
  const ConnectionConfig& c = document.configuration.connections.at(0);
  EXPECT_EQ(c.auth, AuthKind::kRawRsa);
  EXPECT_TRUE(c.credential->chain.empty());
  EXPECT_EQ(c.remote_key->to_der(), c.credential->key->public_key().to_der());
}

// Every value of the document in turn is one of another type, and every key is missing once.
void break_each(const Json& good, Json& whole, Json& here, std::span<const uint8_t> secrets, int& tried) {
  const auto expect_refused = [&](const char* how) {
    ++tried;
    EXPECT_FALSE(parse_document(whole.dump(), secrets)) << how << ": " << whole.dump();
  };
  const Json original = here;
  if (here.is_object())
    for (const auto& [key, value] : original.items()) {
      const Json kept = here[key];
      here.erase(key);
      expect_refused(key.c_str());
      here[key] = kept;
    }
  if (here.is_structured()) {
    for (auto& each : here) break_each(good, whole, each, secrets, tried);
    return;
  }
  const Json kept = here;
  for (const Json& wrong : {Json(nullptr), Json(-1), Json(1.5), Json::object()}) {
    here = wrong;
    expect_refused("another type");
  }
  here = kept;
}

TEST_F(DocumentTest, EveryMissingOrWrongValueIsRefused) {
  const auto material = daemon::ike_material(compiled(with_peer(kPeer)), directory_);
  const Json good = Json::parse(material.text);
  Json broken = good;
  int tried = 0;
  break_each(good, broken, broken, secrets_of(material), tried);
  EXPECT_GT(tried, 300);
  EXPECT_TRUE(parse_document(broken.dump(), secrets_of(material)));
}

TEST_F(DocumentTest, ErrorsHaveTheirPath) {
  const auto material = daemon::ike_material(compiled(with_peer(kPeer)), directory_);
  const auto error_after = [&](auto change) {
    Json json = Json::parse(material.text);
    change(json);
    const auto document = parse_document(json.dump(), secrets_of(material));
    return document ? "" : document.error().text;
  };
  EXPECT_EQ(error_after([](Json& j) { j["connections"][1]["suites"][0]["group"] = 22; }),
            "connections[1].suites[0].group: is not supported");
  EXPECT_EQ(error_after([](Json& j) { j["connections"][0]["children"][0]["local"][0] = "10.0.0.0/33"; }),
            "connections[0].children[0].local: holds something that is no prefix");
  EXPECT_EQ(error_after([](Json& j) { j["version"] = 2; }), "version: is no whole number from 1 to 1");
  EXPECT_EQ(error_after([](Json& j) { j["keys"][0]["secret"]["bytes"] = 1000; }),
            "keys[0].secret: is no place among the secrets");
  EXPECT_EQ(error_after([](Json& j) { j["keys"][0]["secret"]["bytes"] = UINT64_MAX; }),
            "keys[0].secret: is no place among the secrets");
  EXPECT_EQ(error_after([](Json& j) { j["surprise"] = 1; }), ": has a key that is not known");
  EXPECT_EQ(error_after([](Json& j) { j["connections"][0]["suites"][0]["icv_bytes"] = 9; }),
            "connections[0].suites[0].cipher: the ICV's length is none of the algorithm");
  EXPECT_FALSE(parse_document("{", {}));
  EXPECT_FALSE(parse_document("[]", {}));
}

}  // namespace
}  // namespace espalier::ike
