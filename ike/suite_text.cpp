// Suites and proposals for people: VyOS's names (a test holds them equal with the configuration's), and what
// is different between two lists of them.
#include <fmt/format.h>

#include <algorithm>

#include "ike/suite_transforms.hpp"

namespace espalier::ike {
namespace {

// Of what a peer can make as long as it likes.
constexpr size_t kMostNames = 12, kMostProposals = 12;

std::string encryption_name(const Transform& transform) {
  const uint16_t bits = transform.key_bits.value_or(0);
  const bool aes_key = bits == 128 || bits == 192 || bits == 256;
  if (transform.id == 12 && aes_key) return fmt::format("aes{}", bits);
  if (transform.id >= 18 && transform.id <= 20 && aes_key)
    return fmt::format("aes{}gcm{}", bits, 64 + 32 * (transform.id - 18));
  if (!transform.key_bits && transform.id == 11) return "null";
  if (!transform.key_bits && transform.id == 28) return "chacha20poly1305";
  return transform.key_bits ? fmt::format("encryption {} of {} bits", transform.id, bits)
                            : fmt::format("encryption {}", transform.id);
}

std::string integrity_name(uint16_t id) {
  switch (id) {
    case 0:
      return "none";
    case 2:
      return "sha1";
    case 12:
      return "sha256";
    case 13:
      return "sha384";
    case 14:
      return "sha512";
  }
  return fmt::format("hash {}", id);
}

std::string prf_name(uint16_t id) {
  switch (id) {
    case 2:
      return "prfsha1";
    case 5:
      return "prfsha256";
    case 6:
      return "prfsha384";
    case 7:
      return "prfsha512";
  }
  return fmt::format("prf {}", id);
}

std::string esn_name(uint16_t id) {
  return id == 0 ? "noesn" : id == 1 ? "esn" : fmt::format("esn {}", id);
}

std::string known_name(const Transform& transform) {
  switch (transform.type) {
    case TransformType::kEncryption:
      return encryption_name(transform);
    case TransformType::kPrf:
      return prf_name(transform.id);
    case TransformType::kIntegrity:
      return integrity_name(transform.id);
    case TransformType::kKeyExchange:
      return transform.id == 0 ? "none" : fmt::format("dh{}", transform.id);
    case TransformType::kEsn:
      return esn_name(transform.id);
  }
  return fmt::format("transform {} of type {}", transform.id, static_cast<uint8_t>(transform.type));
}

std::string name_of(const Transform& transform) {
  return known_name(transform) + (transform.has_unknown_attribute ? " with an unknown attribute" : "");
}

// VyOS's keywords of a proposal.
std::string name_of(TransformType type) {
  switch (type) {
    case TransformType::kEncryption:
      return "encryption";
    case TransformType::kPrf:
      return "prf";
    case TransformType::kIntegrity:
      return "hash";
    case TransformType::kKeyExchange:
      return "dh-group";
    case TransformType::kEsn:
      return "esn";
  }
  return fmt::format("transform type {}", static_cast<uint8_t>(type));
}

// "aes256|aes128"; empty: the proposal has none of the type.
std::string names_of(const Proposal& proposal, TransformType type) {
  std::vector<std::string> names;
  for (const Transform& transform : proposal.transforms) {
    if (transform.type != type) continue;
    if (names.size() == kMostNames) {
      names.push_back("...");
      break;
    }
    names.push_back(name_of(transform));
  }
  return fmt::format("{}", fmt::join(names, "|"));
}

// Every type that the proposal has, the known ones first and in their order.
std::vector<TransformType> types_of(const Proposal& proposal) {
  std::vector<TransformType> types;
  for (const TransformType known : {TransformType::kEncryption, TransformType::kIntegrity,
                                    TransformType::kPrf, TransformType::kKeyExchange, TransformType::kEsn})
    if (has_type(proposal, known)) types.push_back(known);
  for (const Transform& transform : proposal.transforms)
    if (std::find(types.begin(), types.end(), transform.type) == types.end()) types.push_back(transform.type);
  return types;
}

// What goes without saying, as a proposal that does not name it says the same.
bool is_default(TransformType type, const std::string& names) {
  return (type == TransformType::kEsn && names == "noesn") || names == "none";
}

std::string name_of(ProtocolId protocol) {
  switch (protocol) {
    case ProtocolId::kNone:
      break;
    case ProtocolId::kIke:
      return "IKE";
    case ProtocolId::kAh:
      return "AH";
    case ProtocolId::kEsp:
      return "ESP";
  }
  return fmt::format("protocol {}", static_cast<uint8_t>(protocol));
}

template <class Items>
std::string joined(const Items& items) {
  std::vector<std::string> texts;
  for (const auto& item : items) {
    if (texts.size() == kMostProposals) {
      texts.push_back("...");
      break;
    }
    texts.push_back(to_text(item));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

// --- Differences ---

size_t count_met(const Wants& wants, const Proposal& proposal) {
  return static_cast<size_t>(
      std::count_if(wants.begin(), wants.end(), [&](const Want& want) { return is_met(want, proposal); }));
}

std::string difference(TransformType type, const Proposal& ours, const Proposal& theirs) {
  const auto said = [&](const Proposal& proposal) {
    const std::string names = names_of(proposal, type);
    return !names.empty() ? names : type == TransformType::kEsn ? "noesn" : "none";
  };
  return fmt::format("{}: we {}, they {}", name_of(type), said(ours), said(theirs));
}

std::string difference(const Wants& wants, const Proposal& theirs) {
  Proposal ours;
  for (const Want& want : wants)
    ours.transforms.insert(ours.transforms.end(), want.options.begin(), want.options.end());
  for (const Want& want : wants)
    if (!is_met(want, theirs)) return difference(want.type, ours, theirs);
  if (const Transform* unwanted = find_unwanted(wants, theirs))
    return difference(unwanted->type, ours, theirs);
  return "";
}

// Of the pair that agrees in most types, the first of equals.
std::string first_difference(std::span<const Wants> ours, ProtocolId protocol,
                             std::span<const Proposal> theirs) {
  const Wants* best_ours = nullptr;
  const Proposal* best_theirs = nullptr;
  size_t best = 0;
  for (const Wants& wants : ours)
    for (const Proposal& proposal : theirs) {
      if (proposal.protocol != protocol) continue;
      const size_t met = count_met(wants, proposal) * 2 + (find_unwanted(wants, proposal) == nullptr);
      if (best_theirs != nullptr && met <= best) continue;
      best = met;
      best_ours = &wants;
      best_theirs = &proposal;
    }
  if (best_theirs != nullptr) return difference(*best_ours, *best_theirs);
  return fmt::format("protocol: we {}, they {}", ours.empty() ? "none" : name_of(protocol),
                     theirs.empty() ? "none" : name_of(theirs.front().protocol));
}

}  // namespace

std::string to_text(const Proposal& proposal) {
  std::vector<std::string> parts;
  for (const TransformType type : types_of(proposal)) {
    std::string names = names_of(proposal, type);
    if (is_default(type, names)) continue;
    if (parts.size() == kMostNames) {
      parts.push_back("...");
      break;
    }
    parts.push_back(std::move(names));
  }
  return fmt::format("{}", fmt::join(parts, "/"));
}

std::string to_text(const IkeSuite& suite) {
  return to_text(offer({&suite, 1}).proposals.front());
}
std::string to_text(const EspSuite& suite) {
  return to_text(offer({&suite, 1}, Spi{}, true).proposals.front());
}
std::string to_text(std::span<const IkeSuite> suites) {
  return joined(suites);
}
std::string to_text(std::span<const EspSuite> suites) {
  return joined(suites);
}
std::string to_text(const SecurityAssociation& sa) {
  return joined(sa.proposals);
}

std::string first_difference(std::span<const IkeSuite> ours, const SecurityAssociation& theirs) {
  std::vector<Wants> wants;
  for (const IkeSuite& suite : ours) wants.push_back(wants_of(suite));
  return first_difference(wants, ProtocolId::kIke, theirs.proposals);
}

std::string first_difference(std::span<const EspSuite> ours, const SecurityAssociation& theirs,
                             bool with_group) {
  std::vector<Wants> wants;
  for (const EspSuite& suite : ours) wants.push_back(wants_of(suite, with_group));
  std::vector<Proposal> seen = theirs.proposals;
  if (!with_group)
    for (Proposal& proposal : seen) proposal = without_key_exchange(std::move(proposal));
  return first_difference(wants, ProtocolId::kEsp, seen);
}

}  // namespace espalier::ike
