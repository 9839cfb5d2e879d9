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
enum class NatAction : uint8_t { kExclude, kAddress, kRange, kPrefix, kMasquerade };
enum class Mode : uint8_t { kTunnel, kTransport };
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
inline constexpr Word<bool> kLevelWords[] = {{"required", false}, {"use", true}};  // true: optional
inline constexpr Word<Mode> kModeWords[] = {{"tunnel", Mode::kTunnel}, {"transport", Mode::kTransport}};
inline constexpr Word<uint32_t> kStateFlagWords[] = {{"noecn", kSaNoEcn},
                                                     {"decap-dscp", kSaDecapDscp},
                                                     {"nopmtudisc", kSaNoPmtuDisc},
                                                     {"dont-encap-dscp", kSaDontEncapDscp}};
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
  uint8_t key_bytes;   // without salt
  uint8_t salt_bytes;  // part of the key material (RFC 4106 section 8.1, RFC 7634 section 2)
  bool aead;
  std::optional<EspAlgorithm> algorithm;  // what the dataplane runs it as; nothing: it cannot
};
inline constexpr Cipher kCiphers[] = {
    {"aes128gcm128", 16, 4, true, EspAlgorithm::kAes128Gcm16},
    {"aes192gcm128", 24, 4, true, EspAlgorithm::kAes192Gcm16},
    {"aes256gcm128", 32, 4, true, EspAlgorithm::kAes256Gcm16},
    {"aes128gcm64", 16, 4, true, {}},
    {"aes192gcm64", 24, 4, true, {}},
    {"aes256gcm64", 32, 4, true, {}},
    {"aes128gcm96", 16, 4, true, {}},
    {"aes192gcm96", 24, 4, true, {}},
    {"aes256gcm96", 32, 4, true, {}},
    {"chacha20poly1305", 32, 4, true, {}},
    {"aes128", 16, 0, false, {}},
    {"aes192", 24, 0, false, {}},
    {"aes256", 32, 0, false, {}},
};

// A HMAC for ESP and IKE.
struct Integrity {
  std::string_view name;
  uint8_t key_bytes;
  bool weak;
};
inline constexpr Integrity kIntegrities[] = {
    {"sha1", 20, true}, {"sha256", 32, false}, {"sha384", 48, false}, {"sha512", 64, false}};

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
                                        {21, false}, {22, true},  {23, true},  {24, true},  {31, false}};

const Cipher* find_cipher(std::string_view name);
const Integrity* find_integrity(std::string_view name);
const Prf* find_prf(std::string_view name);
const DhGroup* find_dh_group(int64_t number);

// Whether VyOS knows the name of a cipher, hash or PRF: then it is refused, rather than misspelt.
bool is_refused_algorithm(std::string_view name);

// "any" and "all" (0), "tcp", "gre" ..., or a number 1..255 in decimal.
std::optional<uint8_t> find_protocol(std::string_view name);
std::string protocol_name(uint8_t protocol);
bool has_ports(uint8_t protocol);
bool is_icmp(uint8_t protocol);

// What a NAT rule's `protocol` stands for: 0 for every protocol, else one, or TCP and UDP.
struct NatProtocol {
  uint8_t protocol = kProtoAny;
  bool tcp_and_udp = false;
  bool ports() const { return tcp_and_udp || has_ports(protocol); }
  bool covers(uint8_t other) const;
};

}  // namespace espalier::config
