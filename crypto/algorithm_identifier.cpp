// The AlgorithmIdentifiers of RFC 7427 appendix A and RFC 8420, by a table: there are few, and a peer's are
// compared as bytes. Of each, the first spelling is the one that we send.
#include <algorithm>
#include <array>

#include "crypto/signature.hpp"

namespace espalier::crypto {
namespace {

using Der = std::vector<uint8_t>;

// DER of small things: no content here has more than 127 bytes.
Der tagged(uint8_t tag, std::initializer_list<Der> parts) {
  Der out{tag, 0};
  for (const Der& part : parts) out.insert(out.end(), part.begin(), part.end());
  out[1] = static_cast<uint8_t>(out.size() - 2);
  return out;
}

constexpr uint8_t kInteger = 0x02, kOid = 0x06, kSequence = 0x30;
constexpr uint8_t context(uint8_t number) {
  return static_cast<uint8_t>(0xa0 | number);
}

Der sequence(std::initializer_list<Der> parts) {
  return tagged(kSequence, parts);
}

const Der kNull{0x05, 0x00};
const Der kAbsent{};
const Der kEd25519 = tagged(kOid, {{0x2b, 0x65, 0x70}});                                   // RFC 8410
const Der kPss = tagged(kOid, {{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a}});   // RFC 4055
const Der kMgf1 = tagged(kOid, {{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08}});  // RFC 4055
const Der kTrailerField = tagged(context(3), {tagged(kInteger, {{1}})});

struct HashOids {
  Hash hash;
  uint8_t bytes;
  Der digest;  // RFC 4055 section 2.1
  Der rsa;     // with PKCS#1 v1.5, RFC 4055 section 5
  Der ecdsa;   // RFC 5758 section 3.2
};

Der rsa_oid(uint8_t last) {
  return tagged(kOid, {{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last}});
}
Der sha2_oid(uint8_t last) {
  return tagged(kOid, {{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last}});
}
Der ecdsa_sha2_oid(uint8_t last) {
  return tagged(kOid, {{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last}});
}

const HashOids kHashes[] = {
    {Hash::kSha1, 20, tagged(kOid, {{0x2b, 0x0e, 0x03, 0x02, 0x1a}}), rsa_oid(5),
     tagged(kOid, {{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01}})},
    {Hash::kSha256, 32, sha2_oid(1), rsa_oid(11), ecdsa_sha2_oid(2)},
    {Hash::kSha384, 48, sha2_oid(2), rsa_oid(12), ecdsa_sha2_oid(3)},
    {Hash::kSha512, 64, sha2_oid(3), rsa_oid(13), ecdsa_sha2_oid(4)},
};

// RSASSA-PSS-params: hash, MGF1 with the same hash, a salt as long as the hash. `null`: what follows the
// hashes' OIDs, NULL or nothing (RFC 4055 section 2.1 wants both accepted); `trailer`: the default field
// spelt out, or nothing.
Der pss(const HashOids& of, const Der& null, const Der& trailer) {
  const Der hash = sequence({of.digest, null});
  return sequence({kPss, sequence({tagged(context(0), {hash}), tagged(context(1), {sequence({kMgf1, hash})}),
                                   tagged(context(2), {tagged(kInteger, {{of.bytes}})}), trailer})});
}

struct Spelling {
  SignatureScheme scheme;
  Der der;
};

void add_pss(const HashOids& hash, std::vector<Spelling>& all) {
  const SignatureScheme scheme{KeyType::kRsa, hash.hash, RsaPadding::kPss};
  if (hash.hash == Hash::kSha1) all.push_back({scheme, sequence({kPss, sequence({})})});  // all the defaults
  for (const Der* null : {&kNull, &kAbsent})
    for (const Der* trailer : {&kAbsent, &kTrailerField}) all.push_back({scheme, pss(hash, *null, *trailer)});
}

std::vector<Spelling> make_spellings() {
  std::vector<Spelling> all{{{KeyType::kEd25519, Hash::kIdentity, RsaPadding::kPkcs1}, sequence({kEd25519})}};
  for (const HashOids& hash : kHashes) {
    const SignatureScheme rsa{KeyType::kRsa, hash.hash, RsaPadding::kPkcs1};
    const SignatureScheme ecdsa{KeyType::kEcdsaP256, hash.hash, RsaPadding::kPkcs1};
    all.push_back({rsa, sequence({hash.rsa, kNull})});
    all.push_back({rsa, sequence({hash.rsa})});
    all.push_back({ecdsa, sequence({hash.ecdsa})});
    add_pss(hash, all);
  }
  return all;
}

const std::vector<Spelling>& spellings() {
  static const std::vector<Spelling> all = make_spellings();
  return all;
}

// What the identifier tells of a scheme: no curve, and no padding but with RSA.
SignatureScheme identified(SignatureScheme scheme) {
  if (is_ecdsa(scheme.key)) scheme.key = KeyType::kEcdsaP256;
  if (scheme.key != KeyType::kRsa) scheme.padding = RsaPadding::kPkcs1;
  return scheme;
}

}  // namespace

std::vector<uint8_t> algorithm_identifier(const SignatureScheme& scheme) {
  const auto& all = spellings();
  const auto at = std::ranges::find(all, identified(scheme), &Spelling::scheme);
  return at == all.end() ? Der() : at->der;
}

std::expected<SignatureScheme, std::string> parse_algorithm_identifier(std::span<const uint8_t> der) {
  const auto& all = spellings();
  const auto at =
      std::ranges::find_if(all, [&](const Spelling& known) { return std::ranges::equal(known.der, der); });
  if (at == all.end()) return std::unexpected("a signature algorithm that is not supported");
  return at->scheme;
}

}  // namespace espalier::crypto
