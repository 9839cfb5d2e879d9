#include "ike/sa/authentication.hpp"

#include <algorithm>

namespace espalier::ike {
namespace {

std::string quoted(const std::optional<Identity>& identity) {
  return identity ? fmt::format("'{}'", to_text(*identity)) : "'%any'";
}

}  // namespace

const char* in_words(AuthMethod method) {
  switch (method) {
    case AuthMethod::kRsaSignature:
      return "an RSA signature";
    case AuthMethod::kSharedKey:
      return "a pre-shared key";
    case AuthMethod::kEcdsaP256:
    case AuthMethod::kEcdsaP384:
    case AuthMethod::kEcdsaP521:
      return "an ECDSA signature";
    case AuthMethod::kNull:
      return "nothing (NULL authentication)";
    case AuthMethod::kDigitalSignature:
      return "a digital signature";
  }
  return "a method that is not known here";
}

Result<Bytes> signed_octets(const AuthSide& side) {
  // RestOfIDPayload: type, three reserved bytes, data.
  const uint8_t id_head[4] = {static_cast<uint8_t>(side.identity.type)};
  const auto maced_id = crypto::prf(side.prf, side.sk_p, {id_head, side.identity.data});
  if (!maced_id) return fail("what is to be signed: {}", maced_id.error());
  Bytes octets;
  octets.reserve(side.first_message.size() + side.other_nonce.size() + maced_id->size());
  for (const ByteView part : {side.first_message, side.other_nonce, maced_id->view()})
    octets.insert(octets.end(), part.begin(), part.end());
  return octets;
}

// --- Pre-shared keys ---

namespace {

// prf(prf(key, "Key Pad for IKEv2"), octets)
Result<crypto::Secret> shared_key_mac(const AuthSide& side, ByteView key) {
  static constexpr std::string_view kKeyPad = "Key Pad for IKEv2";
  const Bytes octets = TRY(signed_octets(side));
  const ByteView pad(reinterpret_cast<const uint8_t*>(kKeyPad.data()), kKeyPad.size());
  const auto padded = crypto::prf(side.prf, key, {pad});
  if (!padded) return fail("AUTH by pre-shared key: {}", padded.error());
  auto mac = crypto::prf(side.prf, padded->view(), {octets});
  if (!mac) return fail("AUTH by pre-shared key: {}", mac.error());
  return std::move(*mac);
}

}  // namespace

Result<Authentication> make_shared_key_auth(const AuthSide& us, ByteView key) {
  const crypto::Secret mac = TRY(shared_key_mac(us, key));
  return Authentication{AuthMethod::kSharedKey, Bytes(mac.view().begin(), mac.view().end())};
}

Result<void> verify_shared_key_auth(const AuthSide& peer, ByteView key, const Authentication& auth) {
  if (auth.method != AuthMethod::kSharedKey)
    return fail("the peer authenticates by {}, but a pre-shared key is configured", in_words(auth.method));
  const crypto::Secret mac = TRY(shared_key_mac(peer, key));
  if (!crypto::same_bytes(mac.view(), auth.data)) return fail("the peer's pre-shared key is not ours");
  return {};
}

// --- A connection's whole authentication ---

namespace {

Result<const PreSharedKey*> require_key(const PreSharedKeys& keys, const Identity& local,
                                        const std::optional<Identity>& remote) {
  const PreSharedKey* key = keys.find(local, remote);
  if (key == nullptr) return fail("there is no pre-shared key for {} and {}", quoted(local), quoted(remote));
  return key;
}

Result<void> verify_by_shared_key(const PeerCheck& check, const AuthSide& peer, const Authentication& auth) {
  const PreSharedKey* key = TRY(require_key(check.keys, check.local, peer.identity));
  auto verified = verify_shared_key_auth(peer, key->secret.view(), auth);
  if (!verified)
    return std::unexpected(std::move(verified).error().with_context(fmt::format("psk {}", key->name)));
  return {};
}

Result<Authentication> sign_with_credential(const ConnectionConfig& connection, const AuthSide& us,
                                            const Message& peer_init) {
  if (!connection.credential || !connection.credential->key)
    return fail("no private key of ours is configured");
  return make_signature_auth(us, *connection.credential->key, announced_hashes(peer_init));
}

}  // namespace

Identity local_identity(const ConnectionConfig& connection, IpAddress local) {
  return connection.local_id ? *connection.local_id : identity_of(local);
}

std::optional<Identity> expected_identity(const ConnectionConfig& connection, IpAddress remote) {
  if (!connection.remote_id && connection.remote_id_is_address) return identity_of(remote);
  return connection.remote_id;
}

Result<std::vector<Payload>> make_authentication(const ConnectionConfig& connection,
                                                 const PreSharedKeys& keys, const AuthSide& us,
                                                 const std::optional<Identity>& remote,
                                                 const PeerMessages& seen) {
  std::vector<Payload> payloads;
  switch (connection.auth) {
    case AuthKind::kPreSharedKey: {
      const PreSharedKey* key = TRY(require_key(keys, us.identity, remote));
      payloads.emplace_back(TRY(make_shared_key_auth(us, key->secret.view())));
      break;
    }
    case AuthKind::kX509: {
      if (!connection.credential || connection.credential->chain.empty())
        return fail("no certificate of ours is configured");
      // We are the initiator if the peer's first message was its response, and the responder's CERTREQ is in
      // there.
      for (CertificateData& each :
           certificates_to_send(*connection.credential, seen.auth ? *seen.auth : seen.init))
        payloads.emplace_back(std::move(each));
      [[fallthrough]];
    }
    case AuthKind::kRawRsa:
      payloads.emplace_back(TRY(sign_with_credential(connection, us, seen.init)));
      break;
  }
  return payloads;
}

Result<void> verify_peer(const PeerCheck& check, const AuthSide& peer, const Message& message) {
  const auto expected = expected_identity(check.connection, check.remote);
  if (!accepts(expected, peer.identity))
    return fail("the peer says it is {}, but {} is configured", quoted(peer.identity), quoted(expected));
  const auto* auth = message.find<Authentication>();
  if (auth == nullptr) return fail("the peer sends no AUTH payload: it wants EAP, which is not supported");
  switch (check.connection.auth) {
    case AuthKind::kPreSharedKey:
      return verify_by_shared_key(check, peer, *auth);
    case AuthKind::kRawRsa:
      if (!check.connection.remote_key) return fail("no public key of the peer is configured");
      return verify_signature_auth(peer, *check.connection.remote_key, *auth);
    case AuthKind::kX509: {
      if (auth->method == AuthMethod::kSharedKey || auth->method == AuthMethod::kNull)
        return fail("the peer authenticates by {}, but a certificate is configured", in_words(auth->method));
      if (!check.connection.trust)
        return fail("no certificate authority is configured to check the peer's certificate");
      const crypto::PublicKey key =
          TRY(certified_key(*check.connection.trust, peer.identity, message, check.now));
      return verify_signature_auth(peer, key, *auth);
    }
  }
  return fail("the connection has no way of authentication");
}

}  // namespace espalier::ike
