// Keys of IKE SAs and child SAs (RFC 7296 sections 2.14, 2.17, 2.18; RFC 5282 section 7 for AEADs): pure
// functions of what both sides know after an exchange. "Initiator" is for an IKE SA the one who created it
// (its SPI is SPIi), for a child SA the one who sent the request of the exchange that created it. Secrets are
// moved, never copied, and wiped.
//
// Errors are OpenSSL's (no memory). Any thread.
#pragma once

#include "control/shared/error.hpp"
#include "crypto/ike_cipher.hpp"
#include "ike/suite.hpp"

namespace espalier::ike {

// What both sides of a key derivation put in besides the shared secret. SPIs in host order; of the new IKE
// SA.
struct KeySeed {
  ByteView initiator_nonce, responder_nonce;
  uint64_t initiator_spi = 0, responder_spi = 0;
};

// SK_*. With an AEAD ai and ar are empty, and ei and er have the salt of 4 bytes behind the key.
struct IkeKeys {
  crypto::Secret d, ai, ar, ei, er, pi, pr;
  IkeKeys clone() const;
};
// Section 2.14. `shared`: g^ir as it is on the wire, leading zeros kept.
Result<IkeKeys> derive_ike_keys(const IkeSuite& suite, ByteView shared, const KeySeed& seed);
// Section 2.18: the SKEYSEED of the new IKE SA by the old one's prf and SK_d, all else by the new one's prf.
Result<IkeKeys> rekey_ike_keys(const IkeSuite& suite, crypto::Prf old_prf, ByteView old_d, ByteView shared,
                               const KeySeed& seed);
// What protects the messages that the IKE SA's initiator (else its responder) sends.
Result<crypto::IkeCipher> make_ike_cipher(const IkeSuite& suite, const IkeKeys& keys, bool sent_by_initiator);

// Of one direction of a child SA. `salt` is empty without an AEAD, `integrity` with one.
struct DirectionKeys {
  crypto::Secret cipher, salt, integrity;
};
struct ChildKeys {
  DirectionKeys in, out;  // as we see it
};
// Section 2.17. `d` and `prf` of the IKE SA; `shared` is empty without PFS; SPIs of the seed are not used.
Result<ChildKeys> derive_child_keys(const EspAlgorithm& algorithm, crypto::Prf prf, ByteView d,
                                    ByteView shared, const KeySeed& seed, bool we_are_initiator);
// Into the record's key, salt and auth_key, whose other bytes become zero. Precondition: they are of its
// algorithm.
void put_keys(const DirectionKeys& keys, SaRecord& record);

}  // namespace espalier::ike
