// crypto/signature.hpp against keys and signatures of the openssl command (data/make_pki.py) and RFC 7427
// appendix A.
#include "crypto/signature.hpp"

#include <gtest/gtest.h>

#include "tests/unit/crypto/pki_files.hpp"

namespace espalier::crypto {
namespace {

using test::read_data;
using Bytes = std::vector<uint8_t>;

Bytes from_hex(const std::string& text) {
  Bytes bytes;
  for (size_t i = 0; i < text.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

PrivateKey private_key(const std::string& name) {
  return PrivateKey::parse(read_data("keys/" + name + ".pem"), "").value();
}
PublicKey public_key(const std::string& name) {
  return PublicKey::parse(read_data("keys/" + name + ".pub")).value();
}

struct Case {
  std::string key;
  std::string signature;  // of the openssl command
  SignatureScheme scheme;
};

std::vector<Case> cases() {
  std::vector<Case> all{{"ed25519", "ed25519", {KeyType::kEd25519, Hash::kIdentity, RsaPadding::kPkcs1}}};
  const std::pair<std::string, Hash> hashes[] = {
      {"sha1", Hash::kSha1}, {"sha256", Hash::kSha256}, {"sha384", Hash::kSha384}, {"sha512", Hash::kSha512}};
  const std::pair<std::string, KeyType> curves[] = {
      {"ec256", KeyType::kEcdsaP256}, {"ec384", KeyType::kEcdsaP384}, {"ec521", KeyType::kEcdsaP521}};
  for (const auto& [name, hash] : hashes) {
    all.push_back({"rsa", "rsa-" + name, {KeyType::kRsa, hash, RsaPadding::kPkcs1}});
    all.push_back({"rsa", "rsa-pss-" + name, {KeyType::kRsa, hash, RsaPadding::kPss}});
    for (const auto& [key, type] : curves)
      all.push_back({key, key + "-" + name, {type, hash, RsaPadding::kPkcs1}});
  }
  return all;
}

const Bytes& message() {
  static const Bytes bytes = read_data("keys/message");
  return bytes;
}

TEST(Signature, OpenSslsAreVerifiedByTheirSchemeOnly) {
  const auto all = cases();
  ASSERT_EQ(all.size(), 21u);
  for (const Case& right : all) {
    SCOPED_TRACE(right.signature);
    const PublicKey key = public_key(right.key);
    EXPECT_EQ(key.type(), right.scheme.key);
    const Bytes signature = read_data("keys/" + right.signature + ".sig");
    for (const Case& tried : all)
      EXPECT_EQ(key.verify(tried.scheme, message(), signature),
                tried.scheme == right.scheme ||
                    (is_ecdsa(right.scheme.key) && tried.scheme.hash == right.scheme.hash &&
                     tried.scheme.key == KeyType::kEcdsaP256))
          << tried.signature;
  }
}

TEST(Signature, OursAreVerifiedAndEveryChangeIsRefused) {
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.signature);
    const PrivateKey key = private_key(one.key);
    const PublicKey check = public_key(one.key);
    const Bytes signature = key.sign(one.scheme, message()).value();
    EXPECT_TRUE(check.verify(one.scheme, message(), signature));
    EXPECT_TRUE(key.public_key().verify(one.scheme, message(), signature));
    for (size_t at = 0; at < signature.size(); at += 3) {
      Bytes wrong = signature;
      wrong[at] ^= static_cast<uint8_t>(1 << at % 8);
      EXPECT_FALSE(check.verify(one.scheme, message(), wrong)) << at;
    }
    Bytes other = message();
    other.back() ^= 1;
    EXPECT_FALSE(check.verify(one.scheme, other, signature));
    Bytes longer = signature;
    longer.push_back(0);
    EXPECT_FALSE(check.verify(one.scheme, message(), longer));
    EXPECT_FALSE(check.verify(one.scheme, message(), {signature.data(), signature.size() - 1}));
    EXPECT_FALSE(check.verify(one.scheme, message(), {}));
  }
}

TEST(Signature, OfAnotherKey) {
  const SignatureScheme scheme;
  const Bytes signature = private_key("rsa-other").sign(scheme, message()).value();
  EXPECT_FALSE(public_key("rsa").verify(scheme, message(), signature));
  EXPECT_TRUE(private_key("rsa-other").public_key().verify(scheme, message(), signature));
}

TEST(Signature, RawEcdsaHasBothNumbersInFull) {
  const std::tuple<std::string, Hash, size_t> methods[] = {
      {"ec256", Hash::kSha256, 64}, {"ec384", Hash::kSha384, 96}, {"ec521", Hash::kSha512, 132}};
  for (const auto& [name, hash, bytes] : methods) {
    const PrivateKey key = private_key(name);
    const SignatureScheme scheme{key.type(), hash, RsaPadding::kPkcs1};
    for (int i = 0; i < 50; ++i) {  // some have leading zeros
      const Bytes raw = key.sign(scheme, message(), true).value();
      ASSERT_EQ(raw.size(), bytes);
      ASSERT_TRUE(key.public_key().verify(scheme, message(), raw, true));
      ASSERT_FALSE(key.public_key().verify(scheme, message(), raw));
    }
    EXPECT_FALSE(key.public_key().verify(scheme, message(), key.sign(scheme, message()).value(), true));
    EXPECT_FALSE(key.public_key().verify(scheme, message(), Bytes(bytes), true));
  }
}

TEST(Signature, OfASchemeThatIsNotTheKeys) {
  EXPECT_FALSE(private_key("rsa").sign({KeyType::kEd25519, Hash::kIdentity, RsaPadding::kPkcs1}, message()));
  EXPECT_FALSE(
      private_key("ed25519").sign({KeyType::kEd25519, Hash::kSha256, RsaPadding::kPkcs1}, message()));
  EXPECT_FALSE(private_key("rsa").sign({KeyType::kRsa, Hash::kIdentity, RsaPadding::kPkcs1}, message()));
  EXPECT_FALSE(private_key("ec256").sign({KeyType::kRsa, Hash::kSha256, RsaPadding::kPkcs1}, message()));
}

struct Identifier {
  SignatureScheme scheme;
  std::string der;
  bool sent;  // else accepted only
};

const Identifier kIdentifiers[] = {
    // RFC 7427 appendix A.1
    {{KeyType::kRsa, Hash::kSha1, RsaPadding::kPkcs1}, "300d06092a864886f70d0101050500", true},
    {{KeyType::kRsa, Hash::kSha256, RsaPadding::kPkcs1}, "300d06092a864886f70d01010b0500", true},
    {{KeyType::kRsa, Hash::kSha384, RsaPadding::kPkcs1}, "300d06092a864886f70d01010c0500", true},
    {{KeyType::kRsa, Hash::kSha512, RsaPadding::kPkcs1}, "300d06092a864886f70d01010d0500", true},
    // A.3
    {{KeyType::kEcdsaP256, Hash::kSha1, RsaPadding::kPkcs1}, "300906072a8648ce3d0401", true},
    {{KeyType::kEcdsaP256, Hash::kSha256, RsaPadding::kPkcs1}, "300a06082a8648ce3d040302", true},
    {{KeyType::kEcdsaP256, Hash::kSha384, RsaPadding::kPkcs1}, "300a06082a8648ce3d040303", true},
    {{KeyType::kEcdsaP256, Hash::kSha512, RsaPadding::kPkcs1}, "300a06082a8648ce3d040304", true},
    // A.4.1, A.4.2 (default parameters, not there and spelt out), A.4.3 with the trailer field
    {{KeyType::kRsa, Hash::kSha1, RsaPadding::kPss}, "300d06092a864886f70d01010a3000", true},
    {{KeyType::kRsa, Hash::kSha1, RsaPadding::kPss},
     "303e06092a864886f70d01010a3031a00b300906052b0e03021a0500a118301606092a864886f70d010108300906052b0e03021"
     "a0500"
     "a203020114a303020101",
     false},
    {{KeyType::kRsa, Hash::kSha256, RsaPadding::kPss},
     "304606092a864886f70d01010a3039a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096"
     "08648"
     "0165030402010500a203020120a303020101",
     false},
    // the same in DER, where a default is left out; without NULL (RFC 4055 section 2.1)
    {{KeyType::kRsa, Hash::kSha256, RsaPadding::kPss},
     "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096"
     "08648"
     "0165030402010500a203020120",
     true},
    {{KeyType::kRsa, Hash::kSha512, RsaPadding::kPss},
     "303d06092a864886f70d01010a3030a00d300b0609608648016503040203a11a301806092a864886f70d010108300b060960864"
     "80165"
     "03040203a203020140",
     false},
    // RFC 8420 appendix A
    {{KeyType::kEd25519, Hash::kIdentity, RsaPadding::kPkcs1}, "300506032b6570", true},
};

TEST(AlgorithmIdentifiers, AreThoseOfTheRfcs) {
  for (const auto& [scheme, der, sent] : kIdentifiers) {
    SCOPED_TRACE(der);
    const auto parsed = parse_algorithm_identifier(from_hex(der));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(*parsed, scheme);
    if (sent) {
      EXPECT_EQ(algorithm_identifier(scheme), from_hex(der));
    }
  }
}

TEST(AlgorithmIdentifiers, EverySchemeHasOne) {
  for (const Case& one : cases()) {
    const auto parsed = parse_algorithm_identifier(algorithm_identifier(one.scheme));
    ASSERT_TRUE(parsed) << one.signature;
    const bool curve = is_ecdsa(one.scheme.key);
    EXPECT_EQ(parsed->key, curve ? KeyType::kEcdsaP256 : one.scheme.key);
    EXPECT_EQ(parsed->hash, one.scheme.hash);
    EXPECT_EQ(parsed->padding, one.scheme.padding);
  }
  EXPECT_TRUE(algorithm_identifier({KeyType::kRsa, Hash::kIdentity, RsaPadding::kPss}).empty());
}

TEST(AlgorithmIdentifiers, OthersAreRefused) {
  for (const auto& [scheme, der, sent] : kIdentifiers) {
    Bytes bytes = from_hex(der);
    bytes.push_back(0);
    EXPECT_FALSE(parse_algorithm_identifier(bytes));
    for (size_t size = 0; size + 1 < bytes.size(); ++size)
      EXPECT_FALSE(parse_algorithm_identifier({bytes.data(), size}));
  }
  EXPECT_FALSE(parse_algorithm_identifier(from_hex("300d06092a864886f70d0101040500")));  // MD5 with RSA
}

TEST(PrivateKeys, EveryFormIsTheSameKey) {
  const Bytes expected = private_key("rsa").public_key().to_der();
  EXPECT_EQ(expected, read_data("keys/rsa.pub.der"));
  for (const std::string name : {"rsa-pkcs1.pem", "rsa.der"})
    EXPECT_EQ(PrivateKey::parse(read_data("keys/" + name), "unused").value().public_key().to_der(), expected);
  for (const std::string name : {"rsa-pkcs1-encrypted.pem", "rsa-encrypted.pem", "rsa-scrypt.pem"}) {
    SCOPED_TRACE(name);
    const Bytes text = read_data("keys/" + name);
    EXPECT_EQ(PrivateKey::parse(text, "secret").value().public_key().to_der(), expected);
    EXPECT_EQ(PrivateKey::parse(text, "wrong").error(), "the passphrase of the private key is wrong");
    EXPECT_EQ(PrivateKey::parse(text, "").error(),
              "the private key is encrypted, and there is no passphrase");
    EXPECT_FALSE(PrivateKey::parse(text, std::string(5000, 'x')));
  }
}

TEST(PrivateKeys, OthersAreRefused) {
  EXPECT_EQ(PrivateKey::parse(read_data("keys/ec-koblitz.pem"), "").error(),
            "a key on a curve other than P-256, P-384 and P-521");
  EXPECT_EQ(PrivateKey::parse(read_data("keys/x25519.pem"), "").error(),
            "a key that is neither RSA, EC nor Ed25519");
  EXPECT_EQ(PrivateKey::parse(read_data("keys/rsa-short.pem"), "").error(),
            "an RSA key of 768 bits; 1024 to 16384 are accepted");
  EXPECT_EQ(PrivateKey::parse(read_data("keys/rsa.pub"), "").error(), "not a private key in PEM or DER");
  EXPECT_FALSE(PrivateKey::parse({}, ""));
}

TEST(PublicKeys, EveryFormIsTheSameKey) {
  const Bytes expected = read_data("keys/rsa.pub.der");
  Bytes broken_lines{' ', '\n'};
  for (const uint8_t c : read_data("keys/rsa.rfc3110")) {
    broken_lines.push_back(c);
    if (broken_lines.size() % 41 == 0) broken_lines.push_back('\n');
  }
  for (const Bytes& form : {read_data("keys/rsa.pub"), expected, read_data("keys/rsa.rfc3110"), broken_lines})
    EXPECT_EQ(PublicKey::parse(form).value().to_der(), expected);
}

TEST(PublicKeys, OthersAreRefused) {
  EXPECT_EQ(PublicKey::parse(read_data("keys/rsa-short.rfc3110")).error(),
            "an RSA key of 768 bits; 1024 to 16384 are accepted");
  for (const std::string text :
       {"", "0s", "0sAQ==", "0sAAAA", "0sAP//", "0s!!!!", "0sAwEAAQ=", "-----BEGIN PUBLIC KEY-----"})
    EXPECT_FALSE(PublicKey::parse({reinterpret_cast<const uint8_t*>(text.data()), text.size()})) << text;
  Bytes der = read_data("keys/rsa.pub.der");
  for (size_t size = 0; size < der.size(); ++size) EXPECT_FALSE(PublicKey::parse({der.data(), size})) << size;
  der.push_back(0);
  EXPECT_FALSE(PublicKey::parse(der));
}

}  // namespace
}  // namespace espalier::crypto
