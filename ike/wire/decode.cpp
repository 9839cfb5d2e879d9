// Bytes to messages. Everything is checked where it is read: a ParseError names the payload and what is wrong
// with it. Reserved fields are not looked at (RFC 7296 section 2.5).
#include <fmt/format.h>

#include "control/shared/error.hpp"
#include "ike/wire/codec.hpp"
#include "ike/wire/numbers.hpp"
#include "ike/wire/reader.hpp"

namespace espalier::ike {
namespace {

template <class T>
using Parsed = std::expected<T, ParseError>;

template <class... Args>
std::unexpected<ParseError> syntax_error(fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(ParseError{.text = fmt::format(format, std::forward<Args>(args)...)});
}

Bytes copy_of(ByteView bytes) {
  return {bytes.begin(), bytes.end()};
}

// --- SA: section 3.3 ---

// The body of one proposal or transform. Its first byte has to say whether another one follows (`more`) or
// not (0).
std::optional<FieldReader> read_substructure(FieldReader& in, uint8_t more) {
  const uint8_t mark = in.u8();
  in.skip(1);
  const uint16_t length = in.u16();
  if (length < 4) return std::nullopt;
  const FieldReader body(in.bytes(length - 4u));
  if (!in.ok() || mark != (in.left() > 0 ? more : 0)) return std::nullopt;
  return body;
}

// An attribute that we do not know spoils its transform only (section 3.3.6), and so does a key length that
// comes twice or is not in the short form.
bool read_attributes(FieldReader& in, Transform& transform) {
  while (in.left() > 0) {
    const uint16_t type = in.u16();
    const uint16_t value_or_length = in.u16();
    if ((type & kFixedAttribute) == 0) in.skip(value_or_length);
    if (type == (kFixedAttribute | kKeyLengthAttribute) && !transform.key_bits)
      transform.key_bits = value_or_length;
    else
      transform.has_unknown_attribute = true;
  }
  return in.ok();
}

Parsed<Transform> read_transform(FieldReader& in, size_t number) {
  std::optional<FieldReader> body = read_substructure(in, kMoreTransforms);
  if (!body) return syntax_error("transform {} is cut off, or its mark or length is wrong", number);
  Transform transform;
  transform.type = static_cast<TransformType>(body->u8());
  body->skip(1);
  transform.id = body->u16();
  if (!body->ok()) return syntax_error("transform {} is too short", number);
  if (!read_attributes(*body, transform))
    return syntax_error("transform {}: an attribute is cut off", number);
  return transform;
}

bool is_spi_size(ProtocolId protocol, size_t bytes) {
  switch (protocol) {
    case ProtocolId::kIke:
      return bytes == 0 || bytes == 8;
    case ProtocolId::kAh:
    case ProtocolId::kEsp:
      return bytes == 4;
    case ProtocolId::kNone:
      break;
  }
  return true;  // of a protocol that we do not know
}

Parsed<Proposal> read_proposal(FieldReader& in, size_t number) {
  std::optional<FieldReader> body = read_substructure(in, kMoreProposals);
  if (!body) return syntax_error("proposal {} is cut off, or its mark or length is wrong", number);
  Proposal proposal;
  proposal.number = body->u8();
  proposal.protocol = static_cast<ProtocolId>(body->u8());
  const uint8_t spi_bytes = body->u8();
  const uint8_t transforms = body->u8();
  proposal.spi = copy_of(body->bytes(spi_bytes));
  if (!body->ok()) return syntax_error("proposal {} is too short", number);
  if (!is_spi_size(proposal.protocol, spi_bytes))
    return syntax_error("proposal {}: an SPI of {} bytes", number, spi_bytes);
  for (size_t i = 1; i <= transforms; ++i) {
    Parsed<Transform> transform = read_transform(*body, i);
    if (!transform) return syntax_error("proposal {}: {}", number, transform.error().text);
    proposal.transforms.push_back(*transform);
  }
  if (!body->done()) return syntax_error("proposal {}: bytes behind the last transform", number);
  return proposal;
}

Parsed<Payload> read_security_association(FieldReader in) {
  SecurityAssociation sa;
  do {
    if (sa.proposals.size() == kMaxProposals) return syntax_error("more than {} proposals", kMaxProposals);
    sa.proposals.push_back(TRY(read_proposal(in, sa.proposals.size() + 1)));
  } while (in.left() > 0);
  return sa;
}

// --- What consists of fixed fields and data ---

Parsed<Payload> read_key_exchange(FieldReader in) {
  KeyExchangeData ke;
  ke.group = in.u16();
  in.skip(2);
  ke.data = copy_of(in.rest());
  if (!in.ok()) return syntax_error("too short");
  return ke;
}

Parsed<Payload> read_identity(FieldReader in, bool initiator) {
  IdPayload id{.initiator = initiator, .identity = {}};
  id.identity.type = static_cast<IdType>(in.u8());
  in.skip(3);
  id.identity.data = copy_of(in.rest());
  if (!in.ok()) return syntax_error("too short");
  return id;
}

Parsed<Payload> read_certificate(FieldReader in) {
  CertificateData certificate;
  certificate.encoding = static_cast<CertEncoding>(in.u8());
  certificate.data = copy_of(in.rest());
  if (!in.ok()) return syntax_error("too short");
  return certificate;
}

Parsed<Payload> read_certificate_request(FieldReader in) {
  CertificateRequest request;
  request.encoding = static_cast<CertEncoding>(in.u8());
  request.authorities = copy_of(in.rest());
  if (!in.ok()) return syntax_error("too short");
  return request;
}

Parsed<Payload> read_authentication(FieldReader in) {
  Authentication authentication;
  authentication.method = static_cast<AuthMethod>(in.u8());
  in.skip(3);
  authentication.data = copy_of(in.rest());
  if (!in.ok()) return syntax_error("too short");
  return authentication;
}

Parsed<Payload> read_nonce(FieldReader in) {
  if (in.left() < kMinNonceBytes || in.left() > kMaxNonceBytes) return syntax_error("{} bytes", in.left());
  return Nonce{copy_of(in.rest())};
}

Parsed<Payload> read_notify(FieldReader in) {
  Notify notify;
  notify.protocol = static_cast<ProtocolId>(in.u8());
  const uint8_t spi_bytes = in.u8();
  notify.type = static_cast<NotifyType>(in.u16());
  notify.spi = copy_of(in.bytes(spi_bytes));
  notify.data = copy_of(in.rest());
  if (!in.ok()) return syntax_error("too short");
  return notify;
}

// Section 3.11. Those of a protocol that we do not know are left out.
Parsed<Payload> read_delete(FieldReader in) {
  Delete deleted;
  deleted.protocol = static_cast<ProtocolId>(in.u8());
  const uint8_t spi_bytes = in.u8();
  const uint16_t count = in.u16();
  if (!in.ok() || in.left() != size_t{count} * spi_bytes)
    return syntax_error("{} SPIs of {} bytes do not fill it", count, spi_bytes);
  const bool of_ike = deleted.protocol == ProtocolId::kIke;
  if (of_ike ? count != 0 : count > 0 && !is_spi_size(deleted.protocol, spi_bytes))
    return syntax_error("{} SPIs of {} bytes", count, spi_bytes);
  if (deleted.protocol == ProtocolId::kEsp || deleted.protocol == ProtocolId::kAh)
    while (in.left() > 0) deleted.spis.emplace_back(in.u32());
  return deleted;
}

Parsed<Payload> read_vendor_id(FieldReader in) {
  return VendorId{copy_of(in.rest())};
}

// --- TS: section 3.13 ---

IpAddress read_address(FieldReader& in, bool v4) {
  if (v4) return Ipv4Address::from_host(in.u32());
  const uint64_t high = in.u64();
  return {be64::from_host(high), be64::from_host(in.u64())};
}

bool is_opaque(PortRange ports) {
  return ports.low == 0xffff && ports.high == 0;
}

// Nothing: of a type that we do not know, or IPv6 addresses of the form ::ffff:a.b.c.d, which no packet has
// (types.hpp) and which would become IPv4 here. It is left out, as if the peer had not offered it.
Parsed<std::optional<TrafficSelector>> read_selector(FieldReader& in) {
  const uint8_t type = in.u8();
  TrafficSelector selector;
  selector.protocol = in.u8();
  const uint16_t length = in.u16();
  if (length < kSelectorHeaderBytes) return syntax_error("has no length");
  FieldReader body(in.bytes(length - kSelectorHeaderBytes));
  if (!in.ok()) return syntax_error("is cut off");
  if (type != kTsIpv4Range && type != kTsIpv6Range) return std::nullopt;
  const bool v4 = type == kTsIpv4Range;
  selector.ports.low = body.u16();
  selector.ports.high = body.u16();
  selector.low = read_address(body, v4);
  selector.high = read_address(body, v4);
  if (!body.done()) return syntax_error("has a length of {}", length);
  if (!v4 && (selector.low.is_v4() || selector.high.is_v4())) return std::nullopt;
  if (selector.low > selector.high) return syntax_error("ends before it begins");
  if (selector.ports.low > selector.ports.high && !is_opaque(selector.ports))
    return syntax_error("has ports that end before they begin");
  return selector;
}

Parsed<Payload> read_selectors(FieldReader in, bool initiator) {
  TrafficSelectors ts{.initiator = initiator, .selectors = {}};
  const uint8_t count = in.u8();
  in.skip(3);
  if (!in.ok()) return syntax_error("too short");
  for (size_t i = 1; i <= count; ++i) {
    Parsed<std::optional<TrafficSelector>> selector = read_selector(in);
    if (!selector) return syntax_error("selector {} {}", i, selector.error().text);
    if (*selector) ts.selectors.push_back(**selector);
  }
  if (!in.done()) return syntax_error("bytes behind the last selector");
  return ts;
}

// --- Chains ---

// Nothing: a payload to be left out.
Parsed<std::optional<Payload>> read_payload(uint8_t type, bool critical, ByteView body) {
  const FieldReader in(body);
  switch (static_cast<PayloadType>(type)) {
    case PayloadType::kSecurityAssociation:
      return read_security_association(in);
    case PayloadType::kKeyExchange:
      return read_key_exchange(in);
    case PayloadType::kIdInitiator:
      return read_identity(in, true);
    case PayloadType::kIdResponder:
      return read_identity(in, false);
    case PayloadType::kCertificate:
      return read_certificate(in);
    case PayloadType::kCertificateRequest:
      return read_certificate_request(in);
    case PayloadType::kAuthentication:
      return read_authentication(in);
    case PayloadType::kNonce:
      return read_nonce(in);
    case PayloadType::kNotify:
      return read_notify(in);
    case PayloadType::kDelete:
      return read_delete(in);
    case PayloadType::kVendorId:
      return read_vendor_id(in);
    case PayloadType::kTsInitiator:
      return read_selectors(in, true);
    case PayloadType::kTsResponder:
      return read_selectors(in, false);
    case PayloadType::kConfiguration:
    case PayloadType::kEap:
      return RawPayload{type, critical, copy_of(body)};
    case PayloadType::kEncrypted:
    case PayloadType::kEncryptedFragment:
      return syntax_error("not allowed here");
    case PayloadType::kNone:
      break;
  }
  if (!critical) return std::nullopt;
  return std::unexpected(ParseError{NotifyType::kUnsupportedCriticalPayload, type, "unknown and critical"});
}

}  // namespace

std::expected<std::vector<Payload>, ParseError> parse_payloads(uint8_t first, ByteView bytes) {
  std::vector<Payload> payloads;
  FieldReader in(bytes);
  size_t count = 0;
  for (uint8_t type = first; type != 0;) {
    if (++count > kMaxPayloads) return syntax_error("more than {} payloads", kMaxPayloads);
    const uint8_t next = in.u8();
    const bool critical = (in.u8() & kCriticalBit) != 0;
    const uint16_t length = in.u16();
    const ByteView body = in.bytes(std::max<size_t>(length, kPayloadHeaderBytes) - kPayloadHeaderBytes);
    const std::string name = name_of(static_cast<PayloadType>(type));
    if (!in.ok() || length < kPayloadHeaderBytes) return syntax_error("{} payload: cut off", name);
    Parsed<std::optional<Payload>> payload = read_payload(type, critical, body);
    if (!payload) {
      payload.error().text = fmt::format("{} payload: {}", name, payload.error().text);
      return std::unexpected(std::move(payload).error());
    }
    if (*payload) payloads.push_back(**std::move(payload));
    type = next;
  }
  if (in.left() > 0) return syntax_error("{} bytes behind the last payload", in.left());
  return payloads;
}

std::expected<Envelope, ParseError> parse_envelope(ByteView datagram) {
  FieldReader in(datagram);
  Envelope envelope;
  Header& header = envelope.header;
  header.initiator_spi = in.u64();
  header.responder_spi = in.u64();
  envelope.first_payload = in.u8();
  const uint8_t version = in.u8();
  header.major = version >> 4;
  header.minor = version & 0x0f;
  header.exchange = static_cast<ExchangeType>(in.u8());
  const uint8_t flags = in.u8();
  header.initiator = (flags & kInitiatorFlag) != 0;
  header.response = (flags & kResponseFlag) != 0;
  header.message_id = in.u32();
  const uint32_t length = in.u32();
  if (!in.ok()) return syntax_error("{} bytes are no IKE header", datagram.size());
  if (header.major != 2)
    return std::unexpected(
        ParseError{NotifyType::kInvalidMajorVersion, 2, fmt::format("IKE version {}", header.major)});
  if (length != datagram.size()) return syntax_error("{} bytes of a message of {}", datagram.size(), length);
  if (header.exchange == ExchangeType::kIkeSaInit && !header.response && length > kMaxInitRequestBytes)
    return syntax_error("an IKE_SA_INIT request of {} bytes", length);
  if (header.initiator_spi == 0) return syntax_error("the initiator's SPI is 0");
  envelope.body = in.rest();
  return envelope;
}

}  // namespace espalier::ike
