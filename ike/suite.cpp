#include "ike/suite.hpp"

#include <algorithm>
#include <cassert>

#include "ike/suite_transforms.hpp"

namespace espalier::ike {
namespace {

constexpr uint16_t kNoTransform = 0;  // INTEG NONE, KE NONE
constexpr uint16_t kNoEsn = 0, kEsn = 1;
constexpr uint32_t kFirstSpi = 256;

// Equal by number, so that one conversion does for both.
static_assert(static_cast<int>(EspCipher::kNull) == static_cast<int>(crypto::Cipher::kNull) &&
              static_cast<int>(EspCipher::kAesCbc) == static_cast<int>(crypto::Cipher::kAesCbc) &&
              static_cast<int>(EspCipher::kAesGcm) == static_cast<int>(crypto::Cipher::kAesGcm) &&
              static_cast<int>(EspCipher::kChaCha20Poly1305) ==
                  static_cast<int>(crypto::Cipher::kChaCha20Poly1305));
static_assert(
    static_cast<int>(EspIntegrity::kNone) == static_cast<int>(crypto::Integrity::kNone) &&
    static_cast<int>(EspIntegrity::kHmacSha1) == static_cast<int>(crypto::Integrity::kHmacSha1) &&
    static_cast<int>(EspIntegrity::kHmacSha256) == static_cast<int>(crypto::Integrity::kHmacSha256) &&
    static_cast<int>(EspIntegrity::kHmacSha384) == static_cast<int>(crypto::Integrity::kHmacSha384) &&
    static_cast<int>(EspIntegrity::kHmacSha512) == static_cast<int>(crypto::Integrity::kHmacSha512));

crypto::EspSuite suite_of(const EspAlgorithm& algorithm) {
  return {static_cast<crypto::Cipher>(algorithm.cipher), static_cast<crypto::Integrity>(algorithm.integrity),
          algorithm.key_bytes, algorithm.icv_bytes};
}

// --- IANA's numbers ---

Transform transform_of(TransformType type, uint16_t id) {
  Transform transform;
  transform.type = type;
  transform.id = id;
  return transform;
}

// RFC 3602, RFC 4106 section 8, RFC 7634, RFC 2410. Key lengths are told for AES only (RFC 7296
// section 3.3.5).
Transform encryption_of(const crypto::EspSuite& suite) {
  Transform transform = transform_of(TransformType::kEncryption, 0);
  const auto key_bits = static_cast<uint16_t>(suite.key_bytes * 8);
  switch (suite.cipher) {
    case crypto::Cipher::kNull:
      transform.id = 11;
      break;
    case crypto::Cipher::kAesCbc:
      transform.id = 12;
      transform.key_bits = key_bits;
      break;
    case crypto::Cipher::kAesGcm:
      transform.id = suite.icv_bytes == 8 ? 18 : suite.icv_bytes == 12 ? 19 : 20;
      transform.key_bits = key_bits;
      break;
    case crypto::Cipher::kChaCha20Poly1305:
      transform.id = 28;
      break;
  }
  return transform;
}

// RFC 2404, RFC 4868 section 6.
uint16_t integrity_id(crypto::Integrity integrity) {
  switch (integrity) {
    case crypto::Integrity::kNone:
      return kNoTransform;
    case crypto::Integrity::kHmacSha1:
      return 2;
    case crypto::Integrity::kHmacSha256:
      return 12;
    case crypto::Integrity::kHmacSha384:
      return 13;
    case crypto::Integrity::kHmacSha512:
      return 14;
  }
  return kNoTransform;
}

uint16_t prf_id(crypto::Prf prf) {
  switch (prf) {
    case crypto::Prf::kHmacSha1:
      return 2;
    case crypto::Prf::kHmacSha256:
      return 5;
    case crypto::Prf::kHmacSha384:
      return 6;
    case crypto::Prf::kHmacSha512:
      return 7;
  }
  return kNoTransform;
}

Want want_one(TransformType type, uint16_t id) {
  return {type, {transform_of(type, id)}, id == kNoTransform};
}

Want want_esn(EsnChoice choice) {
  Want want{TransformType::kEsn, {}, choice != EsnChoice::kYes};
  if (choice != EsnChoice::kNo) want.options.push_back(transform_of(TransformType::kEsn, kEsn));
  if (choice != EsnChoice::kYes) want.options.push_back(transform_of(TransformType::kEsn, kNoEsn));
  return want;
}

// --- Offering ---

// NONE is said by not offering the type (RFC 5282 section 8, RFC 7296 section 1.2).
Proposal proposal_of(const Wants& wants, size_t number, ProtocolId protocol, ByteView spi) {
  assert(number <= 255);
  Proposal proposal{static_cast<uint8_t>(number), protocol, {spi.begin(), spi.end()}, {}};
  for (const Want& want : wants)
    if (!want.may_be_absent || want.type == TransformType::kEsn)
      proposal.transforms.insert(proposal.transforms.end(), want.options.begin(), want.options.end());
  return proposal;
}

// --- Choosing ---

// The answer to a proposal that has all that is wanted: one transform of each type that it has.
std::optional<Proposal> match(const Wants& wants, ProtocolId protocol, const Proposal& proposal) {
  if (proposal.protocol != protocol || find_unwanted(wants, proposal)) return std::nullopt;
  Proposal reply{proposal.number, protocol, {}, {}};
  for (const Want& want : wants) {
    if (!is_met(want, proposal)) return std::nullopt;
    if (const Transform* found = find_option(want, proposal)) reply.transforms.push_back(*found);
  }
  return reply;
}

uint64_t number_of(ByteView spi) {
  uint64_t number = 0;
  for (const uint8_t byte : spi) number = number << 8 | byte;
  return number;
}

std::optional<ChosenIke> match(const IkeSuite& suite, const Wants& wants, const Proposal& proposal) {
  const uint64_t spi = number_of(proposal.spi);
  if (!proposal.spi.empty() && spi == 0) return std::nullopt;  // RFC 7296 section 3.1: never zero
  std::optional<Proposal> reply = match(wants, ProtocolId::kIke, proposal);
  if (!reply) return std::nullopt;
  return ChosenIke{suite, spi, *std::move(reply)};
}

std::optional<ChosenEsp> match(const EspSuite& suite, const Wants& wants, const Proposal& proposal) {
  const uint64_t spi = number_of(proposal.spi);
  if (proposal.spi.size() != sizeof(uint32_t) || spi < kFirstSpi) return std::nullopt;
  std::optional<Proposal> reply = match(wants, ProtocolId::kEsp, proposal);
  if (!reply) return std::nullopt;
  const auto is_esn = [](const Transform& t) { return t.type == TransformType::kEsn && t.id == kEsn; };
  EspSuite chosen = suite;
  chosen.esn = std::any_of(reply->transforms.begin(), reply->transforms.end(), is_esn) ? EsnChoice::kYes
                                                                                       : EsnChoice::kNo;
  return ChosenEsp{chosen, Spi(static_cast<uint32_t>(spi)), *std::move(reply)};
}

bool repeats_a_type(const Proposal& proposal) {
  for (size_t i = 0; i < proposal.transforms.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (proposal.transforms[i].type == proposal.transforms[j].type) return true;
  return false;
}

// The number of the proposal of ours that a response takes, from 0; nothing: none, or it leaves something
// open.
std::optional<size_t> taken_index(const SecurityAssociation& reply, size_t offered) {
  if (reply.proposals.size() != 1 || repeats_a_type(reply.proposals[0])) return std::nullopt;
  const size_t number = reply.proposals[0].number;
  if (number < 1 || number > offered) return std::nullopt;
  return number - 1;
}

}  // namespace

Wants wants_of(const IkeSuite& suite) {
  return {{TransformType::kEncryption, {encryption_of(suite.protection)}, false},
          want_one(TransformType::kIntegrity, integrity_id(suite.protection.integrity)),
          want_one(TransformType::kPrf, prf_id(suite.prf)),
          want_one(TransformType::kKeyExchange, suite.group)};
}

Wants wants_of(const EspSuite& suite, bool with_group) {
  const crypto::EspSuite protection = suite_of(suite.algorithm);
  return {{TransformType::kEncryption, {encryption_of(protection)}, false},
          want_one(TransformType::kIntegrity, integrity_id(protection.integrity)),
          want_one(TransformType::kKeyExchange, with_group ? suite.group : kNoTransform),
          want_esn(suite.esn)};
}

const Transform* find_option(const Want& want, const Proposal& proposal) {
  for (const Transform& option : want.options) {
    const auto found = std::find(proposal.transforms.begin(), proposal.transforms.end(), option);
    if (found != proposal.transforms.end()) return &*found;
  }
  return nullptr;
}

bool has_type(const Proposal& proposal, TransformType type) {
  return std::any_of(proposal.transforms.begin(), proposal.transforms.end(),
                     [&](const Transform& transform) { return transform.type == type; });
}

bool is_met(const Want& want, const Proposal& proposal) {
  return has_type(proposal, want.type) ? find_option(want, proposal) != nullptr : want.may_be_absent;
}

const Transform* find_unwanted(const Wants& wants, const Proposal& proposal) {
  for (const Transform& transform : proposal.transforms)
    if (std::none_of(wants.begin(), wants.end(),
                     [&](const Want& want) { return want.type == transform.type; }))
      return &transform;
  return nullptr;
}

Proposal without_key_exchange(Proposal proposal) {
  std::erase_if(proposal.transforms,
                [](const Transform& t) { return t.type == TransformType::kKeyExchange; });
  return proposal;
}

SecurityAssociation offer(std::span<const IkeSuite> suites, ByteView spi) {
  SecurityAssociation sa;
  for (const IkeSuite& suite : suites)
    sa.proposals.push_back(proposal_of(wants_of(suite), sa.proposals.size() + 1, ProtocolId::kIke, spi));
  return sa;
}

SecurityAssociation offer(std::span<const EspSuite> suites, Spi our_spi, bool with_group) {
  const be32 spi = be32::from_host(our_spi.value);
  const ByteView bytes(reinterpret_cast<const uint8_t*>(&spi), sizeof spi);
  SecurityAssociation sa;
  for (const EspSuite& suite : suites)
    sa.proposals.push_back(
        proposal_of(wants_of(suite, with_group), sa.proposals.size() + 1, ProtocolId::kEsp, bytes));
  return sa;
}

std::optional<ChosenIke> choose(std::span<const IkeSuite> ours, const SecurityAssociation& theirs) {
  for (const IkeSuite& suite : ours) {
    const Wants wants = wants_of(suite);
    for (const Proposal& proposal : theirs.proposals)
      if (std::optional<ChosenIke> chosen = match(suite, wants, proposal)) return chosen;
  }
  return std::nullopt;
}

std::optional<ChosenEsp> choose(std::span<const EspSuite> ours, const SecurityAssociation& theirs,
                                bool with_group) {
  for (const EspSuite& suite : ours) {
    const Wants wants = wants_of(suite, with_group);
    for (const Proposal& proposal : theirs.proposals) {
      const Proposal seen = with_group ? proposal : without_key_exchange(proposal);
      if (std::optional<ChosenEsp> chosen = match(suite, wants, seen)) return chosen;
    }
  }
  return std::nullopt;
}

std::optional<ChosenIke> accept(std::span<const IkeSuite> offered, const SecurityAssociation& reply) {
  const std::optional<size_t> index = taken_index(reply, offered.size());
  return index ? match(offered[*index], wants_of(offered[*index]), reply.proposals[0]) : std::nullopt;
}

std::optional<ChosenEsp> accept(std::span<const EspSuite> offered, const SecurityAssociation& reply,
                                bool with_group) {
  const std::optional<size_t> index = taken_index(reply, offered.size());
  return index ? match(offered[*index], wants_of(offered[*index], with_group), reply.proposals[0])
               : std::nullopt;
}

}  // namespace espalier::ike
