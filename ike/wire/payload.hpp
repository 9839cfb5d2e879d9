// IKEv2's messages as values: RFC 7296 section 3, with nothing of their encoding. Numbers are IANA's. What a
// peer may send and we do not know stays representable (enums hold any value), so that it can be answered and
// logged.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "control/shared/types.hpp"

namespace espalier::ike {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

enum class ExchangeType : uint8_t {
  kIkeSaInit = 34,
  kIkeAuth = 35,
  kCreateChildSa = 36,
  kInformational = 37
};

enum class PayloadType : uint8_t {
  kNone = 0,
  kSecurityAssociation = 33,
  kKeyExchange = 34,
  kIdInitiator = 35,
  kIdResponder = 36,
  kCertificate = 37,
  kCertificateRequest = 38,
  kAuthentication = 39,
  kNonce = 40,
  kNotify = 41,
  kDelete = 42,
  kVendorId = 43,
  kTsInitiator = 44,
  kTsResponder = 45,
  kEncrypted = 46,
  kConfiguration = 47,
  kEap = 48,
  kEncryptedFragment = 53,  // RFC 7383
};

enum class ProtocolId : uint8_t { kNone = 0, kIke = 1, kAh = 2, kEsp = 3 };

enum class NotifyType : uint16_t {
  kUnsupportedCriticalPayload = 1,
  kInvalidIkeSpi = 4,
  kInvalidMajorVersion = 5,
  kInvalidSyntax = 7,
  kInvalidMessageId = 9,
  kInvalidSpi = 11,
  kNoProposalChosen = 14,
  kInvalidKePayload = 17,
  kAuthenticationFailed = 24,
  kSinglePairRequired = 34,
  kNoAdditionalSas = 35,
  kInternalAddressFailure = 36,
  kFailedCpRequired = 37,
  kTsUnacceptable = 38,
  kInvalidSelectors = 39,
  kTemporaryFailure = 43,
  kChildSaNotFound = 44,
  kInitialContact = 16384,
  kSetWindowSize = 16385,
  kAdditionalTsPossible = 16386,
  kIpcompSupported = 16387,
  kNatDetectionSourceIp = 16388,
  kNatDetectionDestinationIp = 16389,
  kCookie = 16390,
  kUseTransportMode = 16391,
  kHttpCertLookupSupported = 16392,
  kRekeySa = 16393,
  kEspTfcPaddingNotSupported = 16394,
  kNonFirstFragmentsAlso = 16395,
  kMobikeSupported = 16396,
  kAuthLifetime = 16403,
  kChildlessIkev2Supported = 16418,
  kFragmentationSupported = 16430,
  kSignatureHashAlgorithms = 16431,
};
constexpr bool is_error(NotifyType type) {
  return static_cast<uint16_t>(type) < 16384;
}
std::string name_of(NotifyType type);      // "NO_PROPOSAL_CHOSEN", or its number
std::string name_of(ExchangeType type);    // "IKE_AUTH"
std::string name_of(PayloadType payload);  // "SA"

enum class TransformType : uint8_t { kEncryption = 1, kPrf = 2, kIntegrity = 3, kKeyExchange = 4, kEsn = 5 };

struct Transform {
  TransformType type{};
  uint16_t id = 0;
  std::optional<uint16_t> key_bits;    // attribute 14
  bool has_unknown_attribute = false;  // then it must not be chosen (RFC 7296 section 3.3.6)
  friend bool operator==(const Transform&, const Transform&) = default;
};

struct Proposal {
  uint8_t number = 1;
  ProtocolId protocol = ProtocolId::kIke;
  Bytes spi;  // 0, 4 (ESP) or 8 (IKE) bytes
  std::vector<Transform> transforms;
  friend bool operator==(const Proposal&, const Proposal&) = default;
};

struct SecurityAssociation {
  std::vector<Proposal> proposals;
};
struct KeyExchangeData {
  uint16_t group = 0;
  Bytes data;
};

enum class IdType : uint8_t {
  kIpv4 = 1,
  kFqdn = 2,
  kEmail = 3,
  kIpv6 = 5,
  kDistinguishedName = 9,
  kGeneralName = 10,
  kKeyId = 11,
};
// RFC 7296 section 3.5. See identity.hpp for its text form and comparing.
struct Identity {
  IdType type = IdType::kFqdn;
  Bytes data;
  friend bool operator==(const Identity&, const Identity&) = default;
};
struct IdPayload {
  bool initiator = true;
  Identity identity;
};

enum class CertEncoding : uint8_t { kX509Signature = 4, kCrl = 7, kHashAndUrl = 12, kRawPublicKey = 15 };
struct CertificateData {
  CertEncoding encoding{};
  Bytes data;
};
struct CertificateRequest {
  CertEncoding encoding{};
  Bytes authorities;  // SHA-1 hashes of keys, 20 bytes each
};

enum class AuthMethod : uint8_t {
  kRsaSignature = 1,
  kSharedKey = 2,
  kEcdsaP256 = 9,
  kEcdsaP384 = 10,
  kEcdsaP521 = 11,
  kNull = 13,
  kDigitalSignature = 14,  // RFC 7427
};
struct Authentication {
  AuthMethod method{};
  Bytes data;
};
struct Nonce {
  Bytes data;  // 16..256 bytes
};
struct Notify {
  NotifyType type{};
  ProtocolId protocol = ProtocolId::kNone;
  Bytes spi{};
  Bytes data{};
};
struct Delete {
  ProtocolId protocol{};
  std::vector<Spi> spis;  // of ESP and AH
};
struct VendorId {
  Bytes data;
};

// RFC 7296 section 3.13.1: an inclusive range. Ports are (type << 8 | code) for ICMP; low > high (65535, 0)
// is OPAQUE.
struct TrafficSelector {
  uint8_t protocol = 0;
  PortRange ports;
  IpAddress low, high;  // of one family
  friend bool operator==(const TrafficSelector&, const TrafficSelector&) = default;
};
struct TrafficSelectors {
  bool initiator = true;
  std::vector<TrafficSelector> selectors;
};

struct RawPayload {  // of a type that we do not read (configuration, EAP); `critical` as the peer set it
  uint8_t type = 0;
  bool critical = false;
  Bytes data;
};

using Payload =
    std::variant<SecurityAssociation, KeyExchangeData, IdPayload, CertificateData, CertificateRequest,
                 Authentication, Nonce, Notify, Delete, VendorId, TrafficSelectors, RawPayload>;

struct Header {
  uint64_t initiator_spi = 0;
  uint64_t responder_spi = 0;
  uint8_t major = 2, minor = 0;
  ExchangeType exchange{};
  bool initiator = false;  // I: sent by the IKE SA's original initiator
  bool response = false;   // R
  uint32_t message_id = 0;
  friend bool operator==(const Header&, const Header&) = default;
};

struct Message {
  Header header;
  std::vector<Payload> payloads;

  template <class P>
  const P* find() const {
    for (const Payload& each : payloads)
      if (const P* found = std::get_if<P>(&each)) return found;
    return nullptr;
  }
  const Notify* notify(NotifyType type) const {
    for (const Payload& each : payloads)
      if (const Notify* found = std::get_if<Notify>(&each); found && found->type == type) return found;
    return nullptr;
  }
  // The first error notification, or null.
  const Notify* error() const {
    for (const Payload& each : payloads)
      if (const Notify* found = std::get_if<Notify>(&each); found && is_error(found->type)) return found;
    return nullptr;
  }
  const IdPayload* identity(bool initiator) const {
    for (const Payload& each : payloads)
      if (const auto* found = std::get_if<IdPayload>(&each); found && found->initiator == initiator)
        return found;
    return nullptr;
  }
  const TrafficSelectors* selectors(bool initiator) const {
    for (const Payload& each : payloads)
      if (const auto* found = std::get_if<TrafficSelectors>(&each); found && found->initiator == initiator)
        return found;
    return nullptr;
  }
};

}  // namespace espalier::ike
