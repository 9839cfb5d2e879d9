// AUTH payloads against strongSwan's; the choice of keys, schemes and certificates; and everything that a
// peer must not get through with.
#include "ike/sa/authentication.hpp"

#include <gtest/gtest.h>
#include <random>

#include "tests/unit/ike_sa/vector_file.hpp"

namespace espalier::ike::test {
namespace {

using crypto::Certificate;
using crypto::Hash;
using crypto::KeyType;
using crypto::Prf;
using crypto::PrivateKey;
using crypto::RsaPadding;
using crypto::SignatureScheme;
using testing::Test;

Identity id(std::string_view text) {
  return parse_identity(text).value().value();
}
const std::vector<Hash> kAllHashes{Hash::kSha256, Hash::kSha384, Hash::kSha512, Hash::kIdentity};
const auto kNow = std::chrono::sys_days(std::chrono::year(2030) / 1 / 1);

// --- What is signed, and pre-shared keys ---

Prf prf_of(const std::string& name) {
  if (name == "strongswan gcm") return Prf::kHmacSha256;
  if (name == "strongswan cbc") return Prf::kHmacSha384;
  if (name == "strongswan cha") return Prf::kHmacSha512;
  throw std::runtime_error("no prf for " + name);
}
Identity identity_in(const Bytes& body) {
  return {IdType(body.at(0)), Bytes(body.begin() + 4, body.end())};
}

TEST(SharedKeyAuth, StrongSwan) {
  for (const Vector& vector : read_vectors("strongswan.txt")) {
    SCOPED_TRACE(vector.name);
    const Prf prf = prf_of(vector.name);
    const Identity id_i = identity_in(vector["id_i"]), id_r = identity_in(vector["id_r"]);
    const AuthSide initiator{prf, vector["pi"], vector["message_i"], vector["nr"], id_i};
    const AuthSide responder{prf, vector["pr"], vector["message_r"], vector["ni"], id_r};
    EXPECT_EQ(signed_octets(initiator).value(), vector["octets_i"]);
    EXPECT_EQ(signed_octets(responder).value(), vector["octets_r"]);
    const Authentication auth = make_shared_key_auth(initiator, vector["psk"]).value();
    EXPECT_EQ(auth.method, AuthMethod::kSharedKey);
    EXPECT_EQ(auth.data, vector["auth_i"]);
    EXPECT_TRUE(verify_shared_key_auth(responder, vector["psk"], {AuthMethod::kSharedKey, vector["auth_r"]}));
    EXPECT_FALSE(verify_shared_key_auth(initiator, vector["psk"], {AuthMethod::kSharedKey, vector["auth_r"]}))
        << "reflected";
  }
}

struct Side {
  Bytes sk_p = Bytes(32, 1), message = Bytes(300, 2), nonce = Bytes(32, 3);
  Identity identity = id("gw.example.org");
  AuthSide view() const { return {Prf::kHmacSha256, sk_p, message, nonce, identity}; }
};

TEST(SharedKeyAuth, EveryInputCounts) {
  const Bytes key = bytes("secret");
  const Side right;
  const Authentication auth = make_shared_key_auth(right.view(), key).value();
  EXPECT_TRUE(verify_shared_key_auth(right.view(), key, auth));
  const auto refused = [&](auto change) {
    Side wrong;
    change(wrong);
    return !verify_shared_key_auth(wrong.view(), key, auth).has_value();
  };
  EXPECT_TRUE(refused([](Side& side) { side.sk_p[0] ^= 1; }));
  EXPECT_TRUE(refused([](Side& side) { side.message[299] ^= 1; }));
  EXPECT_TRUE(refused([](Side& side) { side.nonce[31] ^= 1; }));
  EXPECT_TRUE(refused([](Side& side) { side.identity = id("gx.example.org"); }));
  EXPECT_TRUE(refused([](Side& side) { side.identity.type = IdType::kKeyId; }));
  EXPECT_FALSE(verify_shared_key_auth(right.view(), bytes("Secret"), auth));
  Authentication cut = auth;
  cut.data.pop_back();
  EXPECT_FALSE(verify_shared_key_auth(right.view(), key, cut));
  EXPECT_FALSE(verify_shared_key_auth(right.view(), key, {AuthMethod::kSharedKey, {}}));
  EXPECT_FALSE(verify_shared_key_auth(right.view(), key, {AuthMethod::kDigitalSignature, auth.data}));
}

PreSharedKey key_for(std::string name, const std::vector<std::string>& ids) {
  PreSharedKey key{std::move(name), {}, crypto::Secret(Bytes(8, 1))};
  for (const std::string& each : ids) key.ids.push_back(parse_identity(each).value());
  return key;
}
class FindKey : public Test {
 protected:
  template <class... Keys>
  void keys(Keys... each) {
    keys_ = {};
    (keys_.push_back(std::move(each)), ...);
  }
  std::string found(const char* local, const char* remote) {
    const auto peer = parse_identity(remote).value();
    const PreSharedKey* key = keys_.find(id(local), peer);
    return key ? key->name : "none";
  }
  PreSharedKeys keys_;
};

TEST_F(FindKey, ExactBeforeWildcardBeforeAny) {
  keys(key_for("any", {"%any"}), key_for("wild", {"gw", "*.example.org"}),
       key_for("exact", {"gw", "a.example.org"}));
  EXPECT_EQ(found("gw", "a.example.org"), "exact");
  EXPECT_EQ(found("gw", "b.example.org"), "wild");
  EXPECT_EQ(found("gw", "elsewhere.net"), "any");
}
TEST_F(FindKey, TheRemoteIdentityCountsMore) {
  keys(key_for("local", {"gw", "%any"}), key_for("remote", {"%any", "a"}));
  EXPECT_EQ(found("gw", "a"), "remote");
  EXPECT_EQ(found("gw", "b"), "local");
}
TEST_F(FindKey, ThenTheLocalOne) {
  keys(key_for("other", {"gw2", "a"}), key_for("ours", {"gw", "a"}));
  EXPECT_EQ(found("gw", "a"), "ours");
  EXPECT_EQ(found("gw2", "a"), "other");
}
TEST_F(FindKey, ThenTheOrder) {
  keys(key_for("first", {"gw", "a"}), key_for("second", {"gw", "a"}));
  EXPECT_EQ(found("gw", "a"), "first");
}
TEST_F(FindKey, AKeyWithOthersIsNotThePeers) {
  keys(key_for("with b", {"gw", "b"}));
  EXPECT_EQ(found("gw", "b"), "with b");
  EXPECT_EQ(found("gw", "a"), "none");
  keys(key_for("ours", {"gw"}), key_for("with b", {"gw", "b"}));
  EXPECT_EQ(found("gw", "a"), "ours") << "names nobody else: for whoever comes";
  EXPECT_EQ(found("gw9", "a"), "none");
}
TEST_F(FindKey, ThePeerIsNotKnownYet) {
  keys(key_for("with b", {"gw", "b"}), key_for("any", {"%any"}));
  EXPECT_EQ(found("gw", "%any"), "any");
  keys(key_for("with b", {"gw", "b"}));
  EXPECT_EQ(found("gw", "%any"), "with b");
  EXPECT_EQ(found("gw9", "%any"), "none");
}
TEST_F(FindKey, AKeyWithoutIdsIsEverybodys) {
  keys(key_for("all", {}), key_for("exact", {"a"}));
  EXPECT_EQ(found("gw", "b"), "all");
  EXPECT_EQ(found("gw", "a"), "exact");
}

// The table of names finds what asking every key finds.
const PreSharedKey* ask_all(const PreSharedKeys& keys, const Identity& local,
                            const std::optional<Identity>& remote) {
  const PreSharedKey* best = nullptr;
  std::pair best_rank{0, 0};
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto& ids = keys[i].ids;
    const auto names = [&](const std::optional<Identity>& whom) {
      int found = ids.empty() ? 1 : 0;
      for (const auto& each : ids) found = std::max(found, whom ? quality(each, *whom) : each ? 0 : 1);
      return found;
    };
    const bool for_us_alone =
        std::ranges::all_of(ids, [&](const auto& each) { return accepts(each, local); });
    const std::pair rank{names(remote), names(local)};
    if ((rank.first == 0 && remote && !for_us_alone) || rank <= best_rank) continue;
    best = &keys[i];
    best_rank = rank;
  }
  return best;
}
TEST(PreSharedKeys, AreFoundAsIfAllWereAsked) {
  const char* const ids[] = {"gw",
                             "GW",
                             "a.example.org",
                             "b.example.org",
                             "*.example.org",
                             "u@example.org",
                             "*@example.org",
                             "%any",
                             "192.0.2.1",
                             "2001:db8::1",
                             "CN=a",
                             "CN=*",
                             "keyid:a"};
  std::mt19937 random(1);
  const auto any_id = [&] { return parse_identity(ids[random() % std::size(ids)]).value(); };
  size_t found = 0;
  for (int round = 0; round < 20'000; ++round) {
    PreSharedKeys keys;
    for (size_t i = random() % 6; i > 0; --i) {
      PreSharedKey key{std::to_string(i), {}, crypto::Secret(Bytes(8, 1))};
      for (size_t n = random() % 4; n > 0; --n) key.ids.push_back(any_id());
      keys.push_back(std::move(key));
    }
    const Identity local = any_id().value_or(id("gw"));
    const auto remote = any_id();
    ASSERT_EQ(keys.find(local, remote), ask_all(keys, local, remote)) << "round " << round;
    found += keys.find(local, remote) != nullptr;
  }
  EXPECT_GT(found, 5000u);
}

// --- Signatures ---

PrivateKey private_key(const std::string& kind) {
  return PrivateKey::parse(read_file("gw-" + kind + ".key"), "").value();
}
class Signatures : public testing::TestWithParam<const char*> {};

TEST_P(Signatures, WithEveryHashThatThePeerKnows) {
  const Side side;
  const PrivateKey key = private_key(GetParam());
  std::vector<std::vector<Hash>> lists{
      kAllHashes, {Hash::kSha512, Hash::kIdentity}, {Hash::kSha384, Hash::kIdentity}};
  for (const auto& hashes : lists) {
    const auto auth = make_signature_auth(side.view(), key, hashes);
    ASSERT_TRUE(auth) << auth.error().text;
    EXPECT_EQ(auth->method, AuthMethod::kDigitalSignature);
    EXPECT_TRUE(verify_signature_auth(side.view(), key.public_key(), *auth));
  }
}
TEST_P(Signatures, EveryBitCounts) {
  const Side side;
  const PrivateKey key = private_key(GetParam());
  const Authentication auth = make_signature_auth(side.view(), key, kAllHashes).value();
  for (size_t i = 0; i < auth.data.size(); ++i) {
    Authentication forged = auth;
    forged.data[i] ^= 1;
    EXPECT_FALSE(verify_signature_auth(side.view(), key.public_key(), forged)) << "byte " << i;
  }
  for (size_t size = 0; size < auth.data.size(); ++size) {
    const Authentication cut{auth.method, Bytes(auth.data.begin(), auth.data.begin() + size)};
    EXPECT_FALSE(verify_signature_auth(side.view(), key.public_key(), cut)) << size;
  }
  Side other;
  other.identity = id("gx.example.org");
  EXPECT_FALSE(verify_signature_auth(other.view(), key.public_key(), auth));
}
TEST_P(Signatures, AnotherKeyRefuses) {
  const Side side;
  const Authentication auth = make_signature_auth(side.view(), private_key(GetParam()), kAllHashes).value();
  for (const std::string kind : {"rsa", "ecdsa", "ed25519"})
    if (kind != GetParam()) {
      EXPECT_FALSE(verify_signature_auth(side.view(), private_key(kind).public_key(), auth)) << kind;
    }
}
INSTANTIATE_TEST_SUITE_P(Kinds, Signatures, testing::Values("rsa", "ecdsa", "ed25519"));

TEST(SignatureScheme, Choice) {
  const auto chosen = [](KeyType key, std::vector<Hash> hashes) { return choose_scheme(key, hashes); };
  using S = SignatureScheme;
  EXPECT_EQ(chosen(KeyType::kRsa, kAllHashes), (S{KeyType::kRsa, Hash::kSha256, RsaPadding::kPss}));
  EXPECT_EQ(chosen(KeyType::kRsa, {Hash::kSha512}), (S{KeyType::kRsa, Hash::kSha512, RsaPadding::kPss}));
  EXPECT_EQ(chosen(KeyType::kEcdsaP384, kAllHashes), (S{KeyType::kEcdsaP384, Hash::kSha384}));
  EXPECT_EQ(chosen(KeyType::kEcdsaP384, {Hash::kSha256}), (S{KeyType::kEcdsaP384, Hash::kSha256}));
  EXPECT_EQ(chosen(KeyType::kEcdsaP521, kAllHashes), (S{KeyType::kEcdsaP521, Hash::kSha512}));
  EXPECT_EQ(chosen(KeyType::kEd25519, kAllHashes), (S{KeyType::kEd25519, Hash::kIdentity}));
  EXPECT_EQ(chosen(KeyType::kEd25519, {Hash::kSha256}), std::nullopt);
  EXPECT_EQ(chosen(KeyType::kRsa, {Hash::kSha1}), std::nullopt) << "SHA-1 is not negotiated";
  EXPECT_EQ(chosen(KeyType::kRsa, {}), std::nullopt);
}

TEST(SignatureScheme, PeersWithoutRfc7427) {
  const Side side;
  const PrivateKey rsa = private_key("rsa"), ecdsa = private_key("ecdsa");
  const Authentication by_rsa = make_signature_auth(side.view(), rsa, {}).value();
  EXPECT_EQ(by_rsa.method, AuthMethod::kRsaSignature);
  EXPECT_TRUE(verify_signature_auth(side.view(), rsa.public_key(), by_rsa));
  const Authentication by_ecdsa = make_signature_auth(side.view(), ecdsa, {}).value();
  EXPECT_EQ(by_ecdsa.method, AuthMethod::kEcdsaP384);
  EXPECT_EQ(by_ecdsa.data.size(), 96u);  // RFC 4754: r and s
  EXPECT_TRUE(verify_signature_auth(side.view(), ecdsa.public_key(), by_ecdsa));
  EXPECT_FALSE(
      verify_signature_auth(side.view(), ecdsa.public_key(), {AuthMethod::kEcdsaP256, by_ecdsa.data}));
  EXPECT_FALSE(verify_signature_auth(side.view(), rsa.public_key(), {AuthMethod::kEcdsaP384, by_ecdsa.data}));
  EXPECT_FALSE(
      verify_signature_auth(side.view(), ecdsa.public_key(), {AuthMethod::kRsaSignature, by_rsa.data}));
  EXPECT_FALSE(make_signature_auth(side.view(), private_key("ed25519"), {})) << "has no method of its own";
}

// RFC 7427 wraps a signature of ours by hand: what a peer could send.
Authentication wrapped(const Side& side, const PrivateKey& key, const SignatureScheme& scheme) {
  const Bytes identifier = crypto::algorithm_identifier(scheme);
  const Bytes signature = key.sign(scheme, signed_octets(side.view()).value()).value();
  Authentication auth{AuthMethod::kDigitalSignature, {static_cast<uint8_t>(identifier.size())}};
  auth.data.insert(auth.data.end(), identifier.begin(), identifier.end());
  auth.data.insert(auth.data.end(), signature.begin(), signature.end());
  return auth;
}
TEST(SignatureScheme, Pkcs1IsTakenAndSha1IsNot) {
  const Side side;
  const PrivateKey rsa = private_key("rsa"), ecdsa = private_key("ecdsa");
  const auto verified = [&](const PrivateKey& key, const SignatureScheme& scheme) {
    return verify_signature_auth(side.view(), key.public_key(), wrapped(side, key, scheme)).has_value();
  };
  for (const Hash hash : {Hash::kSha256, Hash::kSha384, Hash::kSha512}) {
    EXPECT_TRUE(verified(rsa, {KeyType::kRsa, hash, RsaPadding::kPkcs1}));
    EXPECT_TRUE(verified(ecdsa, {KeyType::kEcdsaP384, hash}));
  }
  EXPECT_FALSE(verified(rsa, {KeyType::kRsa, Hash::kSha1, RsaPadding::kPkcs1}));
  EXPECT_FALSE(verified(ecdsa, {KeyType::kEcdsaP384, Hash::kSha1}));
}

TEST(SignatureScheme, Announcements) {
  Message message;
  message.payloads.emplace_back(hash_announcement());
  EXPECT_EQ(announced_hashes(message), kAllHashes);
  const auto announced = [](Bytes data) {
    Message hostile;
    hostile.payloads.emplace_back(
        Notify{NotifyType::kSignatureHashAlgorithms, ProtocolId::kNone, {}, std::move(data)});
    return announced_hashes(hostile);
  };
  EXPECT_EQ(announced({0, 2, 0, 2, 0, 0, 0, 6, 1, 2, 0xff, 0xff, 0}), std::vector{Hash::kSha256});
  EXPECT_TRUE(announced({}).empty());
  EXPECT_TRUE(announced({2}).empty());
  EXPECT_TRUE(announced_hashes(Message{}).empty());
}

// --- Certificates ---

Certificate certificate(const std::string& name) {
  return Certificate::parse(read_file(name + ".pem")).value();
}
CertificateData cert_payload(const std::string& name) {
  return {CertEncoding::kX509Signature, certificate(name).to_der()};
}
std::shared_ptr<const crypto::TrustStore> trust_in(const std::string& authority, bool with_list = true) {
  auto trust = std::make_shared<crypto::TrustStore>();
  trust->add_authority(certificate(authority));
  if (with_list) trust->add_revocation_list(read_file("authority.crl")).value();
  return trust;
}

TEST(Certificates, SpeakForWhatTheyName) {
  const Certificate gw = certificate("gw-rsa");
  const auto speaks = [&](std::string_view text) { return speaks_for(gw, id(text)).has_value(); };
  for (const char* right : {"gw.example.org", "GW.example.ORG", "192.0.2.1", "2001:db8::1",
                            "Admin@EXAMPLE.org", "C=CH, O=Example, CN=gw", "c=ch, o=EXAMPLE, cn=GW"})
    EXPECT_TRUE(speaks(right)) << right;
  for (const char* wrong : {"gx.example.org", "gw.example.org.evil.net", "example.org", "192.0.2.2",
                            "2001:db8::2", "admin@example.org", "root@example.org", "C=CH, O=Example, CN=gx",
                            "C=CH, O=Example", "C=CH, O=Example, CN=*", "a.wild.example.org", "keyid:gw"})
    EXPECT_FALSE(speaks(wrong)) << wrong;
  EXPECT_FALSE(speaks_for(gw, {IdType::kFqdn, bytes("*.wild.example.org")})) << "a wildcard is nobody's name";
  EXPECT_FALSE(speaks_for(gw, {IdType::kFqdn, {}}));
  EXPECT_FALSE(speaks_for(gw, {IdType::kFqdn, bytes("gw")})) << "the CN is no FQDN";
  EXPECT_FALSE(speaks_for(gw, {IdType::kIpv4, {192, 0, 2}}));
  EXPECT_FALSE(speaks_for(gw, {IdType::kDistinguishedName, bytes("\x30\x80garbage")}));
}

TEST(Certificates, RequestNamesTheAuthorities) {
  crypto::TrustStore trust;
  trust.add_authority(certificate("root"));
  trust.add_authority(certificate("stranger"));
  const CertificateRequest request = certificate_request(trust);
  EXPECT_EQ(request.encoding, CertEncoding::kX509Signature);
  Bytes expected;
  for (const char* name : {"root", "stranger"}) {
    const auto hash = certificate(name).key_hash();
    expected.insert(expected.end(), hash.begin(), hash.end());
  }
  EXPECT_EQ(request.authorities, expected);
}

TEST(Certificates, SentUpToTheAuthorityThatThePeerHas) {
  const LocalCredential credential{{certificate("gw-rsa"), certificate("authority"), certificate("root")},
                                   {}};
  const auto sent = [&](const std::vector<std::string>& named) {
    Message message;
    for (const std::string& name : named) {
      const auto hash = certificate(name).key_hash();
      message.payloads.emplace_back(
          CertificateRequest{CertEncoding::kX509Signature, Bytes(hash.begin(), hash.end())});
    }
    return certificates_to_send(credential, message).size();
  };
  EXPECT_EQ(sent({"root"}), 2u);
  EXPECT_EQ(sent({"authority"}), 1u);
  EXPECT_EQ(sent({"stranger", "authority"}), 1u);
  EXPECT_EQ(sent({"stranger"}), 3u) << "it names none of ours: it gets all";
  EXPECT_EQ(sent({}), 3u);
  EXPECT_EQ(sent({"gw-rsa"}), 3u) << "the leaf always";
  EXPECT_EQ(certificates_to_send(credential, {}).front().data, certificate("gw-rsa").to_der());
}

// --- A connection's whole authentication: we are "hub", the peer is "gw" ---

class Peer : public Test {
 protected:
  Peer() {
    hub_.auth = gw_.auth = AuthKind::kX509;
    hub_.trust = trust_in("root");
    use("rsa");
    init_.payloads.emplace_back(hash_announcement());
  }
  void use(const std::string& kind) {
    auto credential = std::make_shared<LocalCredential>();
    credential->chain = {certificate("gw-" + kind), certificate("authority")};
    credential->key = private_key(kind);
    gw_.credential = credential;
  }
  // What the peer sends.
  Message authentication(const Side& side) const {
    Message message;
    message.payloads =
        make_authentication(gw_, keys_, side.view(), hub_id_, {.init = init_, .auth = nullptr}).value();
    return message;
  }
  Result<void> verify(const Side& side, const Message& message) const {
    const IpAddress remote = Ipv4Address::from_host(0xc0000201);  // 192.0.2.1
    return verify_peer({hub_, keys_, hub_id_, remote, kNow}, side.view(), message);
  }
  std::string refusal(const Side& side, const Message& message) const {
    const auto verified = verify(side, message);
    return verified ? "accepted" : verified.error().text;
  }
  std::string refusal() const { return refusal(side_, authentication(side_)); }

  const Identity hub_id_ = id("hub.example.org");
  ConnectionConfig hub_, gw_;
  PreSharedKeys keys_;
  Message init_;
  Side side_;
};

TEST_F(Peer, CertificatesOfEveryKind) {
  for (const char* kind : {"rsa", "ecdsa", "ed25519"}) {
    use(kind);
    EXPECT_EQ(refusal(), "accepted") << kind;
  }
}
TEST_F(Peer, EveryNameOfTheCertificate) {
  for (const char* name : {"192.0.2.1", "2001:db8::1", "C=CH, O=Example, CN=gw", "Admin@example.org"}) {
    side_.identity = id(name);
    EXPECT_EQ(refusal(), "accepted") << name;
  }
}
TEST_F(Peer, MustBeTheConfiguredOne) {
  hub_.remote_id = id("other.example.org");
  EXPECT_EQ(refusal(), "the peer says it is 'gw.example.org', but 'other.example.org' is configured");
  hub_.remote_id = id("*.example.org");
  EXPECT_EQ(refusal(), "accepted");
  hub_.remote_id.reset();
  hub_.remote_id_is_address = true;
  EXPECT_EQ(refusal(), "the peer says it is 'gw.example.org', but '192.0.2.1' is configured");
}
TEST_F(Peer, MustBeNamedByItsCertificate) {
  side_.identity = id("boss.example.org");
  EXPECT_EQ(refusal(),
            "the peer says it is 'boss.example.org', but its certificate C=CH, O=Example, CN=gw is not for "
            "that name");
}
TEST_F(Peer, OfAnUnknownAuthority) {
  hub_.trust = trust_in("stranger", false);
  EXPECT_TRUE(refusal().starts_with("the peer's certificate: ")) << refusal();
  hub_.trust = nullptr;
  EXPECT_EQ(refusal(), "no certificate authority is configured to check the peer's certificate");
}
TEST_F(Peer, Revoked) {
  auto credential = std::make_shared<LocalCredential>();
  credential->chain = {certificate("revoked"), certificate("authority")};
  credential->key = PrivateKey::parse(read_file("revoked.key"), "").value();
  gw_.credential = credential;
  EXPECT_NE(refusal().find("CN=revoked"), std::string::npos) << refusal();
  EXPECT_NE(refusal().find("revoked", refusal().find("CN=revoked") + 10), std::string::npos) << refusal();
  hub_.trust = trust_in("root", false);
  EXPECT_EQ(refusal(), "accepted") << "it is the list that refuses it";
}
TEST_F(Peer, AStolenCertificateWithoutItsKey) {
  Message message = authentication(side_);
  std::get<CertificateData>(message.payloads.front()) = cert_payload("gw-ecdsa");
  EXPECT_EQ(refusal(side_, message), "the peer's digital signature is RSA, but its key is ECDSA P-384");
}
TEST_F(Peer, WithoutTheIntermediate) {
  Message message = authentication(side_);
  message.payloads.erase(message.payloads.begin() + 1);
  EXPECT_TRUE(refusal(side_, message).starts_with("the peer's certificate: "));
}
TEST_F(Peer, WithBadCertificates) {
  const auto with = [&](const std::vector<CertificateData>& certificates) {
    Message message;
    for (const CertificateData& each : certificates) message.payloads.emplace_back(each);
    message.payloads.push_back(authentication(side_).payloads.back());
    return refusal(side_, message);
  };
  EXPECT_EQ(with({}), "the peer sends no certificate");
  EXPECT_EQ(with({{CertEncoding::kHashAndUrl, bytes("http://evil.example.net/")}}),
            "the peer sends no certificate");
  EXPECT_TRUE(with({{CertEncoding::kX509Signature, bytes("garbage")}})
                  .starts_with("the peer's certificate 1 cannot be read"));
  EXPECT_EQ(with(std::vector<CertificateData>(17, cert_payload("authority"))),
            "the peer sends more than 16 certificates");
  EXPECT_EQ(with({cert_payload("gw-rsa"), cert_payload("stranger"), cert_payload("authority")}), "accepted");
  EXPECT_NE(with({cert_payload("authority"), cert_payload("gw-rsa")}), "accepted") << "the leaf comes first";
}
TEST_F(Peer, TheWayMustBeTheConfiguredOne) {
  keys_.push_back(key_for("shared", {}));
  Message by_key;
  by_key.payloads.emplace_back(make_shared_key_auth(side_.view(), keys_[0].secret.view()).value());
  EXPECT_EQ(refusal(side_, by_key),
            "the peer authenticates by a pre-shared key, but a certificate is configured");
  const Message by_certificate = authentication(side_);
  hub_.auth = AuthKind::kPreSharedKey;
  EXPECT_EQ(refusal(side_, by_key), "accepted");
  EXPECT_EQ(refusal(side_, by_certificate),
            "psk shared: the peer authenticates by a digital signature, but a pre-shared key is configured");
  for (const AuthKind kind : {AuthKind::kPreSharedKey, AuthKind::kRawRsa, AuthKind::kX509}) {
    hub_.auth = kind;
    hub_.remote_key = private_key("rsa").public_key();
    Message by_nothing;
    by_nothing.payloads.emplace_back(Authentication{AuthMethod::kNull, Bytes(32, 0)});
    EXPECT_NE(refusal(side_, by_nothing), "accepted");
    EXPECT_EQ(refusal(side_, {}), "the peer sends no AUTH payload: it wants EAP, which is not supported");
  }
}
TEST_F(Peer, RawRsaKeys) {
  hub_.auth = gw_.auth = AuthKind::kRawRsa;
  EXPECT_EQ(refusal(), "no public key of the peer is configured");
  hub_.remote_key = crypto::PublicKey::parse(read_file("gw-rsa.pub")).value();
  EXPECT_EQ(refusal(), "accepted");
  EXPECT_EQ(authentication(side_).payloads.size(), 1u) << "no certificates";
  hub_.remote_key = private_key("ecdsa").public_key();
  EXPECT_NE(refusal(), "accepted");
}
TEST_F(Peer, SharedKeys) {
  hub_.auth = gw_.auth = AuthKind::kPreSharedKey;
  const auto made = make_authentication(gw_, keys_, side_.view(), hub_id_, {.init = init_, .auth = nullptr});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().text, "there is no pre-shared key for 'gw.example.org' and 'hub.example.org'");
  keys_.push_back(key_for("site", {"gw.example.org", "hub.example.org"}));
  const Message message = authentication(side_);
  EXPECT_EQ(refusal(side_, message), "accepted");
  PreSharedKey other = key_for("site", {"gw.example.org", "hub.example.org"});
  other.secret = crypto::Secret(Bytes(8, 2));
  keys_ = {};
  keys_.push_back(std::move(other));
  EXPECT_EQ(refusal(side_, message), "psk site: the peer's pre-shared key is not ours");
  side_.identity = id("gx.example.org");
  EXPECT_EQ(refusal(side_, message), "there is no pre-shared key for 'hub.example.org' and 'gx.example.org'");
}
TEST_F(Peer, RequestsOfTheRightMessageCount) {
  const auto hash = certificate("authority").key_hash();
  const CertificateRequest request{CertEncoding::kX509Signature, Bytes(hash.begin(), hash.end())};
  Message auth;
  auth.payloads.emplace_back(request);
  const auto count = [&](const PeerMessages& seen) {
    return make_authentication(gw_, keys_, side_.view(), hub_id_, seen).value().size();
  };
  EXPECT_EQ(count({.init = init_, .auth = nullptr}), 3u);
  EXPECT_EQ(count({.init = init_, .auth = &auth}), 2u) << "the responder sees CERTREQ in IKE_AUTH";
  init_.payloads.emplace_back(request);
  EXPECT_EQ(count({.init = init_, .auth = nullptr}), 2u) << "the initiator in the response to IKE_SA_INIT";
}
TEST_F(Peer, Identities) {
  const IpAddress address = Ipv4Address::from_host(0xc0000201);
  ConnectionConfig connection;
  EXPECT_EQ(local_identity(connection, address), id("192.0.2.1"));
  EXPECT_EQ(expected_identity(connection, address), std::nullopt);
  connection.remote_id_is_address = true;
  EXPECT_EQ(expected_identity(connection, address), id("192.0.2.1"));
  connection.local_id = id("hub");
  connection.remote_id = id("gw");
  EXPECT_EQ(local_identity(connection, address), id("hub"));
  EXPECT_EQ(expected_identity(connection, address), id("gw"));
}

}  // namespace
}  // namespace espalier::ike::test
