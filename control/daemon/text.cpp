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

std::string address_range_text(uint32_t low, uint32_t high) {
  if (low == 0 && high == 0xffffffff) return "any";
  if (low == high) return to_text(Ipv4Address::from_host(low));
  const uint32_t host_bits = low ^ high;
  const bool is_prefix = (host_bits & (host_bits + 1)) == 0 && (low & host_bits) == 0;
  if (is_prefix)
    return fmt::format("{}/{}", to_text(Ipv4Address::from_host(low)), std::countl_zero(host_bits));
  return fmt::format("{}-{}", to_text(Ipv4Address::from_host(low)), to_text(Ipv4Address::from_host(high)));
}

std::string spi_text(Spi spi) {
  return fmt::format("0x{:08x}", spi.value);
}

std::string_view word(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::kPort:
      return "port";
    case InterfaceKind::kVlan:
      return "vlan";
    case InterfaceKind::kDummy:
      return "dummy";
  }
  return "unknown";
}

std::string_view word(RouteKind kind) {
  switch (kind) {
    case RouteKind::kNextHop:
      return "via";
    case RouteKind::kInterface:
      return "interface";
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
  }
  return "unknown";
}

std::string_view word(EspAlgorithm algorithm) {
  switch (algorithm) {
    case EspAlgorithm::kAes128Gcm16:
      return "aes128gcm128";
    case EspAlgorithm::kAes192Gcm16:
      return "aes192gcm128";
    case EspAlgorithm::kAes256Gcm16:
      return "aes256gcm128";
  }
  return "unknown";
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
