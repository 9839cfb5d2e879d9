// Signatures of AUTH payloads: methods 1, 9-11 and 14.
#include <algorithm>

#include "ike/sa/authentication.hpp"

namespace espalier::ike {
namespace {

using crypto::Hash;
using crypto::KeyType;
using crypto::RsaPadding;
using crypto::SignatureScheme;

const char* key_text(KeyType key) {
  switch (key) {
    case KeyType::kRsa:
      return "RSA";
    case KeyType::kEcdsaP256:
      return "ECDSA P-256";
    case KeyType::kEcdsaP384:
      return "ECDSA P-384";
    case KeyType::kEcdsaP521:
      return "ECDSA P-521";
    case KeyType::kEd25519:
      return "Ed25519";
  }
  return "unknown";
}

bool has(std::span<const Hash> hashes, Hash wanted) {
  return std::ranges::find(hashes, wanted) != hashes.end();
}

// RFC 4754: each curve has one hash; RFC 7427 prefers the same.
struct Curve {
  KeyType key;
  AuthMethod method;
  Hash hash;
};
constexpr Curve kCurves[] = {{KeyType::kEcdsaP256, AuthMethod::kEcdsaP256, Hash::kSha256},
                             {KeyType::kEcdsaP384, AuthMethod::kEcdsaP384, Hash::kSha384},
                             {KeyType::kEcdsaP521, AuthMethod::kEcdsaP521, Hash::kSha512}};
constexpr Hash kOurHashes[] = {Hash::kSha256, Hash::kSha384, Hash::kSha512, Hash::kIdentity};

const Curve* curve_of(KeyType key) {
  const auto* found = std::ranges::find(kCurves, key, &Curve::key);
  return found == std::end(kCurves) ? nullptr : found;
}

Result<Bytes> sign(const AuthSide& us, const crypto::PrivateKey& key, const SignatureScheme& scheme,
                   bool raw_ecdsa) {
  const Bytes octets = TRY(signed_octets(us));
  auto signature = key.sign(scheme, octets, raw_ecdsa);
  if (!signature) return fail("our signature ({}): {}", key_text(key.type()), signature.error());
  return std::move(*signature);
}

// RFC 7427 section 3: length of the AlgorithmIdentifier, it, the signature.
Bytes digital_signature(const SignatureScheme& scheme, const Bytes& signature) {
  const Bytes identifier = crypto::algorithm_identifier(scheme);
  Bytes data{static_cast<uint8_t>(identifier.size())};
  data.insert(data.end(), identifier.begin(), identifier.end());
  data.insert(data.end(), signature.begin(), signature.end());
  return data;
}

Result<Authentication> sign_without_negotiation(const AuthSide& us, const crypto::PrivateKey& key) {
  if (key.type() == KeyType::kRsa) {
    const SignatureScheme scheme{KeyType::kRsa, Hash::kSha1, RsaPadding::kPkcs1};
    return Authentication{AuthMethod::kRsaSignature, TRY(sign(us, key, scheme, false))};
  }
  if (const Curve* curve = curve_of(key.type())) {
    const SignatureScheme scheme{curve->key, curve->hash, RsaPadding::kPkcs1};
    return Authentication{curve->method, TRY(sign(us, key, scheme, true))};
  }
  return fail("the peer does not take {} signatures: its SIGNATURE_HASH_ALGORITHMS lacks what they need",
              key_text(key.type()));
}

Error wrong_signature(const crypto::PublicKey& key) {
  return {fmt::format("the peer's signature was not made with the {} key that it should have",
                      key_text(key.type()))};
}

Error wrong_method(AuthMethod method, const crypto::PublicKey& key) {
  return {
      fmt::format("the peer authenticates by {}, but its key is {}", in_words(method), key_text(key.type()))};
}

// Method 1 names no hash: it is SHA-1, and with some peers a better one.
Result<void> verify_rsa(ByteView octets, const crypto::PublicKey& key, const Authentication& auth) {
  if (key.type() != KeyType::kRsa) return std::unexpected(wrong_method(auth.method, key));
  for (const Hash hash : {Hash::kSha1, Hash::kSha256, Hash::kSha384, Hash::kSha512})
    if (key.verify({KeyType::kRsa, hash, RsaPadding::kPkcs1}, octets, auth.data)) return {};
  return std::unexpected(wrong_signature(key));
}

Result<void> verify_ecdsa(ByteView octets, const crypto::PublicKey& key, const Authentication& auth) {
  const Curve* curve = curve_of(key.type());
  if (curve == nullptr || curve->method != auth.method)
    return std::unexpected(wrong_method(auth.method, key));
  if (key.verify({curve->key, curve->hash, RsaPadding::kPkcs1}, octets, auth.data, true)) return {};
  return std::unexpected(wrong_signature(key));
}

Result<void> verify_digital(ByteView octets, const crypto::PublicKey& key, const Authentication& auth) {
  const ByteView data(auth.data);
  if (data.empty() || data.size() < 1u + data[0]) return fail("the peer's digital signature is cut off");
  auto scheme = crypto::parse_algorithm_identifier(data.subspan(1, data[0]));
  if (!scheme) return fail("the peer's digital signature: {}", scheme.error());
  if (!has(kOurHashes, scheme->hash))
    return fail("the peer's digital signature is with a hash that we did not announce");
  // An ECDSA identifier names the hash, not the curve (RFC 7427 appendix A.3).
  if (crypto::is_ecdsa(scheme->key) && crypto::is_ecdsa(key.type())) scheme->key = key.type();
  if (scheme->key != key.type())
    return fail("the peer's digital signature is {}, but its key is {}", key_text(scheme->key),
                key_text(key.type()));
  if (key.verify(*scheme, octets, data.subspan(1u + data[0]))) return {};
  return std::unexpected(wrong_signature(key));
}

}  // namespace

Notify hash_announcement() {
  Notify notify{
      .type = NotifyType::kSignatureHashAlgorithms, .protocol = ProtocolId::kNone, .spi = {}, .data = {}};
  for (const Hash hash : kOurHashes) {
    notify.data.push_back(0);
    notify.data.push_back(static_cast<uint8_t>(hash));
  }
  return notify;
}

std::vector<Hash> announced_hashes(const Message& message) {
  std::vector<Hash> hashes;
  const Notify* notify = message.notify(NotifyType::kSignatureHashAlgorithms);
  if (notify == nullptr) return hashes;
  for (size_t i = 0; i + 1 < notify->data.size(); i += 2) {
    const unsigned number = notify->data[i] << 8 | notify->data[i + 1];
    const bool known =
        number >= static_cast<unsigned>(Hash::kSha1) && number <= static_cast<unsigned>(Hash::kIdentity);
    if (known && !has(hashes, Hash(number))) hashes.push_back(Hash(number));
  }
  return hashes;
}

std::optional<SignatureScheme> choose_scheme(KeyType key, std::span<const Hash> peer_hashes) {
  std::vector<Hash> wanted{Hash::kSha256, Hash::kSha384, Hash::kSha512};
  if (key == KeyType::kEd25519) wanted = {Hash::kIdentity};
  if (const Curve* curve = curve_of(key)) wanted.insert(wanted.begin(), curve->hash);
  for (const Hash hash : wanted)
    if (has(peer_hashes, hash))
      return SignatureScheme{key, hash, key == KeyType::kRsa ? RsaPadding::kPss : RsaPadding::kPkcs1};
  return std::nullopt;
}

Result<Authentication> make_signature_auth(const AuthSide& us, const crypto::PrivateKey& key,
                                           std::span<const Hash> peer_hashes) {
  const auto scheme = choose_scheme(key.type(), peer_hashes);
  if (!scheme) return sign_without_negotiation(us, key);
  const Bytes signature = TRY(sign(us, key, *scheme, false));
  return Authentication{AuthMethod::kDigitalSignature, digital_signature(*scheme, signature)};
}

Result<void> verify_signature_auth(const AuthSide& peer, const crypto::PublicKey& key,
                                   const Authentication& auth) {
  const Bytes octets = TRY(signed_octets(peer));
  switch (auth.method) {
    case AuthMethod::kRsaSignature:
      return verify_rsa(octets, key, auth);
    case AuthMethod::kEcdsaP256:
    case AuthMethod::kEcdsaP384:
    case AuthMethod::kEcdsaP521:
      return verify_ecdsa(octets, key, auth);
    case AuthMethod::kDigitalSignature:
      return verify_digital(octets, key, auth);
    case AuthMethod::kSharedKey:
    case AuthMethod::kNull:
      break;
  }
  return fail("the peer authenticates by {}, but a signature is configured", in_words(auth.method));
}

}  // namespace espalier::ike
