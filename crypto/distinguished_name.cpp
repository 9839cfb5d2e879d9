// Distinguished names: text, DER and comparison (certificate.hpp).
#include <fmt/format.h>
#include <openssl/asn1.h>
#include <openssl/x509.h>

#include <algorithm>
#include <climits>
#include <optional>

#include "crypto/certificate.hpp"
#include "crypto/openssl.hpp"

namespace espalier::crypto {
namespace {

using Name = openssl::Owned<X509_NAME, ::X509_NAME_free>;
using ObjectId = openssl::Owned<ASN1_OBJECT, ::ASN1_OBJECT_free>;

struct Alias {
  std::string_view text;  // in lower case
  int nid;
};
// What people write and OpenSSL does not know by that name (or only in other case).
constexpr Alias kAliases[] = {
    {"c", NID_countryName},
    {"st", NID_stateOrProvinceName},
    {"l", NID_localityName},
    {"o", NID_organizationName},
    {"ou", NID_organizationalUnitName},
    {"cn", NID_commonName},
    {"dc", NID_domainComponent},
    {"uid", NID_userId},
    {"sn", NID_surname},
    {"serialnumber", NID_serialNumber},
    {"e", NID_pkcs9_emailAddress},
    {"email", NID_pkcs9_emailAddress},
    {"emailaddress", NID_pkcs9_emailAddress},
    {"un", NID_pkcs9_unstructuredName},
    {"g", NID_givenName},
    {"gn", NID_givenName},
    {"i", NID_initials},
    {"id", NID_x500UniqueIdentifier},
    {"t", NID_title},
    {"street", NID_streetAddress},
    {"dnqualifier", NID_dnQualifier},
};

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

ObjectId find_attribute(std::string_view name) {
  std::string lowered(name);
  std::ranges::transform(lowered, lowered.begin(), lower);
  if (const auto* at = std::ranges::find(kAliases, lowered, &Alias::text); at != std::end(kAliases))
    return ObjectId(::OBJ_dup(::OBJ_nid2obj(at->nid)));
  return ObjectId(::OBJ_txt2obj(std::string(name).c_str(), 0));
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char low = lower(c);
  return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

// Walks over "TYPE=value, TYPE=value", or "/TYPE=value/TYPE=value".
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(trim(text)), slashes_(rest_.starts_with('/')) {
    if (slashes_) rest_.remove_prefix(1);
  }

  bool at_end() const { return rest_.empty(); }
  // What precedes "="; nothing: there is none.
  std::optional<std::string_view> type() {
    const size_t sign = rest_.find('=');
    if (sign == std::string_view::npos) return std::nullopt;
    const std::string_view found = trim(rest_.substr(0, sign));
    rest_ = rest_.substr(sign + 1);
    while (!rest_.empty() && is_blank(rest_.front())) rest_.remove_prefix(1);
    return found;
  }
  // Up to the separator, which is taken too; `joined`: it was a "+", the next attribute belongs to the same
  // RDN.
  std::string value(bool& joined) {
    std::string out;
    size_t kept = 0;  // blanks behind this are trimmed
    bool quoted = false;
    joined = false;
    while (!rest_.empty()) {
      const char c = take();
      if (c == '"' && !slashes_) {
        quoted = !quoted;
        kept = out.size();
        continue;
      }
      if (c == '\\' && !rest_.empty()) {
        out += escaped();
        kept = out.size();
        continue;
      }
      if (!quoted && ends_value(c)) {
        joined = c == '+';
        break;
      }
      out += c;
      if (quoted || !is_blank(c)) kept = out.size();
    }
    out.resize(kept);
    return out;
  }

 private:
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  // In the form with slashes a comma is a character like any other, and so is a "/" that no attribute
  // follows.
  bool ends_value(char c) const {
    if (!slashes_) return c == ',' || c == '+';
    return c == '/' && rest_.substr(0, rest_.find('/')).find('=') != std::string_view::npos;
  }
  // Two hexadecimal digits are a byte (RFC 4514 section 2.4), anything else stands for itself.
  char escaped() {
    if (rest_.size() >= 2 && hex_digit(rest_[0]) >= 0 && hex_digit(rest_[1]) >= 0) {
      const int byte = hex_digit(rest_[0]) * 16 + hex_digit(rest_[1]);
      rest_.remove_prefix(2);
      return static_cast<char>(byte);
    }
    return take();
  }

  std::string_view rest_;
  bool slashes_;
};

// OpenSSL chooses the string type and checks the length as the attribute wants it; "*" is for patterns only
// and fits nowhere by those rules. `set`: 0 a new RDN, -1 the one of before.
bool add(X509_NAME* name, const ASN1_OBJECT* type, const std::string& value, int set) {
  const int encoding = value == "*" ? V_ASN1_UTF8STRING : MBSTRING_UTF8;
  return ::X509_NAME_add_entry_by_OBJ(name, type, encoding, reinterpret_cast<const uint8_t*>(value.data()),
                                      static_cast<int>(value.size()), -1, set) == 1;
}

std::vector<uint8_t> der_of(const X509_NAME* name) {
  const uint8_t* der = nullptr;
  size_t bytes = 0;
  if (::X509_NAME_get0_der(name, &der, &bytes) != 1) return {};
  return {der, der + bytes};
}

Name parse_der(std::span<const uint8_t> der) {
  const openssl::QuietErrors quiet;
  if (der.size() > INT_MAX) return nullptr;
  const uint8_t* at = der.data();
  Name name(::d2i_X509_NAME(nullptr, &at, static_cast<long>(der.size())));
  return at == der.data() + der.size() ? std::move(name) : nullptr;
}

// RFC 5280 section 7.1: without case, blanks at the ends, and more than one blank inside. Case beyond ASCII
// counts. Nothing: no string that has characters.
std::optional<std::string> comparable(const ASN1_STRING* value) {
  unsigned char* utf8 = nullptr;
  const int size = ::ASN1_STRING_to_UTF8(&utf8, value);
  if (size < 0) return std::nullopt;
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owned(
      utf8, [](unsigned char* bytes) { OPENSSL_free(bytes); });
  std::string out;
  for (const char c : trim({reinterpret_cast<const char*>(utf8), static_cast<size_t>(size)})) {
    if (is_blank(c) && is_blank(out.back())) continue;
    out += is_blank(c) ? ' ' : lower(c);
  }
  return out;
}

bool same_value(const ASN1_STRING* pattern, const ASN1_STRING* value) {
  const auto wanted = comparable(pattern);
  if (wanted == "*") return true;
  const auto seen = comparable(value);
  if (wanted && seen) return *wanted == *seen;
  return ::ASN1_STRING_cmp(pattern, value) == 0;
}

bool same_entry(const X509_NAME_ENTRY* pattern, const X509_NAME_ENTRY* entry) {
  return ::X509_NAME_ENTRY_set(pattern) == ::X509_NAME_ENTRY_set(entry) &&
         ::OBJ_cmp(::X509_NAME_ENTRY_get_object(pattern), ::X509_NAME_ENTRY_get_object(entry)) == 0 &&
         same_value(::X509_NAME_ENTRY_get_data(pattern), ::X509_NAME_ENTRY_get_data(entry));
}

}  // namespace

std::expected<std::vector<uint8_t>, std::string> parse_distinguished_name(std::string_view text) {
  const openssl::QuietErrors quiet;
  const Name name(::X509_NAME_new());
  if (!name) return openssl::failure("distinguished name");
  Reader reader(text);
  if (reader.at_end()) return std::unexpected("an empty distinguished name");
  for (bool joined = false; !reader.at_end();) {
    const auto type = reader.type();
    if (!type || type->empty()) return std::unexpected("a distinguished name is \"C=CH, O=Example, CN=gw\"");
    const ObjectId object = find_attribute(*type);
    if (!object) return std::unexpected(fmt::format("the attribute \"{}\" is not known", *type));
    const int set = joined ? -1 : 0;
    const std::string value = reader.value(joined);
    if (!add(name.get(), object.get(), value, set))
      return std::unexpected(fmt::format("\"{}\" cannot be the value of {}", value, *type));
  }
  return der_of(name.get());
}

bool same_name(std::span<const uint8_t> pattern, std::span<const uint8_t> name) {
  const Name wanted = parse_der(pattern);
  const Name seen = parse_der(name);
  if (!wanted || !seen) return false;
  const int entries = ::X509_NAME_entry_count(wanted.get());
  if (::X509_NAME_entry_count(seen.get()) != entries) return false;
  for (int i = 0; i < entries; ++i)
    if (!same_entry(::X509_NAME_get_entry(wanted.get(), i), ::X509_NAME_get_entry(seen.get(), i)))
      return false;
  return true;
}

std::string name_text(std::span<const uint8_t> der) {
  constexpr unsigned long kFlags =
      ASN1_STRFLGS_RFC2253 | XN_FLAG_SEP_CPLUS_SPC | XN_FLAG_FN_SN | XN_FLAG_DUMP_UNKNOWN_FIELDS;
  const Name name = parse_der(der);
  const openssl::Bio out(::BIO_new(::BIO_s_mem()));
  if (!name || !out || ::X509_NAME_print_ex(out.get(), name.get(), 0, kFlags) < 0)
    return "(not a distinguished name)";
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return size == 0 ? "(an empty distinguished name)" : std::string(text, static_cast<size_t>(size));
}

}  // namespace espalier::crypto
