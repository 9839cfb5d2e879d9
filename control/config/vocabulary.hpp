// The words that a value can be, each table the one place that knows them: algorithms with their properties,
// protocols, and the values of every keyword that chooses. VyOS's names, `ip xfrm`'s where VyOS has none.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "control/shared/records.hpp"

namespace espalier::config {

template <class E>
struct Word {
  std::string_view name;
  E value;
};

enum class Memory : uint8_t { kAuto, kHugepages, kOrdinary };
enum class InterfaceType : uint8_t { kEthernet, kVif, kDummy, kVti, kGre };
enum class CloseAction : uint8_t { kNone, kTrap, kStart };
enum class DpdAction : uint8_t { kClear, kTrap, kRestart };
enum class ConnectionType : uint8_t { kInitiate, kRespond, kNone };
enum class AuthenticationMode : uint8_t { kPreSharedSecret, kRsa, kX509 };

inline constexpr Word<Memory> kMemoryWords[] = {
    {"auto", Memory::kAuto}, {"hugepages", Memory::kHugepages}, {"ordinary", Memory::kOrdinary}};
inline constexpr Word<bool> kPollWords[] = {{"adaptive", false}, {"busy", true}};
inline constexpr Word<InterfaceType> kInterfaceTypeWords[] = {{"ethernet", InterfaceType::kEthernet},
                                                              {"dummy", InterfaceType::kDummy},
                                                              {"vti", InterfaceType::kVti},
                                                              {"gre", InterfaceType::kGre}};
inline constexpr Word<bool> kSessionsWords[] = {{"auto", false}, {"always", true}};
inline constexpr Word<Direction> kPolicyDirectionWords[] = {
    {"out", Direction::kOut}, {"in", Direction::kIn}, {"fwd", Direction::kFwd}};
inline constexpr Word<Direction> kStateDirectionWords[] = {{"out", Direction::kOut}, {"in", Direction::kIn}};
inline constexpr Word<PolicyAction> kPolicyActionWords[] = {{"protect", PolicyAction::kProtect},
                                                            {"bypass", PolicyAction::kBypass},
                                                            {"discard", PolicyAction::kDiscard}};
inline constexpr Word<TemplateLevel> kLevelWords[] = {{"required", TemplateLevel::kRequired},
                                                      {"use", TemplateLevel::kUse}};
inline constexpr Word<EspMode> kModeWords[] = {{"tunnel", EspMode::kTunnel},
                                               {"transport", EspMode::kTransport}};
inline constexpr Word<IpsecMatch> kIpsecMatchWords[] = {{"match-none", IpsecMatch::kNone},
                                                        {"match-ipsec", IpsecMatch::kIpsec}};
// A state without a selector carries packets of both families. Known here only: it decides which selector
// the record gets.
inline constexpr uint32_t kAfUnspec = 1u << 31;
inline constexpr Word<uint32_t> kStateFlagWords[] = {{"noecn", kSaNoEcn},
                                                     {"decap-dscp", kSaDecapDscp},
                                                     {"nopmtudisc", kSaNoPmtuDisc},
                                                     {"dont-encap-dscp", kSaDontEncapDscp},
                                                     {"af-unspec", kAfUnspec}};
// rtm_protocol: linux/rtnetlink.h. The kernel's own routes to connected networks ("kernel") are never taken.
inline constexpr Word<uint8_t> kRouteProtocolWords[] = {
    {"boot", 3},   {"static", 4},   {"gated", 8},       {"ra", 9},     {"mrt", 10},
    {"zebra", 11}, {"bird", 12},    {"dnrouted", 13},   {"xorp", 14},  {"ntk", 15},
    {"dhcp", 16},  {"mrouted", 17}, {"keepalived", 18}, {"babel", 42}, {"openr", 99},
    {"bgp", 186},  {"isis", 187},   {"ospf", 188},      {"rip", 189},  {"eigrp", 192}};
inline constexpr Word<CloseAction> kCloseActionWords[] = {
    {"none", CloseAction::kNone}, {"trap", CloseAction::kTrap}, {"start", CloseAction::kStart}};
inline constexpr Word<DpdAction> kDpdActionWords[] = {
    {"clear", DpdAction::kClear}, {"trap", DpdAction::kTrap}, {"restart", DpdAction::kRestart}};
inline constexpr Word<ConnectionType> kConnectionTypeWords[] = {{"initiate", ConnectionType::kInitiate},
                                                                {"respond", ConnectionType::kRespond},
                                                                {"none", ConnectionType::kNone}};
inline constexpr Word<AuthenticationMode> kAuthenticationModeWords[] = {
    {"pre-shared-secret", AuthenticationMode::kPreSharedSecret},
    {"rsa", AuthenticationMode::kRsa},
    {"x509", AuthenticationMode::kX509}};

// An ESP or IKE encryption algorithm.
struct Cipher {
  std::string_view name;
  EspCipher cipher;
  uint8_t key_bytes;  // without salt
  uint8_t icv_bytes;  // of an AEAD
  bool aead() const { return cipher == EspCipher::kAesGcm || cipher == EspCipher::kChaCha20Poly1305; }
  // Part of the key material (RFC 4106 section 8.1, RFC 7634 section 2).
  uint8_t salt_bytes() const { return aead() ? kSaltBytes : 0; }
};
inline constexpr Cipher kCiphers[] = {
    {"aes128gcm128", EspCipher::kAesGcm, 16, 16}, {"aes192gcm128", EspCipher::kAesGcm, 24, 16},
    {"aes256gcm128", EspCipher::kAesGcm, 32, 16}, {"aes128gcm64", EspCipher::kAesGcm, 16, 8},
    {"aes192gcm64", EspCipher::kAesGcm, 24, 8},   {"aes256gcm64", EspCipher::kAesGcm, 32, 8},
    {"aes128gcm96", EspCipher::kAesGcm, 16, 12},  {"aes192gcm96", EspCipher::kAesGcm, 24, 12},
    {"aes256gcm96", EspCipher::kAesGcm, 32, 12},  {"chacha20poly1305", EspCipher::kChaCha20Poly1305, 32, 16},
    {"aes128", EspCipher::kAesCbc, 16, 0},        {"aes192", EspCipher::kAesCbc, 24, 0},
    {"aes256", EspCipher::kAesCbc, 32, 0},
};
// RFC 2410: authenticated, not encrypted. For static keys; nothing negotiates it.
inline constexpr Cipher kNullCipher{"null", EspCipher::kNull, 0, 0};

// A HMAC for ESP and IKE.
struct Integrity {
  std::string_view name;
  EspIntegrity integrity;
  uint8_t key_bytes;
  uint8_t icv_bytes;  // RFC 2404, RFC 4868; a static state may have another length
  bool weak;
};
inline constexpr Integrity kIntegrities[] = {{"sha1", EspIntegrity::kHmacSha1, 20, 12, true},
                                             {"sha256", EspIntegrity::kHmacSha256, 32, 16, false},
                                             {"sha384", EspIntegrity::kHmacSha384, 48, 24, false},
                                             {"sha512", EspIntegrity::kHmacSha512, 64, 32, false}};

struct Prf {
  std::string_view name;
  bool weak;
};
inline constexpr Prf kPrfs[] = {
    {"prfsha1", true}, {"prfsha256", false}, {"prfsha384", false}, {"prfsha512", false}};

// A Diffie-Hellman group by its number (RFC 8247 section 2.4 says which are weak).
struct DhGroup {
  uint8_t number;
  bool weak;
};
inline constexpr DhGroup kDhGroups[] = {{1, true},   {2, true},   {5, true},   {14, false}, {15, false},
                                        {16, false}, {17, false}, {18, false}, {19, false}, {20, false},
                                        {21, false}, {22, true},  {23, true},  {24, true},  {31, false}, {32, false}};

const Cipher* find_cipher(std::string_view name);  // those that can be negotiated
// The name of the state's encryption and, where it has one, of its hash.
std::string_view cipher_name(EspAlgorithm algorithm);
std::string_view hash_name(EspIntegrity integrity);  // "" for kNone
const Integrity* find_integrity(std::string_view name);
const Prf* find_prf(std::string_view name);
const DhGroup* find_dh_group(int64_t number);

// Whether VyOS knows the name of a cipher, hash or PRF: then it is refused, rather than misspelt.
bool is_refused_algorithm(std::string_view name);

// "any" and "all" (0), "tcp", "gre" ..., or a number 1..255 in decimal.
std::optional<uint8_t> find_protocol(std::string_view name);
std::string protocol_name(uint8_t protocol);
bool has_ports(uint8_t protocol);           // that NAT translates
bool has_selector_ports(uint8_t protocol);  // that selectors compare
bool is_icmp(uint8_t protocol);

// What a NAT rule's `protocol` stands for: 0 for every protocol, else one, or TCP and UDP.
struct NatProtocol {
  uint8_t protocol = kProtoAny;
  bool tcp_and_udp = false;
  bool ports() const { return tcp_and_udp || has_ports(protocol); }
  bool covers(uint8_t other) const;
};

}  // namespace espalier::config
