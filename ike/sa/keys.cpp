#include "ike/sa/keys.hpp"

#include <algorithm>

namespace espalier::ike {
namespace {

using crypto::Secret;

// A 64-bit SPI as it is on the wire.
std::array<uint8_t, 8> wire_spi(uint64_t spi) {
  return std::bit_cast<std::array<uint8_t, 8>>(be64::from_host(spi));
}

Result<Secret> expect(std::expected<Secret, std::string> made, const char* what) {
  if (!made) return fail("{}: {}", what, made.error());
  return std::move(*made);
}

// Cuts key material into consecutive keys.
class Cutter {
 public:
  explicit Cutter(const Secret& material) : rest_(material.view()) {}
  Secret take(size_t bytes) {
    Secret key(rest_.first(bytes));
    rest_ = rest_.subspan(bytes);
    return key;
  }

 private:
  ByteView rest_;
};

// {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)
Result<IkeKeys> expand(const IkeSuite& suite, const Secret& skeyseed, const KeySeed& seed) {
  const size_t prf_size = crypto::prf_bytes(suite.prf);
  const size_t integrity = suite.protection.auth_key_bytes();
  const size_t cipher = size_t{suite.protection.key_bytes} + suite.protection.salt_bytes();
  const auto initiator_spi = wire_spi(seed.initiator_spi), responder_spi = wire_spi(seed.responder_spi);
  const Secret material =
      TRY(expect(crypto::prf_plus(suite.prf, skeyseed.view(),
                                  {seed.initiator_nonce, seed.responder_nonce, initiator_spi, responder_spi},
                                  3 * prf_size + 2 * integrity + 2 * cipher),
                 "keys of an IKE SA"));
  Cutter cutter(material);
  IkeKeys keys;
  keys.d = cutter.take(prf_size);
  keys.ai = cutter.take(integrity);
  keys.ar = cutter.take(integrity);
  keys.ei = cutter.take(cipher);
  keys.er = cutter.take(cipher);
  keys.pi = cutter.take(prf_size);
  keys.pr = cutter.take(prf_size);
  return keys;
}

void put(const Secret& key, std::span<uint8_t> field) {
  const auto end = std::ranges::copy(key.view(), field.begin()).out;
  std::fill(end, field.end(), 0);
}

}  // namespace

IkeKeys IkeKeys::clone() const {
  return {d.clone(), ai.clone(), ar.clone(), ei.clone(), er.clone(), pi.clone(), pr.clone()};
}

Result<IkeKeys> derive_ike_keys(const IkeSuite& suite, ByteView shared, const KeySeed& seed) {
  // SKEYSEED = prf(Ni | Nr, g^ir)
  Secret nonces(seed.initiator_nonce.size() + seed.responder_nonce.size());
  const auto middle = std::ranges::copy(seed.initiator_nonce, nonces.span().begin()).out;
  std::ranges::copy(seed.responder_nonce, middle);
  const Secret skeyseed = TRY(expect(crypto::prf(suite.prf, nonces.view(), {shared}), "SKEYSEED"));
  return expand(suite, skeyseed, seed);
}

Result<IkeKeys> rekey_ike_keys(const IkeSuite& suite, crypto::Prf old_prf, ByteView old_d, ByteView shared,
                               const KeySeed& seed) {
  // SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)
  const Secret skeyseed =
      TRY(expect(crypto::prf(old_prf, old_d, {shared, seed.initiator_nonce, seed.responder_nonce}),
                 "SKEYSEED of a rekey"));
  return expand(suite, skeyseed, seed);
}

Result<crypto::IkeCipher> make_ike_cipher(const IkeSuite& suite, const IkeKeys& keys,
                                          bool sent_by_initiator) {
  auto made = crypto::IkeCipher::create(suite.protection, (sent_by_initiator ? keys.ei : keys.er).view(),
                                        (sent_by_initiator ? keys.ai : keys.ar).view());
  if (!made) return fail("cipher of an IKE SA: {}", made.error());
  return std::move(*made);
}

Result<ChildKeys> derive_child_keys(const EspAlgorithm& algorithm, crypto::Prf prf, ByteView d,
                                    ByteView shared, const KeySeed& seed, bool we_are_initiator) {
  // KEYMAT = prf+(SK_d, g^ir (new) | Ni | Nr); what the initiator sends with comes first, and of each
  // direction the cipher's key with its salt before the integrity key.
  const size_t one_way = algorithm.key_bytes + algorithm.salt_bytes() + algorithm.auth_key_bytes();
  const Secret material =
      TRY(expect(crypto::prf_plus(prf, d, {shared, seed.initiator_nonce, seed.responder_nonce}, 2 * one_way),
                 "keys of a child SA"));
  Cutter cutter(material);
  const auto take_direction = [&] {
    DirectionKeys keys;
    keys.cipher = cutter.take(algorithm.key_bytes);
    keys.salt = cutter.take(algorithm.salt_bytes());
    keys.integrity = cutter.take(algorithm.auth_key_bytes());
    return keys;
  };
  ChildKeys keys;
  keys.out = take_direction();
  keys.in = take_direction();
  if (!we_are_initiator) std::swap(keys.in, keys.out);
  return keys;
}

void put_keys(const DirectionKeys& keys, SaRecord& record) {
  put(keys.cipher, record.key);
  put(keys.salt, record.salt);
  put(keys.integrity, record.auth_key);
}

}  // namespace espalier::ike
