// Certificates of IKE_AUTH: asked for, sent, and what the peer's is worth.
#include <strings.h>

#include <algorithm>

#include "ike/sa/authentication.hpp"

namespace espalier::ike {
namespace {

using crypto::Certificate;

constexpr size_t kMaxCertificates =
    16;  // of a peer: chains are short, and each costs time before it is trusted
constexpr size_t kKeyHashBytes = 20;

bool same_text(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// RFC 5280 section 7.5: the host without case, the mailbox as it is.
bool same_email(std::string_view a, std::string_view b) {
  const size_t at_a = a.rfind('@'), at_b = b.rfind('@');
  if (at_a == a.npos || at_b == b.npos) return false;
  return a.substr(0, at_a) == b.substr(0, at_b) && same_text(a.substr(at_a), b.substr(at_b));
}

bool names(const Certificate& certificate, const Identity& identity) {
  const std::string_view text(reinterpret_cast<const char*>(identity.data.data()), identity.data.size());
  const Bytes subject = certificate.subject();
  switch (identity.type) {
    case IdType::kIpv4:
    case IdType::kIpv6: {
      const auto addresses = certificate.ip_addresses();
      return std::ranges::find(addresses, identity.data) != addresses.end();
    }
    case IdType::kFqdn:
      return !text.contains('*') && std::ranges::any_of(certificate.dns_names(), [&](const auto& name) {
        return same_text(name, text);
      });
    case IdType::kEmail:
      return !text.contains('*') && std::ranges::any_of(certificate.emails(), [&](const auto& name) {
        return same_email(name, text);
      });
    case IdType::kDistinguishedName:
      // Both ways: neither side's "*" is a wildcard here.
      return crypto::same_name(subject, identity.data) && crypto::same_name(identity.data, subject);
    case IdType::kGeneralName:
    case IdType::kKeyId:
      break;
  }
  return false;
}

// The peer's certificates, the leaf first.
Result<std::vector<Certificate>> certificates_of(const Message& message) {
  std::vector<Certificate> certificates;
  for (const Payload& each : message.payloads) {
    const auto* data = std::get_if<CertificateData>(&each);
    if (data == nullptr || data->encoding != CertEncoding::kX509Signature) continue;
    if (certificates.size() == kMaxCertificates)
      return fail("the peer sends more than {} certificates", kMaxCertificates);
    auto parsed = Certificate::parse(data->data);
    if (!parsed)
      return fail("the peer's certificate {} cannot be read: {}", certificates.size() + 1, parsed.error());
    certificates.push_back(std::move(*parsed));
  }
  if (certificates.empty()) return fail("the peer sends no certificate");
  return certificates;
}

}  // namespace

CertificateRequest certificate_request(const crypto::TrustStore& trust) {
  CertificateRequest request{CertEncoding::kX509Signature, {}};
  for (const Certificate& authority : trust.authorities()) {
    const auto hash = authority.key_hash();
    request.authorities.insert(request.authorities.end(), hash.begin(), hash.end());
  }
  return request;
}

std::vector<CertificateData> certificates_to_send(const LocalCredential& credential, const Message& message) {
  const auto named = [&](const Certificate& certificate) {
    const auto hash = certificate.key_hash();
    for (const Payload& each : message.payloads) {
      const auto* request = std::get_if<CertificateRequest>(&each);
      if (request == nullptr || request->encoding != CertEncoding::kX509Signature) continue;
      for (ByteView rest = request->authorities; rest.size() >= kKeyHashBytes;
           rest = rest.subspan(kKeyHashBytes))
        if (std::ranges::equal(rest.first(kKeyHashBytes), hash)) return true;
    }
    return false;
  };
  std::vector<CertificateData> sent;
  for (const Certificate& certificate : credential.chain) {
    if (!sent.empty() && named(certificate)) break;  // the peer has this one and what is above it
    sent.push_back({CertEncoding::kX509Signature, certificate.to_der()});
  }
  return sent;
}

Result<void> speaks_for(const Certificate& certificate, const Identity& identity) {
  if (identity.type == IdType::kKeyId || identity.type == IdType::kGeneralName)
    return fail("the peer says it is '{}', which is not a kind of name that a certificate speaks for",
                to_text(identity));
  if (!names(certificate, identity))
    return fail("the peer says it is '{}', but its certificate {} is not for that name", to_text(identity),
                certificate.subject_text());
  return {};
}

Result<crypto::PublicKey> certified_key(const crypto::TrustStore& trust, const Identity& identity,
                                        const Message& message, std::chrono::system_clock::time_point now) {
  const std::vector<Certificate> certificates = TRY(certificates_of(message));
  const Certificate& leaf = certificates.front();
  const auto trusted = trust.verify(leaf, std::span(certificates).subspan(1), now);
  if (!trusted) return fail("the peer's certificate: {}", trusted.error());
  if (auto fits = speaks_for(leaf, identity); !fits) return std::unexpected(std::move(fits).error());
  auto key = leaf.public_key();
  if (!key) return fail("the peer's certificate {}: {}", leaf.subject_text(), key.error());
  return std::move(*key);
}

}  // namespace espalier::ike
