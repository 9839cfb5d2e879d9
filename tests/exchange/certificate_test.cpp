// IKE_AUTH with certificates and signatures between two cores: every kind of key on either side, and refusals
// that each side's operator understands. The certificates are those of tests/unit/ike_sa/data.
#include <fstream>
#include <iterator>

#include "ike/identity.hpp"
#include "ike/wire/codec.hpp"
#include "tests/exchange/lab.hpp"

namespace espalier::ike::exchange {
namespace {

Bytes file(const std::string& name) {
  std::ifstream in(std::string(IKE_SA_DATA) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::shared_ptr<const LocalCredential> credential(const std::string& name) {
  auto made = std::make_shared<LocalCredential>();
  made->chain = {crypto::Certificate::parse(file(name + ".pem")).value(),
                 crypto::Certificate::parse(file("authority.pem")).value()};
  made->key.emplace(crypto::PrivateKey::parse(file(name + ".key"), "").value());
  return made;
}

std::shared_ptr<const crypto::TrustStore> trust() {
  auto made = std::make_shared<crypto::TrustStore>();
  made->add_authority(crypto::Certificate::parse(file("root.pem")).value());
  EXPECT_TRUE(made->add_revocation_list(file("authority.crl")));
  return made;
}

class Certificates : public Lab, public ::testing::WithParamInterface<std::tuple<const char*, const char*>> {
 protected:
  void use(const std::string& left_name, const std::string& right_name) {
    const auto side = [](const std::string& name, std::string ours, std::string theirs) {
      return [=](ConnectionConfig& c) {
        c.auth = AuthKind::kX509;
        c.credential = credential(name);
        c.trust = trust();
        c.local_id = *parse_identity(ours);
        c.remote_id = *parse_identity(theirs);
      };
    };
    left_config.change = side(left_name, "gw.example.org", "Admin@example.org");
    right_config.change = side(right_name, "Admin@example.org", "gw.example.org");
  }
  std::string last_failure(const Side& side) const {
    return side.core().connections(net.now).front().last_failure;
  }
};

TEST_P(Certificates, ComeUp) {
  const auto [left_name, right_name] = GetParam();
  use(left_name, right_name);
  configure();
  bring_up();
  expect_settled();
}
INSTANTIATE_TEST_SUITE_P(Kinds, Certificates,
                         ::testing::Combine(::testing::Values("gw-rsa", "gw-ecdsa", "gw-ed25519"),
                                            ::testing::Values("gw-rsa", "gw-ecdsa", "gw-ed25519")));

// Peers from anywhere, one of them by pre-shared key: which of them it is shows only after the answer that
// asks for a certificate.
TEST_F(Certificates, AreAskedForBesideAPreSharedKey) {
  use("gw-rsa", "gw-ecdsa");
  right_config.change = [change = right_config.change](ConnectionConfig& c) {
    change(c);
    c.remotes = {"any"};
  };
  configure();
  Configuration both = configuration_of(right_config);
  ConnectionConfig first = both.connections[0];
  first.name = "by-key";
  first.auth = AuthKind::kPreSharedKey;
  first.trust = nullptr;
  first.credential = nullptr;
  both.connections.insert(both.connections.begin(), first);
  right.configure(std::move(both));
  bring_up();
  const auto envelope = parse_envelope(net.sent.at(1).bytes);
  ASSERT_TRUE(envelope);
  const auto payloads = parse_payloads(envelope->first_payload, envelope->body);
  ASSERT_TRUE(payloads);
  EXPECT_NE((Message{envelope->header, *payloads}.find<CertificateRequest>()), nullptr);
}

TEST_F(Certificates, RevokedInitiatorIsRefused) {
  use("revoked", "gw-ecdsa");
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle(seconds{100});
  expect_down();
  EXPECT_NE(last_failure(right).find("revoked"), std::string::npos) << last_failure(right);
  EXPECT_NE(last_failure(left).find("AUTHENTICATION_FAILED"), std::string::npos) << last_failure(left);
}

// The responder takes the IKE SA for established; it has to be told (RFC 7296 section 2.21.2).
TEST_F(Certificates, RevokedResponderIsToldAndForgets) {
  use("gw-rsa", "revoked");
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle(seconds{100});
  expect_down();
  EXPECT_NE(last_failure(left).find("revoked"), std::string::npos) << last_failure(left);
  EXPECT_FALSE(last_failure(right).empty());
}

TEST_F(Certificates, IdentityMustBeInTheCertificate) {
  use("gw-rsa", "gw-ecdsa");
  left_config.change = [change = left_config.change](ConnectionConfig& c) {
    change(c);
    c.local_id = *parse_identity("other.example.org");
  };
  right_config.change = [change = right_config.change](ConnectionConfig& c) {
    change(c);
    c.remote_id = *parse_identity("other.example.org");
  };
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle(seconds{100});
  expect_down();
}

TEST_F(Certificates, AgainstPreSharedKey) {
  use("gw-rsa", "gw-ecdsa");
  left_config.change = {};
  configure();
  ASSERT_TRUE(left.command(Initiate{"right", ""}));
  settle(seconds{100});
  expect_down();
}

}  // namespace
}  // namespace espalier::ike::exchange
