#include "ike/daemon/document.hpp"

#include <algorithm>

#include "crypto/key_exchange.hpp"
#include "ike/daemon/json_reader.hpp"

namespace espalier::ike {
namespace {

constexpr uint64_t kVersion = 1;
constexpr uint64_t kAny = UINT64_MAX;
constexpr const char* kTypes[] = {"initiate", "respond", "none"};
constexpr const char* kDpdActions[] = {"clear", "trap", "restart"};
constexpr const char* kCloseActions[] = {"none", "trap", "start"};
constexpr const char* kAuthKinds[] = {"pre-shared-secret", "rsa", "x509"};

using Blob = std::span<const uint8_t>;

std::string_view text_of(Blob bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
bool is_same_place(Blob a, Blob b) {
  return a.data() == b.data() && a.size() == b.size();
}

// The numbers of control/shared/records.hpp. They are those of crypto/esp_suite.hpp:
static_assert(static_cast<int>(crypto::Cipher::kAesCbc) == static_cast<int>(EspCipher::kAesCbc) &&
              static_cast<int>(crypto::Cipher::kAesGcm) == static_cast<int>(EspCipher::kAesGcm) &&
              static_cast<int>(crypto::Cipher::kChaCha20Poly1305) ==
                  static_cast<int>(EspCipher::kChaCha20Poly1305) &&
              static_cast<int>(crypto::Integrity::kNone) == static_cast<int>(EspIntegrity::kNone) &&
              static_cast<int>(crypto::Integrity::kHmacSha512) ==
                  static_cast<int>(EspIntegrity::kHmacSha512));

crypto::EspSuite suite_of(EspAlgorithm algorithm) {
  return {static_cast<crypto::Cipher>(algorithm.cipher), static_cast<crypto::Integrity>(algorithm.integrity),
          algorithm.key_bytes, algorithm.icv_bytes};
}

class DocumentReader {
 public:
  explicit DocumentReader(JsonReader::Shared& shared) : shared_(shared) {}

  Document read(const Json& json) {
    JsonReader reader(json, "", shared_);
    reader.number("version", kVersion, kVersion);
    document_.configuration.short_lifetimes = reader.flag("short_lifetimes");
    document_.local_addresses = reader.addresses("local_addresses");
    document_.log_level = static_cast<uint32_t>(reader.number("log_level", 0, 2));
    for (const std::string& name : reader.texts("log_subsystems")) {
      if (const auto subsystem = subsystem_named(name))
        document_.log_subsystems.push_back(*subsystem);
      else
        reader.fail_at("log_subsystems", "holds one that is not known");
    }
    reader.objects("keys", [this](JsonReader& key) { read_key(key); });
    reader.objects("connections", [this](JsonReader& connection) { read_connection(connection); });
    reader.finish();
    return std::move(document_);
  }

 private:
  // The first reason to leave out the peer or the key that is being read.
  void leave_out(std::string_view key, std::string_view why) {
    if (fault_.empty()) fault_ = fmt::format("{}: {}", key, why);
  }

  std::optional<Identity> identity(const char* key, const std::string& text) {
    auto parsed = parse_identity(text);
    if (!parsed) leave_out(key, parsed.error().text);
    return parsed.value_or(std::nullopt);
  }

  void read_key(JsonReader& reader) {
    PreSharedKey key;
    key.name = reader.text("name");
    fault_.clear();
    for (const std::string& id : reader.texts("ids")) key.ids.push_back(identity("id", id));
    key.secret = crypto::Secret(reader.blob("secret"));
    if (key.secret.empty()) reader.fail_at("secret", "is empty");
    if (fault_.empty())
      document_.configuration.keys.push_back(std::move(key));
    else
      document_.keys_left_out.emplace(key.name, fault_);
  }

  EspAlgorithm read_algorithm(JsonReader& reader) {
    EspAlgorithm algorithm;
    algorithm.cipher =
        static_cast<EspCipher>(reader.number("cipher", static_cast<uint64_t>(EspCipher::kAesCbc),
                                             static_cast<uint64_t>(EspCipher::kChaCha20Poly1305)));
    algorithm.integrity = static_cast<EspIntegrity>(
        reader.number("integrity", 0, static_cast<uint64_t>(EspIntegrity::kHmacSha512)));
    algorithm.key_bytes = static_cast<uint8_t>(reader.number("key_bytes", 16, 32));
    algorithm.icv_bytes = static_cast<uint8_t>(reader.number("icv_bytes", 8, 32));
    if (const char* why = suite_of(algorithm).why_invalid()) reader.fail_at("cipher", why);
    return algorithm;
  }

  void read_ike_suite(JsonReader& reader, ConnectionConfig& connection) {
    IkeSuite suite;
    suite.protection = suite_of(read_algorithm(reader));
    suite.prf =
        static_cast<crypto::Prf>(reader.number("prf", 0, static_cast<uint64_t>(crypto::Prf::kHmacSha512)));
    suite.group = read_group(reader, 1);
    connection.suites.push_back(suite);
  }

  uint16_t read_group(JsonReader& reader, uint64_t least) {
    const auto group = static_cast<uint16_t>(reader.number("group", least, 0xffff));
    if (group != 0 && !crypto::KeyExchange::is_supported(group)) reader.fail_at("group", "is not supported");
    return group;
  }

  void read_child(JsonReader& reader, ConnectionConfig& connection) {
    ChildConfig child;
    child.name = reader.text("name");
    child.reqid = Reqid(static_cast<uint32_t>(reader.number("reqid", 1, kNone32)));
    child.vti = InterfaceIndex(static_cast<uint16_t>(reader.number("vti", 0, kNoInterface.value)));
    child.transport = reader.flag("transport");
    reader.objects("suites", [&](JsonReader& suite) {
      const EspAlgorithm algorithm = read_algorithm(suite);
      child.suites.push_back({algorithm, read_group(suite, 0), EsnChoice::kBoth});
    });
    child.local.prefixes = reader.prefixes("local"), child.local.ports = reader.ports("local_ports");
    child.remote.prefixes = reader.prefixes("remote"), child.remote.ports = reader.ports("remote_ports");
    child.local.protocol = child.remote.protocol = static_cast<uint8_t>(reader.number("protocol", 0, 255));
    child.lifetime = seconds(reader.number("lifetime_s", 1, 86400));
    child.life_bytes = reader.number("life_bytes", 0, kAny);
    child.life_packets = reader.number("life_packets", 0, kAny);
    child.rekey = reader.flag("rekey");
    child.replay_window = static_cast<uint32_t>(reader.number("replay_window", 0, kMaxReplayWindow));
    connection.children.push_back(std::move(child));
  }

  void read_connection(JsonReader& reader) {
    ConnectionConfig connection;
    connection.name = reader.text("name");
    fault_.clear();
    connection.type = reader.word<ConnectionType>("type", kTypes);
    connection.local = reader.address("local");
    connection.remotes = reader.texts("remotes");
    connection.auth = reader.word<AuthKind>("auth", kAuthKinds);
    read_identities(reader, connection);
    if (connection.auth != AuthKind::kPreSharedKey) read_credential(reader, connection);
    if (reader.flag("use_x509_id") && connection.credential && !connection.credential->chain.empty())
      connection.local_id =
          Identity{IdType::kDistinguishedName, connection.credential->chain.front().subject()};
    reader.objects("suites", [&](JsonReader& suite) { read_ike_suite(suite, connection); });
    connection.lifetime = seconds(reader.number("lifetime_s", 0, 86400));
    if (const uint64_t interval = reader.number("dpd_interval_s", 0, 86400); interval != 0)
      connection.dpd_interval = seconds(interval);
    connection.dpd_action = reader.word<DpdAction>("dpd_action", kDpdActions);
    connection.close_action = reader.word<CloseAction>("close_action", kCloseActions);
    connection.force_encapsulation = reader.flag("force_encapsulation");
    reader.objects("children", [&](JsonReader& child) { read_child(child, connection); });
    if (fault_.empty())
      document_.configuration.connections.push_back(std::move(connection));
    else
      document_.left_out.emplace(connection.name, fault_);
  }

  // Nothing configured means the addresses; of a peer that may come from anywhere, any identity that it can
  // prove.
  void read_identities(JsonReader& reader, ConnectionConfig& connection) {
    connection.local_id = identity("local-id", reader.text("local_id"));
    const std::string remote_id = reader.text("remote_id");
    connection.remote_id = identity("remote-id", remote_id);
    const bool from_anywhere =
        std::find(connection.remotes.begin(), connection.remotes.end(), "any") != connection.remotes.end();
    connection.remote_id_is_address = remote_id.empty() && !from_anywhere;
  }

  void read_credential(JsonReader& reader, ConnectionConfig& connection) {
    const auto key = reader.blob("private_key"), passphrase = reader.blob("passphrase");
    const bool x509 = connection.auth == AuthKind::kX509;
    connection.credential =
        credential_of(key, passphrase, x509 ? reader.blob("certificates") : std::span<const uint8_t>());
    if (x509) {
      if (connection.credential && connection.credential->chain.empty()) leave_out("certificate", "is empty");
      return void(connection.trust = read_trust(reader));
    }
    auto remote = crypto::PublicKey::parse(reader.blob("remote_key"));
    if (remote)
      connection.remote_key = std::move(*remote);
    else
      leave_out("remote-key", remote.error());
  }

  // Most peers are shown the same certificate, and some keys take a second to decrypt. Null, and the peer is
  // left out, where it cannot be used.
  std::shared_ptr<const LocalCredential> credential_of(Blob key, Blob passphrase, Blob certificates) {
    const auto known = std::ranges::find_if(credentials_, [&](const KnownCredential& each) {
      return is_same_place(each.key, key) && is_same_place(each.certificates, certificates) &&
             std::ranges::equal(each.passphrase, passphrase);
    });
    if (known != credentials_.end()) return known->credential;
    auto made = std::make_shared<LocalCredential>();
    auto parsed = crypto::PrivateKey::parse(key, text_of(passphrase));
    if (!parsed) return leave_out("key", parsed.error()), nullptr;
    made->key = std::move(*parsed);
    if (!certificates.empty()) made->chain = read_certificates("certificate", certificates);
    if (!fault_.empty() || !check_pair(*made)) return nullptr;
    return credentials_.emplace_back(KnownCredential{key, passphrase, certificates, std::move(made)})
        .credential;
  }

  // Else every peer would refuse what we sign, and nobody would know why.
  bool check_pair(const LocalCredential& credential) {
    if (credential.chain.empty()) return true;
    const crypto::Certificate& own = credential.chain.front();
    const auto certified = own.public_key();
    if (!certified) return leave_out("certificate", certified.error()), false;
    if (certified->to_der() == credential.key->public_key().to_der()) return true;
    return leave_out("key", "is not the key of the certificate " + own.subject_text()), false;
  }

  std::vector<crypto::Certificate> read_certificates(const char* key, Blob bytes) {
    auto parsed = crypto::Certificate::parse_all(bytes);
    if (!parsed) leave_out(key, parsed.error());
    return parsed ? std::move(*parsed) : std::vector<crypto::Certificate>();
  }

  // Many peers have the same authorities, and then the same places in the secrets.
  std::shared_ptr<const crypto::TrustStore> read_trust(JsonReader& reader) {
    const auto authorities = reader.blobs("authorities"), revocations = reader.blobs("revocations");
    std::vector<std::pair<const uint8_t*, size_t>> places;
    for (const Blob& blob : authorities) places.emplace_back(blob.data(), blob.size());
    places.emplace_back(nullptr, 0);
    for (const Blob& blob : revocations) places.emplace_back(blob.data(), blob.size());
    if (const auto known = trust_stores_.find(places); known != trust_stores_.end()) return known->second;
    auto store = std::make_shared<crypto::TrustStore>();
    for (const Blob& blob : authorities)
      for (auto& certificate : read_certificates("ca-certificate", blob))
        store->add_authority(std::move(certificate));
    for (const Blob& blob : revocations)
      if (auto added = store->add_revocation_list(blob); !added) leave_out("crl", added.error());
    if (!fault_.empty()) return nullptr;
    return trust_stores_[places] = std::move(store);
  }

  struct KnownCredential {
    Blob key, passphrase, certificates;  // where they lie
    std::shared_ptr<const LocalCredential> credential;
  };
  std::string fault_;
  std::vector<KnownCredential> credentials_;
  JsonReader::Shared& shared_;
  Document document_;
  std::map<std::vector<std::pair<const uint8_t*, size_t>>, std::shared_ptr<const crypto::TrustStore>>
      trust_stores_;
};

}  // namespace

Result<Document> parse_document(std::string_view text, std::span<const uint8_t> secrets) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return fail("the configuration is no JSON document");
  JsonReader::Shared shared{secrets, std::nullopt};
  Document document = DocumentReader(shared).read(json);
  if (shared.error) return std::unexpected(std::move(*shared.error));
  return document;
}

}  // namespace espalier::ike
