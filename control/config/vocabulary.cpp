#include "control/config/vocabulary.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "control/config/address.hpp"

namespace espalier::config {
namespace {

constexpr uint8_t kProtoDccp = 33, kProtoSctp = 132;

// Of two names of one number the first is shown.
constexpr Word<uint8_t> kProtocols[] = {{"any", kProtoAny},
                                        {"all", kProtoAny},
                                        {"icmp", kProtoIcmp},
                                        {"igmp", 2},
                                        {"ipip", kProtoIpip},
                                        {"tcp", kProtoTcp},
                                        {"udp", kProtoUdp},
                                        {"dccp", kProtoDccp},
                                        {"ipv6", kProtoIpv6},
                                        {"gre", kProtoGre},
                                        {"esp", kProtoEsp},
                                        {"ah", kProtoAh},
                                        {"icmpv6", kProtoIcmpv6},
                                        {"ipv6-icmp", kProtoIcmpv6},
                                        {"ospf", 89},
                                        {"pim", 103},
                                        {"vrrp", 112},
                                        {"l2tp", 115},
                                        {"sctp", kProtoSctp},
                                        {"udplite", 136}};

// What VyOS lists and Espalier refuses, by the beginnings of the names: obsolete, unused, or no encryption.
constexpr std::string_view kRefusedBeginnings[] = {"null",    "3des",    "blowfish", "camellia", "serpent",
                                                   "twofish", "cast128", "md5",      "prfmd5",   "prfaes",
                                                   "aesxcbc", "aescmac", "sha1_",    "sha256_"};
constexpr std::string_view kRefusedEndings[] = {"ctr", "ccm64", "ccm96", "ccm128", "gmac"};

template <class Table>
auto find_by_name(const Table& table, std::string_view name) {
  const auto found =
      std::find_if(std::begin(table), std::end(table), [&](const auto& e) { return e.name == name; });
  return found == std::end(table) ? nullptr : &*found;
}

}  // namespace

const Cipher* find_cipher(std::string_view name) {
  return find_by_name(kCiphers, name);
}
std::string_view cipher_name(EspAlgorithm algorithm) {
  const auto is = [&](const Cipher& c) {
    return c.cipher == algorithm.cipher && c.key_bytes == algorithm.key_bytes &&
           (!algorithm.is_aead() || c.icv_bytes == algorithm.icv_bytes);
  };
  if (is(kNullCipher)) return kNullCipher.name;
  const auto found = std::find_if(std::begin(kCiphers), std::end(kCiphers), is);
  return found == std::end(kCiphers) ? "unknown" : found->name;
}

std::string_view hash_name(EspIntegrity integrity) {
  for (const Integrity& one : kIntegrities)
    if (one.integrity == integrity) return one.name;
  return "";
}

const Integrity* find_integrity(std::string_view name) {
  return find_by_name(kIntegrities, name);
}
const Prf* find_prf(std::string_view name) {
  return find_by_name(kPrfs, name);
}

const DhGroup* find_dh_group(int64_t number) {
  const auto found = std::find_if(std::begin(kDhGroups), std::end(kDhGroups),
                                  [&](const DhGroup& g) { return g.number == number; });
  return found == std::end(kDhGroups) ? nullptr : &*found;
}

bool is_refused_algorithm(std::string_view name) {
  const auto begins = [&](std::string_view with) { return name.starts_with(with); };
  const auto ends = [&](std::string_view with) { return name.starts_with("aes") && name.ends_with(with); };
  return std::any_of(std::begin(kRefusedBeginnings), std::end(kRefusedBeginnings), begins) ||
         std::any_of(std::begin(kRefusedEndings), std::end(kRefusedEndings), ends);
}

std::optional<uint8_t> find_protocol(std::string_view name) {
  if (const auto* word = find_by_name(kProtocols, name)) return word->value;
  uint32_t number = 0;
  if (parse_decimal(name, 255, number) && number != 0) return static_cast<uint8_t>(number);
  return std::nullopt;
}

std::string protocol_name(uint8_t protocol) {
  for (const auto& word : kProtocols)
    if (word.value == protocol) return std::string(word.name);
  return fmt::format("{}", protocol);
}

bool has_ports(uint8_t protocol) {
  return protocol == kProtoTcp || protocol == kProtoUdp;
}

bool has_selector_ports(uint8_t protocol) {
  // UDP-Lite has ports as well, but the dataplane does not look at them: a policy that names some would match
  // nothing and protect nothing.
  return has_ports(protocol) || protocol == kProtoSctp || protocol == kProtoDccp;
}

bool is_icmp(uint8_t protocol) {
  return protocol == kProtoIcmp || protocol == kProtoIcmpv6;
}

bool NatProtocol::covers(uint8_t other) const {
  if (tcp_and_udp) return other == kProtoTcp || other == kProtoUdp;
  return protocol == kProtoAny || protocol == other;
}

}  // namespace espalier::config
