// Messages to bytes. Reserved fields and the critical bits of payloads that RFC 7296 defines are 0
// (section 3.2).
#include "ike/wire/codec.hpp"
#include "ike/wire/numbers.hpp"
#include "ike/wire/writer.hpp"

namespace espalier::ike {
namespace {

void write_transform(const Transform& transform, bool last, FieldWriter& out) {
  const size_t start = out.begin(last ? 0 : kMoreTransforms, 0);
  out.u8(static_cast<uint8_t>(transform.type));
  out.u8(0);
  out.u16(transform.id);
  if (transform.key_bits) {
    out.u16(kFixedAttribute | kKeyLengthAttribute);
    out.u16(*transform.key_bits);
  }
  out.end(start);
}

void write_proposal(const Proposal& proposal, bool last, FieldWriter& out) {
  const size_t start = out.begin(last ? 0 : kMoreProposals, 0);
  out.u8(proposal.number);
  out.u8(static_cast<uint8_t>(proposal.protocol));
  out.u8(static_cast<uint8_t>(proposal.spi.size()));
  out.u8(static_cast<uint8_t>(proposal.transforms.size()));
  out.bytes(proposal.spi);
  for (const Transform& transform : proposal.transforms)
    write_transform(transform, &transform == &proposal.transforms.back(), out);
  out.end(start);
}

void write_address(const IpAddress& address, bool v4, FieldWriter& out) {
  if (v4) return out.u32(address.v4().host());
  out.u64(address.high.host());
  out.u64(address.low.host());
}

void write_selector(const TrafficSelector& selector, FieldWriter& out) {
  const bool v4 = selector.low.is_v4();
  const size_t start = out.begin(v4 ? kTsIpv4Range : kTsIpv6Range, selector.protocol);
  out.u16(selector.ports.low);
  out.u16(selector.ports.high);
  write_address(selector.low, v4, out);
  write_address(selector.high, v4, out);
  out.end(start);
}

// The body of each payload.
void write_body(const SecurityAssociation& sa, FieldWriter& out) {
  for (const Proposal& proposal : sa.proposals)
    write_proposal(proposal, &proposal == &sa.proposals.back(), out);
}
void write_body(const KeyExchangeData& ke, FieldWriter& out) {
  out.u16(ke.group);
  out.zeros(2);
  out.bytes(ke.data);
}
void write_body(const IdPayload& id, FieldWriter& out) {
  out.u8(static_cast<uint8_t>(id.identity.type));
  out.zeros(3);
  out.bytes(id.identity.data);
}
void write_body(const CertificateData& certificate, FieldWriter& out) {
  out.u8(static_cast<uint8_t>(certificate.encoding));
  out.bytes(certificate.data);
}
void write_body(const CertificateRequest& request, FieldWriter& out) {
  out.u8(static_cast<uint8_t>(request.encoding));
  out.bytes(request.authorities);
}
void write_body(const Authentication& authentication, FieldWriter& out) {
  out.u8(static_cast<uint8_t>(authentication.method));
  out.zeros(3);
  out.bytes(authentication.data);
}
void write_body(const Nonce& nonce, FieldWriter& out) {
  out.bytes(nonce.data);
}
void write_body(const Notify& notify, FieldWriter& out) {
  out.u8(static_cast<uint8_t>(notify.protocol));
  out.u8(static_cast<uint8_t>(notify.spi.size()));
  out.u16(static_cast<uint16_t>(notify.type));
  out.bytes(notify.spi);
  out.bytes(notify.data);
}
void write_body(const Delete& deleted, FieldWriter& out) {
  out.u8(static_cast<uint8_t>(deleted.protocol));
  out.u8(deleted.spis.empty() ? 0 : sizeof(uint32_t));
  out.u16(static_cast<uint16_t>(deleted.spis.size()));
  for (const Spi spi : deleted.spis) out.u32(spi.value);
}
void write_body(const VendorId& vendor, FieldWriter& out) {
  out.bytes(vendor.data);
}
void write_body(const TrafficSelectors& ts, FieldWriter& out) {
  assert(ts.selectors.size() <= 255);
  out.u8(static_cast<uint8_t>(ts.selectors.size()));
  out.zeros(3);
  for (const TrafficSelector& selector : ts.selectors) write_selector(selector, out);
}
void write_body(const RawPayload& raw, FieldWriter& out) {
  out.bytes(raw.data);
}

PayloadType type_of(const SecurityAssociation&) {
  return PayloadType::kSecurityAssociation;
}
PayloadType type_of(const KeyExchangeData&) {
  return PayloadType::kKeyExchange;
}
PayloadType type_of(const IdPayload& id) {
  return id.initiator ? PayloadType::kIdInitiator : PayloadType::kIdResponder;
}
PayloadType type_of(const CertificateData&) {
  return PayloadType::kCertificate;
}
PayloadType type_of(const CertificateRequest&) {
  return PayloadType::kCertificateRequest;
}
PayloadType type_of(const Authentication&) {
  return PayloadType::kAuthentication;
}
PayloadType type_of(const Nonce&) {
  return PayloadType::kNonce;
}
PayloadType type_of(const Notify&) {
  return PayloadType::kNotify;
}
PayloadType type_of(const Delete&) {
  return PayloadType::kDelete;
}
PayloadType type_of(const VendorId&) {
  return PayloadType::kVendorId;
}
PayloadType type_of(const TrafficSelectors& ts) {
  return ts.initiator ? PayloadType::kTsInitiator : PayloadType::kTsResponder;
}
PayloadType type_of(const RawPayload& raw) {
  return static_cast<PayloadType>(raw.type);
}

uint8_t number_of(const Payload& payload) {
  return static_cast<uint8_t>(std::visit([](const auto& each) { return type_of(each); }, payload));
}
bool is_critical(const Payload& payload) {
  const auto* raw = std::get_if<RawPayload>(&payload);
  return raw != nullptr && raw->critical;
}

}  // namespace

Encoded encode_payloads(std::span<const Payload> payloads) {
  Encoded encoded;
  FieldWriter out(encoded.bytes);
  if (!payloads.empty()) encoded.first = number_of(payloads.front());
  for (size_t i = 0; i < payloads.size(); ++i) {
    const uint8_t next = i + 1 < payloads.size() ? number_of(payloads[i + 1]) : 0;
    const size_t start = out.begin(next, is_critical(payloads[i]) ? kCriticalBit : 0);
    std::visit([&](const auto& each) { write_body(each, out); }, payloads[i]);
    out.end(start);
  }
  return encoded;
}

void write_header(const Header& header, uint8_t first_payload, size_t message_bytes, Bytes& bytes) {
  FieldWriter out(bytes);
  out.u64(header.initiator_spi);
  out.u64(header.responder_spi);
  out.u8(first_payload);
  out.u8(static_cast<uint8_t>(header.major << 4 | header.minor));
  out.u8(static_cast<uint8_t>(header.exchange));
  out.u8((header.initiator ? kInitiatorFlag : 0) | (header.response ? kResponseFlag : 0));
  out.u32(header.message_id);
  out.u32(static_cast<uint32_t>(message_bytes));
}

Bytes encode_clear(const Message& message) {
  const Encoded payloads = encode_payloads(message.payloads);
  Bytes bytes;
  write_header(message.header, payloads.first, kHeaderBytes + payloads.bytes.size(), bytes);
  bytes.insert(bytes.end(), payloads.bytes.begin(), payloads.bytes.end());
  return bytes;
}

}  // namespace espalier::ike
