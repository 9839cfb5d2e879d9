#include "control/daemon/text.hpp"

#include <fmt/ranges.h>

namespace espalier::daemon {

std::string to_text(const MacAddress& mac) {
  return fmt::format("{:02x}", fmt::join(mac, ":"));
}

std::string to_text(PortRange ports) {
  if (ports.is_any()) return "any";
  if (ports.low == ports.high) return fmt::format("{}", ports.low);
  return fmt::format("{}-{}", ports.low, ports.high);
}

std::string address_range_text(const IpAddress& low, const IpAddress& high) {
  const config::AddressRange range{low, high};
  return range == config::AddressRange::any(low.family()) ? "any" : config::to_text(range);
}

std::string spi_text(Spi spi) {
  return fmt::format("0x{:08x}", spi.value);
}

std::string_view word(config::ConnectionType type) {
  switch (type) {
    case config::ConnectionType::kInitiate:
      return "initiate";
    case config::ConnectionType::kRespond:
      return "respond";
    case config::ConnectionType::kNone:
      return "none";
  }
  return "";
}

std::string_view word(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::kPort:
      return "port";
    case InterfaceKind::kVlan:
      return "vlan";
    case InterfaceKind::kDummy:
      return "dummy";
    case InterfaceKind::kVti:
      return "vti";
    case InterfaceKind::kGre:
      return "gre";
  }
  return "unknown";
}

std::string_view word(RouteKind kind) {
  switch (kind) {
    case RouteKind::kNextHop:
      return "via";
    case RouteKind::kBlackhole:
      return "blackhole";
    case RouteKind::kUnreachable:
      return "unreachable";
    case RouteKind::kProhibit:
      return "prohibit";
  }
  return "unknown";
}

std::string_view word(Direction direction) {
  switch (direction) {
    case Direction::kOut:
      return "out";
    case Direction::kIn:
      return "in";
    case Direction::kFwd:
      return "fwd";
  }
  return "unknown";
}

std::string_view word(PolicyAction action) {
  switch (action) {
    case PolicyAction::kProtect:
      return "protect";
    case PolicyAction::kBypass:
      return "bypass";
    case PolicyAction::kDiscard:
      return "discard";
  }
  return "unknown";
}

std::string_view word(NatTranslation translation) {
  switch (translation) {
    case NatTranslation::kExclude:
      return "exclude";
    case NatTranslation::kAddress:
      return "address";
    case NatTranslation::kRange:
      return "range";
    case NatTranslation::kMasquerade:
      return "masquerade";
    case NatTranslation::kPrefix:
      return "prefix";
  }
  return "unknown";
}

std::string_view word(Family family) {
  return family == Family::kIpv4 ? "ipv4" : "ipv6";
}

std::string_view word(EspMode mode) {
  switch (mode) {
    case EspMode::kTunnel:
      return "tunnel";
    case EspMode::kTransport:
      return "transport";
  }
  return "unknown";
}

std::string_view word(TemplateLevel level) {
  switch (level) {
    case TemplateLevel::kRequired:
      return "required";
    case TemplateLevel::kUse:
      return "use";
  }
  return "unknown";
}

namespace {

std::string cipher_text(const EspAlgorithm& a) {
  switch (a.cipher) {
    case EspCipher::kNull:
      return "NULL";
    case EspCipher::kAesCbc:
      return fmt::format("AES_CBC_{}", 8 * a.key_bytes);
    case EspCipher::kAesGcm:
      return fmt::format("AES_GCM_{}_{}", a.icv_bytes, 8 * a.key_bytes);
    case EspCipher::kChaCha20Poly1305:
      return "CHACHA20_POLY1305";
  }
  return "unknown";
}

std::string_view integrity_text(EspIntegrity integrity) {
  switch (integrity) {
    case EspIntegrity::kNone:
      return "";
    case EspIntegrity::kHmacSha1:
      return "HMAC_SHA1";
    case EspIntegrity::kHmacSha256:
      return "HMAC_SHA2_256";
    case EspIntegrity::kHmacSha384:
      return "HMAC_SHA2_384";
    case EspIntegrity::kHmacSha512:
      return "HMAC_SHA2_512";
  }
  return "unknown";
}

}  // namespace

std::string proposal_text(const EspAlgorithm& algorithm) {
  if (algorithm.is_aead()) return cipher_text(algorithm);
  return fmt::format("{}/{}_{}", cipher_text(algorithm), integrity_text(algorithm.integrity),
                     8 * algorithm.icv_bytes);
}

std::string_view word(message::NeighborState state) {
  switch (state) {
    case message::NeighborState::kIncomplete:
      return "incomplete";
    case message::NeighborState::kReachable:
      return "reachable";
    case message::NeighborState::kStale:
      return "stale";
    case message::NeighborState::kProbe:
      return "probe";
    case message::NeighborState::kFailed:
      return "failed";
    case message::NeighborState::kPermanent:
      return "permanent";
  }
  return "unknown";
}

std::string_view tcp_state_word(uint8_t state) {
  constexpr std::string_view kWords[] = {"NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
                                         "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",       "SYN_SENT2"};
  return state < std::size(kWords) ? kWords[state] : "unknown";
}

std::string interface_name(const config::Tables& tables, InterfaceIndex index) {
  if (index == kNoInterface) return "any";
  if (index.value >= tables.interfaces.size()) return fmt::format("interface {}", index.value);
  return std::string(tables.interfaces[index.value].name.view());
}

}  // namespace espalier::daemon
