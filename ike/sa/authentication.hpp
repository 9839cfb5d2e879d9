// Who is at the other end, and showing who we are: the AUTH, CERT and CERTREQ payloads of IKE_AUTH (RFC 7296
// section 2.15; signatures as RFC 7427 and 8420; identities in certificates as RFC 4945).
//
//   signs:  first message | the other's nonce | prf(SK_p, ID payload's body)      each side over its own
//   by:     pre-shared key    method 2
//           RSA, ECDSA        methods 1 and 9-11; 14 where both sides announce hashes
//           Ed25519           method 14 only
//
// Errors are for the operator: "the peer's certificate: CN=gw: certificate revoked". The peer learns
// AUTHENTICATION_FAILED and nothing else, whatever the error was. Pure functions, any thread.
#pragma once

#include "ike/configuration.hpp"

namespace espalier::ike {

// What one side signs. `first_message`: its IKE_SA_INIT as it was on the wire, from the header on, without
// non-ESP marker (the last one sent, after COOKIE and INVALID_KE_PAYLOAD). `other_nonce`: the other side's.
// `sk_p`: SK_pi if the side is the initiator, else SK_pr.
struct AuthSide {
  crypto::Prf prf = crypto::Prf::kHmacSha256;
  ByteView sk_p, first_message, other_nonce;
  const Identity& identity;
};
Result<Bytes> signed_octets(const AuthSide& side);
const char* in_words(AuthMethod method);  // "an RSA signature"

// --- Pre-shared keys ---

Result<Authentication> make_shared_key_auth(const AuthSide& us, ByteView key);
Result<void> verify_shared_key_auth(const AuthSide& peer, ByteView key, const Authentication& auth);

// --- Signatures ---

// SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 4) that goes with IKE_SA_INIT: SHA-256, -384, -512, Identity.
// Never SHA-1 (RFC 8247 section 3.2).
Notify hash_announcement();
// The peer's; empty: it sent none and gets methods 1 and 9-11. Numbers that we do not know are left out.
std::vector<crypto::Hash> announced_hashes(const Message& message);

// The scheme for our key: the RFC 7427 one by the hashes of the peer, of RSA with PSS; none of them fits:
// nothing.
std::optional<crypto::SignatureScheme> choose_scheme(crypto::KeyType key,
                                                     std::span<const crypto::Hash> peer_hashes);
Result<Authentication> make_signature_auth(const AuthSide& us, const crypto::PrivateKey& key,
                                           std::span<const crypto::Hash> peer_hashes);
// Methods 1, 9-11 and 14, each with the keys and hashes that it may have.
Result<void> verify_signature_auth(const AuthSide& peer, const crypto::PublicKey& key,
                                   const Authentication& auth);

// --- Certificates ---

// CERTREQ that names the authorities we trust (section 3.7).
CertificateRequest certificate_request(const crypto::TrustStore& trust);
// CERT payloads: the leaf and what leads to the first authority that the peer named. It named none of them,
// or nothing: the whole chain, since it may know better than it says.
std::vector<CertificateData> certificates_to_send(const LocalCredential& credential, const Message& message);
// RFC 4945 section 3.1: whether a certificate may speak for an identity: addresses, FQDN and e-mail by its
// subjectAltName (a wildcard there speaks for nothing), DN by its subject. Error: why not.
Result<void> speaks_for(const crypto::Certificate& certificate, const Identity& identity);

// The key of the peer's certificate (the first that the message has), which `trust` vouches for at `now`, and
// which may speak for `identity`.
Result<crypto::PublicKey> certified_key(const crypto::TrustStore& trust, const Identity& identity,
                                        const Message& message, std::chrono::system_clock::time_point now);

// --- A connection's whole authentication ---

// Our identity: as configured, else our address.
Identity local_identity(const ConnectionConfig& connection, IpAddress local);
// The one that we expect; nothing: any.
std::optional<Identity> expected_identity(const ConnectionConfig& connection, IpAddress remote);

// CERT payloads (with kX509) and AUTH, in this order. `seen`: the peer's IKE_SA_INIT and, for the responder,
// its IKE_AUTH, where its announced hashes and its CERTREQ are. `remote`: the peer's identity as far as it is
// known.
struct PeerMessages {
  const Message& init;
  const Message* auth = nullptr;
};
Result<std::vector<Payload>> make_authentication(const ConnectionConfig& connection,
                                                 const PreSharedKeys& keys, const AuthSide& us,
                                                 const std::optional<Identity>& remote,
                                                 const PeerMessages& seen);

// That the sender of `message` (IKE_AUTH) is who it says, that the connection accepts this identity, and that
// it proved it in the way the connection wants. `peer.identity` is that of its ID payload; `local` ours;
// `remote` its address; `now` of the wall clock.
struct PeerCheck {
  const ConnectionConfig& connection;
  const PreSharedKeys& keys;
  const Identity& local;
  IpAddress remote;
  std::chrono::system_clock::time_point now;
};
Result<void> verify_peer(const PeerCheck& check, const AuthSide& peer, const Message& message);

}  // namespace espalier::ike
