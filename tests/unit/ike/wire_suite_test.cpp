// ike/suite.hpp: RFC 7296 sections 2.7 and 3.3, IANA's numbers, and the configuration's names.
#include "ike/suite.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "control/config/vocabulary.hpp"

namespace espalier::ike {
namespace {

using enum TransformType;

const IkeSuite kGcmIke{
    {crypto::Cipher::kAesGcm, crypto::Integrity::kNone, 32, 16}, crypto::Prf::kHmacSha256, 19};
const IkeSuite kCbcIke{
    {crypto::Cipher::kAesCbc, crypto::Integrity::kHmacSha256, 32, 16}, crypto::Prf::kHmacSha512, 14};
const IkeSuite kChaChaIke{
    {crypto::Cipher::kChaCha20Poly1305, crypto::Integrity::kNone, 32, 16}, crypto::Prf::kHmacSha384, 31};
const EspSuite kGcmEsp{{EspCipher::kAesGcm, EspIntegrity::kNone, 16, 16}, 19, EsnChoice::kBoth};
const EspSuite kCbcEsp{{EspCipher::kAesCbc, EspIntegrity::kHmacSha1, 16, 12}, 0, EsnChoice::kNo};

Transform transform(TransformType type, uint16_t id, std::optional<uint16_t> key_bits = {}) {
  return {type, id, key_bits, false};
}
// RFC 7296's own names of the transforms that the tests use.
const Transform kAes128 = transform(kEncryption, 12, 128), kAes256 = transform(kEncryption, 12, 256),
                kGcm128 = transform(kEncryption, 20, 128), kGcm256 = transform(kEncryption, 20, 256),
                kChaCha = transform(kEncryption, 28), kSha1 = transform(kIntegrity, 2),
                kSha256 = transform(kIntegrity, 12), kNoIntegrity = transform(kIntegrity, 0),
                kPrfSha256 = transform(kPrf, 5), kPrfSha384 = transform(kPrf, 6),
                kPrfSha512 = transform(kPrf, 7), kDh14 = transform(kKeyExchange, 14),
                kDh19 = transform(kKeyExchange, 19), kDh31 = transform(kKeyExchange, 31),
                kNoDh = transform(kKeyExchange, 0), kEsnYes = transform(kEsn, 1), kEsnNo = transform(kEsn, 0);

Proposal ike(std::vector<Transform> transforms, uint8_t number = 1, Bytes spi = {}) {
  return {number, ProtocolId::kIke, std::move(spi), std::move(transforms)};
}
Proposal esp(std::vector<Transform> transforms, uint8_t number = 1, Bytes spi = {0xc0, 0, 0, 1}) {
  return {number, ProtocolId::kEsp, std::move(spi), std::move(transforms)};
}
std::vector<Transform> answer(const std::optional<ChosenIke>& chosen) {
  return chosen ? chosen->reply.transforms : std::vector<Transform>();
}
std::vector<Transform> answer(const std::optional<ChosenEsp>& chosen) {
  return chosen ? chosen->reply.transforms : std::vector<Transform>();
}
using List = std::vector<Transform>;

// --- Offering ---

TEST(Offer, EachSuiteIsAProposal) {
  const SecurityAssociation sa = offer(std::vector{kGcmIke, kCbcIke, kChaChaIke});
  EXPECT_EQ(sa.proposals,
            (std::vector{ike({kGcm256, kPrfSha256, kDh19}, 1), ike({kAes256, kSha256, kPrfSha512, kDh14}, 2),
                         ike({kChaCha, kPrfSha384, kDh31}, 3)}));
  const Bytes spi = {1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(offer(std::vector{kGcmIke}, spi).proposals[0].spi, spi);
}

TEST(Offer, EspWithAndWithoutGroup) {
  const std::vector suites = {kGcmEsp, kCbcEsp};
  EXPECT_EQ(offer(suites, Spi{0xc0000001}, true).proposals,
            (std::vector{esp({kGcm128, kDh19, kEsnYes, kEsnNo}), esp({kAes128, kSha1, kEsnNo}, 2)}));
  EXPECT_EQ(offer(suites, Spi{0xc0000001}, false).proposals[0], esp({kGcm128, kEsnYes, kEsnNo}));
}

// --- Choosing for IKE ---

TEST(ChooseIke, OurPreferenceDecides) {
  const SecurityAssociation theirs{
      {ike({kAes256, kSha256, kPrfSha512, kDh14}, 1), ike({kGcm256, kPrfSha256, kDh19}, 2)}};
  const auto chosen = choose(std::vector{kGcmIke, kCbcIke}, theirs);
  ASSERT_TRUE(chosen.has_value());
  EXPECT_EQ(chosen->suite, kGcmIke);
  EXPECT_EQ(chosen->reply, ike({kGcm256, kPrfSha256, kDh19}, 2));
  EXPECT_EQ(chosen->peer_spi, 0u);
}

TEST(ChooseIke, OneTransformOfEachType) {
  const Proposal many = ike({kAes128, kAes256, kSha1, kSha256, kPrfSha256, kPrfSha512, kDh19, kDh14});
  EXPECT_EQ(answer(choose(std::vector{kCbcIke}, {{many}})), (List{kAes256, kSha256, kPrfSha512, kDh14}));
}

struct Refused {
  const char* name;
  List transforms;  // offered to kGcmIke
};
class RefusedIke : public testing::TestWithParam<Refused> {};
TEST_P(RefusedIke, IsNotChosen) {
  EXPECT_FALSE(choose(std::vector{kGcmIke}, {{ike(GetParam().transforms)}}).has_value());
}
Transform spoilt(Transform transform) {
  transform.has_unknown_attribute = true;
  return transform;
}
INSTANTIATE_TEST_SUITE_P(
    Rfc7296, RefusedIke,
    testing::Values(Refused{"NoEncryption", {kPrfSha256, kDh19}}, Refused{"NoPrf", {kGcm256, kDh19}},
                    Refused{"NoGroup", {kGcm256, kPrfSha256}},
                    Refused{"KeyLengthMissing", {transform(kEncryption, 20), kPrfSha256, kDh19}},
                    Refused{"OtherKeyLength", {kGcm128, kPrfSha256, kDh19}},
                    Refused{"IntegrityWithAead", {kGcm256, kSha256, kPrfSha256, kDh19}},
                    Refused{"UnknownAttribute", {spoilt(kGcm256), kPrfSha256, kDh19}},
                    Refused{"UnknownType", {kGcm256, kPrfSha256, kDh19, transform(TransformType{6}, 0)}},
                    Refused{"EsnInIke", {kGcm256, kPrfSha256, kDh19, kEsnNo}}, Refused{"Nothing", {}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ChooseIke, NoneStandsForNoIntegrity) {
  EXPECT_EQ(answer(choose(std::vector{kGcmIke}, {{ike({kGcm256, kNoIntegrity, kPrfSha256, kDh19})}})),
            (List{kGcm256, kNoIntegrity, kPrfSha256, kDh19}));
  // But not for AES-CBC's.
  EXPECT_FALSE(choose(std::vector{kCbcIke}, {{ike({kAes256, kNoIntegrity, kPrfSha512, kDh14})}}).has_value());
  EXPECT_FALSE(choose(std::vector{kCbcIke}, {{ike({kAes256, kPrfSha512, kDh14})}}).has_value());
}

TEST(ChooseIke, ChaChaHasNoKeyLength) {
  EXPECT_TRUE(choose(std::vector{kChaChaIke}, {{ike({kChaCha, kPrfSha384, kDh31})}}).has_value());
  const Transform with_length = transform(kEncryption, 28, 256);
  EXPECT_FALSE(choose(std::vector{kChaChaIke}, {{ike({with_length, kPrfSha384, kDh31})}}).has_value());
}

TEST(ChooseIke, SpiOfARekey) {
  const List transforms = {kGcm256, kPrfSha256, kDh19};
  const auto chosen = choose(std::vector{kGcmIke}, {{ike(transforms, 1, {1, 2, 3, 4, 5, 6, 7, 8})}});
  EXPECT_EQ(chosen->peer_spi, 0x0102030405060708u);
  EXPECT_TRUE(chosen->reply.spi.empty());
  EXPECT_FALSE(choose(std::vector{kGcmIke}, {{ike(transforms, 1, Bytes(8))}}).has_value());
  EXPECT_FALSE(choose(std::vector{kGcmIke}, {{esp(transforms)}}).has_value());
}

// --- Choosing for ESP ---

EspSuite with_esn(EspSuite suite, EsnChoice esn) {
  suite.esn = esn;
  return suite;
}

TEST(ChooseEsp, Esn) {
  const auto esn = [](EsnChoice ours, List theirs) -> std::string {
    theirs.insert(theirs.begin(), {kGcm128, kDh19});
    const auto chosen = choose(std::vector{with_esn(kGcmEsp, ours)}, {{esp(theirs)}}, true);
    if (!chosen) return "none";
    return std::string(chosen->suite.esn == EsnChoice::kYes ? "yes" : "no") +
           (chosen->reply.transforms.size() == 3 ? "" : ", not said");
  };
  EXPECT_EQ(esn(EsnChoice::kBoth, {kEsnNo, kEsnYes}), "yes");
  EXPECT_EQ(esn(EsnChoice::kBoth, {kEsnNo}), "no");
  EXPECT_EQ(esn(EsnChoice::kBoth, {}), "no, not said");
  EXPECT_EQ(esn(EsnChoice::kNo, {}), "no, not said");
  EXPECT_EQ(esn(EsnChoice::kNo, {kEsnYes}), "none");
  EXPECT_EQ(esn(EsnChoice::kNo, {kEsnYes, kEsnNo}), "no");
  EXPECT_EQ(esn(EsnChoice::kYes, {}), "none");
  EXPECT_EQ(esn(EsnChoice::kYes, {kEsnNo}), "none");
  EXPECT_EQ(esn(EsnChoice::kYes, {kEsnYes}), "yes");
}

TEST(ChooseEsp, Groups) {
  const auto chosen = [](const EspSuite& ours, List theirs, bool with_group) {
    return answer(choose(std::vector{ours}, {{esp(std::move(theirs))}}, with_group));
  };
  EXPECT_EQ(chosen(kGcmEsp, {kGcm128, kDh14, kDh19, kEsnNo}, true), (List{kGcm128, kDh19, kEsnNo}));
  EXPECT_EQ(chosen(kGcmEsp, {kGcm128, kEsnNo}, true), List{});  // no PFS, where we want it
  EXPECT_EQ(chosen(kGcmEsp, {kGcm128, kNoDh, kEsnNo}, true), List{});
  EXPECT_EQ(chosen(kCbcEsp, {kAes128, kSha1, kDh14, kEsnNo}, true), List{});  // PFS, where we have none
  EXPECT_EQ(chosen(kCbcEsp, {kAes128, kSha1, kDh14, kNoDh, kEsnNo}, true),
            (List{kAes128, kSha1, kNoDh, kEsnNo}));
  // IKE_AUTH has no KE: whatever stands there is not looked at.
  EXPECT_EQ(chosen(kGcmEsp, {kGcm128, kEsnNo}, false), (List{kGcm128, kEsnNo}));
  EXPECT_EQ(chosen(kGcmEsp, {kGcm128, kDh14, kEsnNo}, false), (List{kGcm128, kEsnNo}));
}

TEST(ChooseEsp, SpisThatCannotBe) {
  const List transforms = {kAes128, kSha1, kEsnNo};
  const auto spi = [&](Bytes bytes) {
    const auto chosen = choose(std::vector{kCbcEsp}, {{esp(transforms, 1, std::move(bytes))}}, true);
    return chosen ? chosen->peer_spi.value : 0;
  };
  EXPECT_EQ(spi({0xc0, 1, 2, 3}), 0xc0010203u);
  EXPECT_EQ(spi({0, 0, 1, 0}), 256u);
  EXPECT_EQ(spi({0, 0, 0, 255}), 0u);
  EXPECT_EQ(spi({}), 0u);
}

// --- Accepting a response ---

TEST(Accept, OneOfTheProposals) {
  const std::vector offered = {kGcmIke, kCbcIke};
  const List second = {kAes256, kSha256, kPrfSha512, kDh14};
  EXPECT_EQ(accept(offered, {{ike(second, 2)}})->suite, kCbcIke);
  EXPECT_FALSE(accept(offered, {{ike(second, 1)}}).has_value());  // not of that number
  EXPECT_FALSE(accept(offered, {{ike(second, 3)}}).has_value());
  EXPECT_FALSE(accept(offered, {{ike(second, 0)}}).has_value());
  EXPECT_FALSE(accept(offered, {{}}).has_value());
  EXPECT_FALSE(accept(offered, {{ike(second, 2), ike(second, 2)}}).has_value());
  EXPECT_FALSE(accept(offered, {{ike({kAes256, kAes128, kSha256, kPrfSha512, kDh14}, 2)}}).has_value());
  EXPECT_FALSE(accept(offered, {{ike({kAes128, kSha256, kPrfSha512, kDh14}, 2)}}).has_value());
}

TEST(Accept, EspIsWhatWasAskedFor) {
  const std::vector offered = {kGcmEsp};
  EXPECT_EQ(accept(offered, {{esp({kGcm128, kDh19, kEsnYes})}}, true)->suite.esn, EsnChoice::kYes);
  EXPECT_EQ(accept(offered, {{esp({kGcm128, kDh19, kEsnNo})}}, true)->suite.esn, EsnChoice::kNo);
  EXPECT_EQ(accept(offered, {{esp({kGcm128, kDh19, kEsnNo})}}, true)->peer_spi, Spi{0xc0000001});
  EXPECT_FALSE(accept(offered, {{esp({kGcm128, kDh19, kEsnYes, kEsnNo})}}, true).has_value());
  EXPECT_FALSE(accept(offered, {{esp({kGcm128, kEsnNo})}}, true).has_value());  // the group is missing
  EXPECT_FALSE(accept(offered, {{esp({kGcm128, kDh19, kEsnNo})}}, false).has_value());  // it was not offered
}

TEST(Accept, WhatWasOfferedAndChosenAgree) {
  for (const IkeSuite& suite : {kGcmIke, kCbcIke, kChaChaIke}) {
    const auto chosen = choose(std::vector{suite}, offer(std::vector{kCbcIke, kChaChaIke, kGcmIke}));
    ASSERT_TRUE(chosen.has_value());
    const auto accepted = accept(std::vector{kCbcIke, kChaChaIke, kGcmIke}, {{chosen->reply}});
    ASSERT_TRUE(accepted.has_value());
    EXPECT_EQ(accepted->suite, suite);
  }
}

// --- Text ---

// What VyOS's words become, and that they come out again.
TEST(SuiteText, NamesAreTheConfigurations) {
  for (const config::Cipher& cipher : config::kCiphers) {
    const bool aead = cipher.aead();
    const EspSuite suite{{cipher.cipher, aead ? EspIntegrity::kNone : EspIntegrity::kHmacSha256,
                          cipher.key_bytes, aead ? cipher.icv_bytes : uint8_t{16}},
                         0,
                         EsnChoice::kNo};
    EXPECT_EQ(to_text(suite), std::string(cipher.name) + (aead ? "" : "/sha256"));
  }
  for (const config::Integrity& hash : config::kIntegrities) {
    const EspSuite suite{{EspCipher::kAesCbc, hash.integrity, 16, hash.icv_bytes}, 0, EsnChoice::kNo};
    EXPECT_EQ(to_text(suite), "aes128/" + std::string(hash.name));
  }
  const crypto::Prf prfs[] = {crypto::Prf::kHmacSha1, crypto::Prf::kHmacSha256, crypto::Prf::kHmacSha384,
                              crypto::Prf::kHmacSha512};
  ASSERT_EQ(std::size(prfs), std::size(config::kPrfs));
  for (size_t i = 0; i < std::size(prfs); ++i) {
    IkeSuite suite = kGcmIke;
    suite.prf = prfs[i];
    EXPECT_EQ(to_text(suite), "aes256gcm128/" + std::string(config::kPrfs[i].name) + "/dh19");
  }
}

TEST(SuiteText, OfSuites) {
  EXPECT_EQ(to_text(std::span<const IkeSuite>(std::vector{kGcmIke, kCbcIke})),
            "aes256gcm128/prfsha256/dh19, aes256/sha256/prfsha512/dh14");
  EXPECT_EQ(to_text(kGcmEsp), "aes128gcm128/dh19/esn|noesn");
  EXPECT_EQ(to_text(with_esn(kGcmEsp, EsnChoice::kYes)), "aes128gcm128/dh19/esn");
  EXPECT_EQ(to_text(kCbcEsp), "aes128/sha1");
}

TEST(SuiteText, OfWhatAPeerOffers) {
  EXPECT_EQ(to_text(ike({kAes128, kAes256, kSha1, kPrfSha256, kDh14, kDh31})),
            "aes128|aes256/sha1/prfsha256/dh14|dh31");
  EXPECT_EQ(to_text(ike({transform(kEncryption, 3), transform(kIntegrity, 1), transform(kPrf, 4),
                         transform(kEsn, 9)})),
            "encryption 3/hash 1/prf 4/esn 9");
  EXPECT_EQ(to_text(ike({transform(kEncryption, 12), transform(kEncryption, 20, 100)})),
            "encryption 12|encryption 20 of 100 bits");
  EXPECT_EQ(to_text(ike({spoilt(kAes128), transform(TransformType{6}, 35)})),
            "aes128 with an unknown attribute/transform 35 of type 6");
}

TEST(SuiteText, IsBounded) {
  SecurityAssociation endless;
  Proposal proposal = ike({});
  for (unsigned i = 0; i < 255; ++i)
    proposal.transforms.push_back(transform(TransformType(i % 20), static_cast<uint16_t>(1000 + i)));
  endless.proposals.assign(3000, proposal);
  EXPECT_LT(to_text(endless).size(), 64u * 1024);
  EXPECT_TRUE(to_text(endless).ends_with(", ..."));
}

// --- Differences ---

TEST(Difference, OfThePairThatAgreesInMost) {
  const std::vector ours = {kGcmIke, kCbcIke};
  const auto difference = [&](std::vector<Proposal> theirs) {
    return first_difference(ours, {std::move(theirs)});
  };
  EXPECT_EQ(difference({ike({kGcm128, kPrfSha256, kDh19})}),
            "encryption: we aes256gcm128, they aes128gcm128");
  EXPECT_EQ(difference({ike({kGcm256, kPrfSha256, kDh14, kDh31})}), "dh-group: we dh19, they dh14|dh31");
  EXPECT_EQ(difference({ike({kAes256, kSha1, kPrfSha512, kDh14})}), "hash: we sha256, they sha1");
  EXPECT_EQ(difference({ike({kAes256, kSha256, kPrfSha256, kDh14})}), "prf: we prfsha512, they prfsha256");
  EXPECT_EQ(difference({ike({kAes128, kSha1, kPrfSha384, kDh31}), ike({kAes256, kPrfSha512, kDh14})}),
            "hash: we sha256, they none");
  EXPECT_EQ(difference({ike({kGcm256, kPrfSha256, kDh19, transform(TransformType{6}, 35)})}),
            "transform type 6: we none, they transform 35 of type 6");
  EXPECT_EQ(difference({ike({kGcm256, kPrfSha256, kDh19})}), "");
  EXPECT_EQ(difference({}), "protocol: we IKE, they none");
  EXPECT_EQ(difference({esp({kGcm256})}), "protocol: we IKE, they ESP");
}

TEST(Difference, OfEsp) {
  const auto difference = [](const EspSuite& ours, List theirs, bool with_group) {
    return first_difference(std::vector{ours}, {{esp(std::move(theirs))}}, with_group);
  };
  EXPECT_EQ(difference(kGcmEsp, {kGcm128, kEsnNo}, true), "dh-group: we dh19, they none");
  EXPECT_EQ(difference(kGcmEsp, {kGcm128, kDh14, kEsnNo}, false), "");
  EXPECT_EQ(difference(kCbcEsp, {kAes128, kSha1, kDh14, kEsnNo}, true), "dh-group: we none, they dh14");
  EXPECT_EQ(difference(kCbcEsp, {kAes128, kSha1, kEsnYes}, true), "esn: we noesn, they esn");
  EXPECT_EQ(difference(with_esn(kCbcEsp, EsnChoice::kYes), {kAes128, kSha1}, true),
            "esn: we esn, they noesn");
}

}  // namespace
}  // namespace espalier::ike
