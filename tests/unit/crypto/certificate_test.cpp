// crypto/certificate.hpp with the certificates of data/make_pki.py.
#include "crypto/certificate.hpp"

#include <gtest/gtest.h>

#include <random>

#include "crypto/prf.hpp"
#include "tests/unit/crypto/pki_files.hpp"

namespace espalier::crypto {
namespace {

using test::day;
using test::read_data;
using Bytes = std::vector<uint8_t>;

Certificate certificate(const std::string& name) {
  return Certificate::parse(read_data("pki/" + name + ".pem")).value();
}

const auto kNow = day(2027, 1, 1);

// What verify() says of `leaf` behind the peer's intermediates; "" when it is right.
std::string judge(const TrustStore& store, const std::string& leaf,
                  std::initializer_list<std::string> others = {},
                  std::chrono::system_clock::time_point now = kNow) {
  std::vector<Certificate> intermediates;
  for (const std::string& name : others) intermediates.push_back(certificate(name));
  const auto result = store.verify(certificate(leaf), intermediates, now);
  return result ? "" : result.error();
}

TrustStore trusting(std::initializer_list<std::string> names) {
  TrustStore store;
  for (const std::string& name : names) store.add_authority(certificate(name));
  return store;
}

std::string dn(const std::string& common) {
  return "C=CH, O=Espalier Test, CN=" + common;
}

TEST(Certificates, TellWhoTheyAreFor) {
  const Certificate leaf = certificate("leaf");
  EXPECT_EQ(leaf.to_der(), read_data("pki/leaf.der"));
  EXPECT_EQ(Certificate::parse(read_data("pki/leaf.der")).value().to_der(), leaf.to_der());
  EXPECT_EQ(leaf.subject_text(), dn("gw"));
  EXPECT_EQ(leaf.subject(), parse_distinguished_name(dn("gw")).value());
  EXPECT_EQ(leaf.dns_names(), (std::vector<std::string>{"gw.example.org", "gw2.example.org"}));
  EXPECT_EQ(leaf.emails(), (std::vector<std::string>{"admin@example.org"}));
  EXPECT_EQ(leaf.ip_addresses(),
            (std::vector<Bytes>{{192, 0, 2, 1}, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}));
  EXPECT_EQ(leaf.not_before(), day(2026, 1, 1));
  EXPECT_EQ(leaf.not_after(), day(2036, 1, 1));
  EXPECT_EQ(leaf.public_key().value().type(), KeyType::kEcdsaP256);
  EXPECT_TRUE(certificate("root").dns_names().empty());
}

// openssl x509 -pubkey | openssl pkey -pubin -outform DER | sha1sum.
TEST(Certificates, KeyHashIsThatOfTheSubjectPublicKeyInfo) {
  const Certificate rsa = certificate("rsa-root");
  EXPECT_EQ(rsa.key_hash(), sha1({rsa.public_key().value().to_der()}).value());
  EXPECT_NE(rsa.key_hash(), certificate("root").key_hash());
}

// A name that reads "gw.example.org" up to its zero byte is nobody's.
TEST(Certificates, NamesWithAZeroByteAreLeftOut) {
  EXPECT_TRUE(certificate("zero-name").dns_names().empty());
}

TEST(Certificates, AllOfAFile) {
  const auto all = Certificate::parse_all(read_data("pki/bundle.pem")).value();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].subject_text(), dn("gw"));
  EXPECT_EQ(all[2].subject_text(), dn("Root"));
  EXPECT_EQ(Certificate::parse_all(read_data("pki/leaf.der")).value().size(), 1u);
  Bytes damaged = read_data("pki/bundle.pem");
  damaged[damaged.size() - 100] = '!';
  EXPECT_FALSE(Certificate::parse_all(damaged));
  EXPECT_FALSE(Certificate::parse_all(read_data("keys/rsa.pem")));
  EXPECT_FALSE(Certificate::parse_all({}));
}

TEST(Chains, ToTheRootOverAnIntermediate) {
  const TrustStore store = trusting({"root"});
  EXPECT_EQ(judge(store, "leaf", {"middle"}), "");
  EXPECT_EQ(judge(store, "leaf", {"limited", "middle", "leaf", "root"}), "");
  EXPECT_EQ(judge(store, "no-usage", {"middle"}), "");
  EXPECT_EQ(judge(store, "non-repudiation", {"middle"}), "");
  EXPECT_EQ(judge(store, "leaf"), dn("gw") + ": unable to get local issuer certificate");
  EXPECT_EQ(judge(TrustStore(), "leaf", {"middle", "root"}),
            dn("Root") + ": self-signed certificate in certificate chain");
  EXPECT_EQ(judge(trusting({"middle"}), "leaf"), "");  // an authority need not be a root
  EXPECT_EQ(judge(trusting({"rsa-root"}), "rsa"), "");
}

TEST(Chains, ToAFalseRootOfTheSameName) {
  EXPECT_NE(judge(trusting({"false-root"}), "leaf", {"middle"}), "");
  EXPECT_EQ(judge(trusting({"false-root", "root"}), "leaf", {"middle"}), "");
}

TEST(Chains, SelfSigned) {
  EXPECT_EQ(judge(trusting({"root"}), "self-signed"), dn("gw") + ": self-signed certificate");
  EXPECT_EQ(judge(trusting({"root", "self-signed"}), "self-signed"), "");
}

TEST(Chains, OutOfTheirTime) {
  const TrustStore store = trusting({"root"});
  EXPECT_EQ(judge(store, "leaf", {"middle"}, day(2025, 12, 31)),
            dn("Root") + ": certificate is not yet valid");
  EXPECT_EQ(judge(store, "leaf", {"middle"}, day(2036, 1, 2)), dn("Root") + ": certificate has expired");
}

TEST(Chains, AuthoritiesThatAreNone) {
  const std::string invalid = ": is no authority (basicConstraints without CA)";
  EXPECT_EQ(judge(trusting({"root"}), "under-leaf", {"leaf", "middle"}),
            dn("gw") + ": invalid CA certificate");
  EXPECT_EQ(judge(trusting({"root"}), "under-plain-middle", {"plain-middle"}),
            dn("Plain Middle") + ": invalid CA certificate");
  EXPECT_NE(judge(trusting({"plain-root"}), "under-plain-root"), "");
  EXPECT_EQ(judge(trusting({"usage-root"}), "under-usage-root"), dn("Usage Root") + invalid);
  EXPECT_NE(judge(trusting({"plain-middle"}), "under-plain-middle"), "");
  EXPECT_NE(judge(trusting({"root"}), "under-no-signing", {"no-signing"}), "");
}

TEST(Chains, KeyUsageWithoutSignatures) {
  EXPECT_EQ(judge(trusting({"root"}), "encipher", {"middle"}),
            dn("encipher") + ": its key usage does not allow signatures");
}

TEST(Chains, NameConstraints) {
  EXPECT_EQ(judge(trusting({"root"}), "inside", {"limited"}), "");
  EXPECT_EQ(judge(trusting({"root"}), "outside", {"limited"}),
            dn("outside") + ": permitted subtree violation");
}

TEST(Chains, UnknownCriticalExtensionAndWeakHash) {
  EXPECT_EQ(judge(trusting({"root"}), "critical", {"middle"}),
            dn("critical") + ": unhandled critical extension");
  EXPECT_EQ(judge(trusting({"rsa-root"}), "sha1"), dn("sha1") + ": CA signature digest algorithm too weak");
}

TEST(RevocationLists, RefuseWhatTheyHave) {
  for (const std::string name : {"pki/middle.crl", "pki/middle.crl.der"}) {
    TrustStore store = trusting({"root"});
    EXPECT_EQ(judge(store, "revoked", {"middle"}), "");
    ASSERT_TRUE(store.add_revocation_list(read_data(name)));
    EXPECT_EQ(judge(store, "revoked", {"middle"}), dn("revoked gw") + ": certificate revoked");
    EXPECT_EQ(judge(store, "leaf", {"middle"}), "");  // nothing is known of the root's
  }
}

TEST(RevocationLists, RefuseIntermediatesToo) {
  TrustStore store = trusting({"root"});
  ASSERT_TRUE(store.add_revocation_list(read_data("pki/root.crl")));
  EXPECT_EQ(judge(store, "inside", {"limited"}), dn("Limited") + ": certificate revoked");
  EXPECT_EQ(judge(store, "leaf", {"middle"}), "");
}

TEST(RevocationLists, OutOfTheirTimeOrForgedRefuseAll) {
  TrustStore store = trusting({"root"});
  ASSERT_TRUE(store.add_revocation_list(read_data("pki/middle.crl")));
  EXPECT_EQ(judge(store, "leaf", {"middle"}, day(2027, 6, 2)), dn("gw") + ": CRL has expired");
  EXPECT_EQ(judge(store, "leaf", {"middle"}, day(2026, 5, 31)), dn("gw") + ": CRL is not yet valid");
  TrustStore forged = trusting({"root"});
  ASSERT_TRUE(forged.add_revocation_list(read_data("pki/forged.crl")));
  EXPECT_EQ(judge(forged, "leaf", {"middle"}), dn("gw") + ": CRL signature failure");
  TrustStore other_key = trusting({"root"});  // there is a list of the issuer's name, but it cannot be used
  ASSERT_TRUE(other_key.add_revocation_list(read_data("pki/other-key.crl")));
  EXPECT_EQ(judge(other_key, "leaf", {"middle"}), dn("gw") + ": unable to get certificate CRL");
  EXPECT_FALSE(store.add_revocation_list(read_data("pki/leaf.pem")));
  EXPECT_FALSE(store.add_revocation_list({}));
}

// Whatever comes from the wire: no crash, no certificate out of a part of one.
TEST(Certificates, HostileBytes) {
  const Bytes der = read_data("pki/leaf.der");
  for (size_t size = 0; size < der.size(); ++size)
    EXPECT_FALSE(Certificate::parse({der.data(), size})) << size;
  const Bytes huge[] = {{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff},
                        {0x30, 0x88, 255, 255, 255, 255, 255, 255, 255, 255},
                        {0x30, 0x80}};
  for (const Bytes& bytes : huge) EXPECT_FALSE(Certificate::parse(bytes));
  Bytes longer = der;
  longer.push_back(0);
  EXPECT_FALSE(Certificate::parse(longer));
  Bytes deep;
  for (int i = 0; i < 20000; ++i) deep.insert(deep.end(), {0x30, 0x80});
  EXPECT_FALSE(Certificate::parse(deep));
  std::mt19937 chance(1);
  const TrustStore store = trusting({"root"});
  const std::vector<Certificate> others{certificate("middle")};
  for (int round = 0; round < 3000; ++round) {
    Bytes wrong = der;
    for (int i = 0; i < 1 + round % 3; ++i)
      wrong[chance() % wrong.size()] ^= static_cast<uint8_t>(1 << chance() % 8);
    const auto parsed = Certificate::parse(wrong);
    if (wrong == der || !parsed) continue;
    (void)parsed->subject_text(), (void)parsed->dns_names(), (void)parsed->ip_addresses(),
        (void)parsed->emails();
    (void)parsed->not_after(), (void)parsed->key_hash(), (void)parsed->public_key();
    EXPECT_FALSE(store.verify(*parsed, others, kNow)) << round;
  }
}

TEST(Names, EverySpellingIsTheSame) {
  const Bytes expected = certificate("leaf").subject();
  for (const std::string text :
       {"C=CH, O=Espalier Test, CN=gw", "C = CH, O = Espalier Test, CN = gw", "c=CH,o=Espalier Test,cn=gw",
        "/C=CH/O=Espalier Test/CN=gw", "countryName=CH, organizationName=\"Espalier Test\", 2.5.4.3=gw",
        "  C=CH ,  O=  Espalier Test , CN=gw "})
    EXPECT_EQ(parse_distinguished_name(text).value(), expected) << text;
}

TEST(Names, AttributesOfStrongSwan) {
  const std::pair<std::string, std::string> pairs[] = {
      {"E=a@b.example", "emailAddress=a@b.example"},
      {"G=Ada", "GN=Ada"},
      {"UID=x", "userId=x"},
      {"DC=example, DC=org", "/DC=example/DC=org"},
      {"serialNumber=7", "2.5.4.5=7"},
      {"ST=Bern, L=Bern", "stateOrProvinceName=Bern, L=Bern"}};
  for (const auto& [one, two] : pairs)
    EXPECT_EQ(parse_distinguished_name(one).value(), parse_distinguished_name(two).value()) << one;
}

TEST(Names, TextGoesThereAndBack) {
  for (const std::string text : {"C=CH, O=Espalier Test, CN=gw", "O=A\\, B, CN=gw", "CN=a\\=b\\\"c\\+d",
                                 "CN=x+UID=y, O=Z", "CN=Zürich", "CN=back\\\\slash"}) {
    const Bytes der = parse_distinguished_name(text).value();
    EXPECT_EQ(parse_distinguished_name(name_text(der)).value(), der) << text << " -> " << name_text(der);
  }
  EXPECT_EQ(name_text(parse_distinguished_name("O=\"A, B\", CN=gw").value()), "O=A\\, B, CN=gw");
  EXPECT_EQ(name_text(parse_distinguished_name("/O=A, B/CN=a/b").value()), "O=A\\, B, CN=a/b");
  EXPECT_EQ(name_text(parse_distinguished_name("CN=a\\1b[2J").value()),
            "CN=a\\1B[2J");  // no escape for a terminal
  EXPECT_EQ(name_text(parse_distinguished_name("CN=Z\xc3\xbcrich").value()), "CN=Z\\C3\\BCrich");
  // U+009B, by which some terminals take commands; U+202E, which turns what follows around.
  EXPECT_EQ(name_text(parse_distinguished_name("CN=a\xc2\x9b"
                                               "2J\xe2\x80\xae")
                          .value()),
            "CN=a\\C2\\9B2J\\E2\\80\\AE");
  EXPECT_EQ(name_text(Bytes{0x30, 0}), "(an empty distinguished name)");
  EXPECT_EQ(name_text(Bytes{1, 2, 3}), "(not a distinguished name)");
}

TEST(Names, WhatIsNone) {
  for (const std::string text :
       {"", " ", "gw.example.org", "XYZ=1", "=x", "C=Switzerland", "CN", "C=CH, gw", "C="})
    EXPECT_FALSE(parse_distinguished_name(text)) << text;
}

bool same(const std::string& pattern, const std::string& name) {
  return same_name(parse_distinguished_name(pattern).value(), parse_distinguished_name(name).value());
}

TEST(Names, AreComparedAsRfc5280Says) {
  EXPECT_TRUE(same("C=CH, O=Espalier Test, CN=gw", "C=ch, O=ESPALIER  test, CN=GW"));
  EXPECT_FALSE(same("C=CH, O=Espalier Test, CN=gw", "C=CH, O=EspalierTest, CN=gw"));
  EXPECT_FALSE(same("C=CH, CN=gw", "CN=gw, C=CH"));
  EXPECT_FALSE(same("C=CH, CN=gw", "C=CH, CN=gw, CN=gw"));
  EXPECT_FALSE(same("CN=x+UID=y", "CN=x, UID=y"));
  EXPECT_FALSE(same("CN=gw", "OU=gw"));
}

TEST(Names, WildcardsStandForOneValue) {
  EXPECT_TRUE(same("C=*, O=Espalier Test, CN=*", "C=CH, O=Espalier Test, CN=gw"));
  EXPECT_FALSE(same("C=CH, O=*", "C=CH, O=Espalier Test, CN=gw"));
  EXPECT_FALSE(same("C=CH, CN=gw", "C=CH, CN=*"));
  EXPECT_FALSE(same("CN=g*", "CN=gw"));
  EXPECT_FALSE(same_name(Bytes{1}, Bytes{1}));
}

}  // namespace
}  // namespace espalier::crypto
