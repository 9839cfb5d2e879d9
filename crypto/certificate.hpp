// X.509 certificates for IKE_AUTH (RFC 4945, RFC 5280), by OpenSSL: parsing, chains to a configured
// authority, revocation lists, and which IKE identities a certificate may speak for. Any thread.
#pragma once

#include <array>
#include <chrono>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "crypto/signature.hpp"

struct x509_st;
struct X509_crl_st;

namespace espalier::crypto {

class Certificate {
 public:
  // PEM or DER; of PEM the first, parse_all() takes every one (at least one). Nothing may follow DER.
  [[nodiscard]] static std::expected<Certificate, std::string> parse(std::span<const uint8_t> text);
  [[nodiscard]] static std::expected<std::vector<Certificate>, std::string> parse_all(
      std::span<const uint8_t> text);

  std::vector<uint8_t> to_der() const;
  [[nodiscard]] std::expected<PublicKey, std::string> public_key() const;
  std::vector<uint8_t> subject() const;  // Name in DER: what ID_DER_ASN1_DN carries
  std::string subject_text() const;      // "C=CH, O=Example, CN=gw"; see name_text()
  // SHA-1 of SubjectPublicKeyInfo: what CERTREQ carries (RFC 7296 section 3.7).
  std::array<uint8_t, 20> key_hash() const;
  // subjectAltName entries. Names with a zero byte inside are left out: nobody is to be fooled by what
  // precedes it.
  std::vector<std::string> dns_names() const;
  std::vector<std::string> emails() const;
  std::vector<std::vector<uint8_t>> ip_addresses() const;  // 4 or 16 bytes
  std::chrono::system_clock::time_point not_before() const;
  std::chrono::system_clock::time_point not_after() const;
  x509_st* native() const { return x509_.get(); }

 private:
  explicit Certificate(std::shared_ptr<x509_st> x509) : x509_(std::move(x509)) {}
  std::shared_ptr<x509_st> x509_;
};

// Authorities that are trusted, and their revocation lists.
class TrustStore {
 public:
  void add_authority(Certificate authority);
  // PEM or DER, one or more.
  [[nodiscard]] std::expected<void, std::string> add_revocation_list(std::span<const uint8_t> text);
  const std::vector<Certificate>& authorities() const { return authorities_; }

  // Builds a chain from `leaf` over `intermediates` (the peer's) to an authority (a root, or any other
  // certificate that was added) and checks signatures (MD5, SHA-1 and RSA under 1024 bits are none), validity
  // at `now`, basic and name constraints, key usage for signing (RFC 4945 section 5.1.3.2; extended key usage
  // is not looked at), and revocation where a list of the issuer is known: then an expired list is an error
  // too. Errors tell the certificate and the reason for people: "CN=gw: certificate revoked".
  [[nodiscard]] std::expected<void, std::string> verify(const Certificate& leaf,
                                                        std::span<const Certificate> intermediates,
                                                        std::chrono::system_clock::time_point now) const;

 private:
  std::vector<Certificate> authorities_;
  std::vector<std::shared_ptr<X509_crl_st>> lists_;
};

// A distinguished name as people write it, in DER: "C=CH, O=Example, CN=gw" (strongSwan, openssl's -nameopt
// oneline; with spaces around "=" or not; "+" joins attributes of one RDN; quotes or a backslash before ',',
// '+', '=' in a value), or "/C=CH/O=Example/CN=gw" (old openssl). Attributes by OpenSSL's short or long names
// without case, or OIDs in numbers; and E, Email, UN, G, I, ID, T as strongSwan calls them. Always in the
// order of the certificate, not reversed as in RFC 4514. Errors: an attribute that is not known, a value that
// it cannot have.
[[nodiscard]] std::expected<std::vector<uint8_t>, std::string> parse_distinguished_name(
    std::string_view text);
// Compares two DER names attribute by attribute, case-insensitively as RFC 5280 section 7.1; `pattern` may
// have "*" as the value of an attribute.
[[nodiscard]] bool same_name(std::span<const uint8_t> pattern, std::span<const uint8_t> name);
// As Certificate::subject_text(): printable ASCII, parse_distinguished_name() reads it back. What parts
// attributes is escaped, and all beyond ASCII as RFC 4514 section 2.4 does it ("Z\C3\BCrich"): who made the
// name up need not be trusted, and among those characters are some that steer terminals and turn text around.
// "(an empty distinguished name)"; what is no name in DER: "(not a distinguished name)".
std::string name_text(std::span<const uint8_t> der);

}  // namespace espalier::crypto
