#include "ike/identity.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "control/shared/text.hpp"
#include "crypto/certificate.hpp"

namespace espalier::ike {
namespace {

constexpr size_t kMaxNameBytes =
    255;  // of a domain name (RFC 1035 section 2.3.4); mail addresses are not longer
constexpr size_t kMaxTextBytes = 512;  // of what a peer may make 64 KiB

Bytes bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}
std::string_view text_of(const Bytes& data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_equal_without_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}
bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

// --- From text ---

// The data of an address: 4 or 16 bytes; nothing: it is none. Mapped ones (::ffff:192.0.2.1) are none.
std::optional<Identity> address_identity(std::string_view text) {
  const std::string terminated(text);
  Identity v4{IdType::kIpv4, Bytes(4)}, v6{IdType::kIpv6, Bytes(16)};
  if (::inet_pton(AF_INET, terminated.c_str(), v4.data.data()) == 1) return v4;
  if (::inet_pton(AF_INET6, terminated.c_str(), v6.data.data()) != 1) return std::nullopt;
  IpAddress address;
  std::copy(v6.data.begin(), v6.data.end(), reinterpret_cast<uint8_t*>(&address));
  return address.is_v4() ? std::nullopt : std::optional(v6);
}

Result<Identity> name_identity(IdType type, std::string_view text) {
  if (text.empty() || text.size() > kMaxNameBytes || !is_printable(text))
    return fail("'{}' is no name: 1 to {} visible characters without blanks", text, kMaxNameBytes);
  return Identity{type, bytes_of(text)};
}

Result<Identity> hex_key_id(std::string_view digits) {
  Bytes data(digits.size() / 2);
  for (size_t i = 0; i < data.size(); ++i) {
    const char* pair = digits.data() + 2 * i;
    const auto [end, error] = std::from_chars(pair, pair + 2, data[i], 16);
    if (error != std::errc() || end != pair + 2) return fail("'{}' is not hexadecimal", digits);
  }
  if (data.empty() || digits.size() % 2 != 0)
    return fail("'{}': a key id has pairs of hexadecimal digits", digits);
  return Identity{IdType::kKeyId, std::move(data)};
}

Result<Identity> key_id(std::string_view text) {
  if (text.starts_with("0x")) return hex_key_id(text.substr(2));
  if (text.empty()) return fail("a key id is empty");
  return Identity{IdType::kKeyId, bytes_of(text)};
}

Result<Identity> distinguished_name(std::string_view text) {
  auto der = crypto::parse_distinguished_name(text);
  if (!der) return fail("'{}' is no distinguished name: {}", text, der.error());
  return Identity{IdType::kDistinguishedName, *std::move(der)};
}

Result<Identity> address_of_type(IdType type, std::string_view text) {
  std::optional<Identity> address = address_identity(text);
  if (!address || address->type != type)
    return fail("'{}' is no {} address", text, type == IdType::kIpv4 ? "IPv4" : "IPv6");
  return *std::move(address);
}

struct Prefix {
  std::string_view text;
  IdType type;
};
constexpr Prefix kPrefixes[] = {{"ipv4:", IdType::kIpv4},      {"ipv6:", IdType::kIpv6},
                                {"fqdn:", IdType::kFqdn},      {"dns:", IdType::kFqdn},
                                {"email:", IdType::kEmail},    {"rfc822:", IdType::kEmail},
                                {"userfqdn:", IdType::kEmail}, {"asn1dn:", IdType::kDistinguishedName},
                                {"keyid:", IdType::kKeyId}};

Result<Identity> parse_as(IdType type, std::string_view text) {
  switch (type) {
    case IdType::kIpv4:
    case IdType::kIpv6:
      return address_of_type(type, text);
    case IdType::kFqdn:
    case IdType::kEmail:
      return name_identity(type, text);
    case IdType::kDistinguishedName:
      return distinguished_name(text);
    case IdType::kKeyId:
      return key_id(text);
    case IdType::kGeneralName:
      break;
  }
  return fail("a GeneralName cannot be written");
}

// What a text without a prefix means, as strongSwan reads it.
Result<Identity> guess(std::string_view text) {
  if (std::optional<Identity> address = address_identity(text)) return *std::move(address);
  if (text.starts_with("@#")) return hex_key_id(text.substr(2));
  if (text.starts_with("@@")) return name_identity(IdType::kEmail, text.substr(2));
  if (text.starts_with('@')) return name_identity(IdType::kFqdn, text.substr(1));
  if (text.contains('=')) return distinguished_name(text);
  if (text.contains('@')) return name_identity(IdType::kEmail, text);
  if (text.contains(':'))
    return fail("'{}' is no address, and no name; a key id is written keyid:{}", text, text);
  return name_identity(IdType::kFqdn, text);
}

// --- To text ---

std::string hex(const Bytes& data) {
  return fmt::format("0x{:02x}", fmt::join(data, ""));
}

std::string address_text(const Identity& identity) {
  const bool v4 = identity.type == IdType::kIpv4;
  if (identity.data.size() != (v4 ? 4 : 16)) return "address of a wrong length " + hex(identity.data);
  char text[INET6_ADDRSTRLEN];
  return ::inet_ntop(v4 ? AF_INET : AF_INET6, identity.data.data(), text, sizeof text);
}

// The shortest text that reads back as the same name: "gw.example.org", or "@192.0.2.1" for a name like an
// address.
std::string name_in_text(const Identity& identity, std::string_view escape) {
  const std::string text(text_of(identity.data));
  if (text.empty() || !is_printable(text)) return fmt::format("{} {}", escape, hex(identity.data));
  const Result<std::optional<Identity>> read_back = parse_identity(text);
  return read_back && *read_back == identity ? text : std::string(escape) + text;
}

std::string key_id_text(const Identity& identity) {
  const std::string_view text = text_of(identity.data);
  const bool readable = !text.empty() && is_printable(text) && !text.starts_with("0x");
  return "keyid:" + (readable ? std::string(text) : hex(identity.data));
}

std::string whole_text(const Identity& identity) {
  switch (identity.type) {
    case IdType::kIpv4:
    case IdType::kIpv6:
      return address_text(identity);
    case IdType::kFqdn:
      return name_in_text(identity, "@");
    case IdType::kEmail:
      return name_in_text(identity, "email:");
    case IdType::kDistinguishedName:
      return crypto::name_text(identity.data);
    case IdType::kKeyId:
      return key_id_text(identity);
    case IdType::kGeneralName:
      break;
  }
  return fmt::format("id of type {} {}", static_cast<uint8_t>(identity.type), hex(identity.data));
}

// --- Comparing ---

// "*.example.org", "*@example.org": anything that ends like it and has something in front.
bool is_wildcard(std::string_view name) {
  return name.starts_with("*.") || name.starts_with("*@");
}

int name_quality(std::string_view configured, std::string_view seen) {
  if (!is_wildcard(configured)) return is_equal_without_case(configured, seen) ? 3 : 0;
  const std::string_view end = configured.substr(1);
  const bool fits =
      seen.size() > end.size() && is_equal_without_case(seen.substr(seen.size() - end.size()), end);
  return fits ? 2 : 0;
}

// The other way round a "*" of the pattern is a value like any other, and equals itself only.
int distinguished_name_quality(const Bytes& configured, const Bytes& seen) {
  if (!crypto::same_name(configured, seen)) return 0;
  return crypto::same_name(seen, configured) ? 3 : 2;
}

}  // namespace

Result<std::optional<Identity>> parse_identity(std::string_view text) {
  if (text.empty() || text == "%any") return std::nullopt;
  for (const Prefix& prefix : kPrefixes)
    if (text.starts_with(prefix.text)) return TRY(parse_as(prefix.type, text.substr(prefix.text.size())));
  return TRY(guess(text));
}

std::string to_text(const Identity& identity) {
  std::string text = whole_text(identity);
  if (text.size() > kMaxTextBytes) text.replace(kMaxTextBytes, std::string::npos, "...");
  return text;
}

Identity identity_of(IpAddress address) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&address);
  if (address.is_v4()) return {IdType::kIpv4, {bytes + 12, bytes + 16}};
  return {IdType::kIpv6, {bytes, bytes + 16}};
}

int quality(const std::optional<Identity>& configured, const Identity& seen) {
  if (!configured) return 1;
  if (configured->type != seen.type) return 0;
  switch (seen.type) {
    case IdType::kFqdn:
    case IdType::kEmail:
      return name_quality(text_of(configured->data), text_of(seen.data));
    case IdType::kDistinguishedName:
      return distinguished_name_quality(configured->data, seen.data);
    case IdType::kIpv4:
    case IdType::kIpv6:
    case IdType::kGeneralName:
    case IdType::kKeyId:
      break;
  }
  return configured->data == seen.data ? 3 : 0;
}

std::optional<std::string> exact_key(const std::optional<Identity>& identity) {
  if (!identity || identity->type == IdType::kDistinguishedName) return std::nullopt;
  std::string key(text_of(identity->data));
  if (identity->type == IdType::kFqdn || identity->type == IdType::kEmail) {
    if (is_wildcard(key)) return std::nullopt;
    std::ranges::transform(key, key.begin(), lower);
  }
  return static_cast<char>(identity->type) + key;
}

bool accepts(const std::optional<Identity>& configured, const Identity& seen) {
  return quality(configured, seen) > 0;
}

}  // namespace espalier::ike
