#include "crypto/certificate.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#include <climits>

#include "crypto/openssl.hpp"
#include "crypto/prf.hpp"

namespace espalier::crypto {
namespace {

using Bytes = std::span<const uint8_t>;
using X509Owned = openssl::Owned<X509, ::X509_free>;

constexpr const char* kNotCertificate = "not a certificate in PEM or DER";

bool has_pem(Bytes text, std::string_view kind) {
  const std::string_view all(reinterpret_cast<const char*>(text.data()), text.size());
  return all.find(std::string("-----BEGIN ").append(kind)) != std::string_view::npos;
}

X509Owned read_pem(BIO* bio) {
  return X509Owned(::PEM_read_bio_X509(bio, nullptr, openssl::refuse_passphrase, nullptr));
}

X509Owned read_der(Bytes text) {
  if (text.size() > INT_MAX) return nullptr;
  const uint8_t* at = text.data();
  X509Owned x509(::d2i_X509(nullptr, &at, static_cast<long>(text.size())));
  return at == text.data() + text.size() ? std::move(x509) : nullptr;
}

template <class T>
std::vector<uint8_t> to_der_by(int (*encode)(const T*, unsigned char**), const T* object) {
  const int size = encode(object, nullptr);
  if (size <= 0) return {};
  std::vector<uint8_t> der(static_cast<size_t>(size));
  uint8_t* at = der.data();
  encode(object, &at);
  return der;
}

std::chrono::system_clock::time_point time_of(const ASN1_TIME* time) {
  tm parts{};
  if (::ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

// Calls `take(string)` for each subjectAltName of a type: GEN_DNS, GEN_EMAIL, GEN_IPADD.
template <class Take>
void for_each_name(const X509* x509, int type, Take&& take) {
  const openssl::QuietErrors quiet;
  const openssl::Owned<GENERAL_NAMES, ::GENERAL_NAMES_free> names(
      static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(x509, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int found = 0;
    const void* value = ::GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &found);
    if (found != type) continue;
    const auto* string = static_cast<const ASN1_STRING*>(value);
    take(Bytes(::ASN1_STRING_get0_data(string), static_cast<size_t>(::ASN1_STRING_length(string))));
  }
}

std::vector<std::string> text_names(const X509* x509, int type) {
  std::vector<std::string> all;
  for_each_name(x509, type, [&](Bytes bytes) {
    std::string text(bytes.begin(), bytes.end());
    if (text.find('\0') == std::string::npos) all.push_back(std::move(text));
  });
  return all;
}

}  // namespace

std::expected<Certificate, std::string> Certificate::parse(Bytes text) {
  const openssl::QuietErrors quiet;
  X509Owned x509;
  if (!has_pem(text, "")) {
    x509 = read_der(text);
  } else if (const openssl::Bio bio = openssl::read_only(text)) {
    x509 = read_pem(bio.get());
  }
  if (!x509) return std::unexpected(kNotCertificate);
  return Certificate(std::move(x509));
}

std::expected<std::vector<Certificate>, std::string> Certificate::parse_all(Bytes text) {
  std::vector<Certificate> all;
  if (!has_pem(text, "")) {
    auto one = parse(text);
    if (!one) return std::unexpected(one.error());
    all.push_back(std::move(*one));
    return all;
  }
  const openssl::Bio bio = openssl::read_only(text);
  if (!bio) return openssl::failure("certificates");
  ::ERR_clear_error();
  while (X509Owned x509 = read_pem(bio.get())) all.push_back(Certificate(std::move(x509)));
  const bool at_end = ERR_GET_REASON(::ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ::ERR_clear_error();
  if (!at_end) return std::unexpected("a certificate in the file is damaged");
  if (all.empty()) return std::unexpected(kNotCertificate);
  return all;
}

std::vector<uint8_t> Certificate::to_der() const {
  return to_der_by<X509>(::i2d_X509, x509_.get());
}

std::expected<PublicKey, std::string> Certificate::public_key() const {
  const openssl::QuietErrors quiet;
  openssl::Key key(::X509_get_pubkey(x509_.get()));
  if (!key) return std::unexpected("the certificate's key is of a kind that is not supported");
  return PublicKey::take(std::move(key));
}

std::vector<uint8_t> Certificate::subject() const {
  return to_der_by<X509_NAME>(::i2d_X509_NAME, ::X509_get_subject_name(x509_.get()));
}

std::string Certificate::subject_text() const {
  return name_text(subject());
}

std::array<uint8_t, 20> Certificate::key_hash() const {
  const std::vector<uint8_t> key =
      to_der_by<X509_PUBKEY>(::i2d_X509_PUBKEY, ::X509_get_X509_PUBKEY(x509_.get()));
  return sha1({key}).value_or(std::array<uint8_t, 20>{});
}

std::vector<std::string> Certificate::dns_names() const {
  return text_names(x509_.get(), GEN_DNS);
}

std::vector<std::string> Certificate::emails() const {
  return text_names(x509_.get(), GEN_EMAIL);
}

std::vector<std::vector<uint8_t>> Certificate::ip_addresses() const {
  std::vector<std::vector<uint8_t>> all;
  for_each_name(x509_.get(), GEN_IPADD, [&](Bytes bytes) {
    if (bytes.size() == 4 || bytes.size() == 16) all.emplace_back(bytes.begin(), bytes.end());
  });
  return all;
}

std::chrono::system_clock::time_point Certificate::not_before() const {
  return time_of(::X509_get0_notBefore(x509_.get()));
}

std::chrono::system_clock::time_point Certificate::not_after() const {
  return time_of(::X509_get0_notAfter(x509_.get()));
}

}  // namespace espalier::crypto
