#include "dataplane/story/words.hpp"

#include <fmt/ranges.h>

#include "control/shared/text.hpp"
#include "dataplane/ipv6.hpp"
#include "dataplane/sad.hpp"

namespace espalier::dataplane::story {
namespace {

std::string end_text(IpAddress address, be16 port) {
  return address.is_v4() ? fmt::format("{}:{}", to_text(address), port.host())
                         : fmt::format("[{}]:{}", to_text(address), port.host());
}

std::string ends_text(const Tuple& t) {
  return fmt::format("{} > {}", to_text(t.source), to_text(t.destination));
}

// The header behind the IP header, of a packet that is no later fragment.
std::string upper_text(Tuple tuple, std::span<const uint8_t> l4) {
  if (tuple.protocol == kProtoEsp && l4.size() >= sizeof(EspHeader)) {
    const auto& esp = *reinterpret_cast<const EspHeader*>(l4.data());
    return fmt::format("ESP {} SPI {:#x} number {}", ends_text(tuple), esp.spi.host(), esp.sequence.host());
  }
  if ((tuple.protocol == kProtoTcp || tuple.protocol == kProtoUdp) && l4.size() >= sizeof(UdpHeader)) {
    const auto& udp = *reinterpret_cast<const UdpHeader*>(l4.data());  // TCP's ports stand there too
    tuple.source_port = udp.source_port;
    tuple.destination_port = udp.destination_port;
  }
  const bool icmp = tuple.protocol == (tuple.is_v4() ? kProtoIcmp : kProtoIcmpv6);
  if (icmp && l4.size() >= sizeof(IcmpHeader)) {
    const auto& header = *reinterpret_cast<const IcmpHeader*>(l4.data());
    return fmt::format("{} type {} code {} {}", tuple.is_v4() ? "ICMP" : "ICMPv6", header.type, header.code,
                       ends_text(tuple));
  }
  return text(tuple);
}

std::string ipv4_text(std::span<const uint8_t> packet) {
  const auto& ip = *reinterpret_cast<const Ipv4Header*>(packet.data());
  Tuple tuple{.source = ip.source, .destination = ip.destination, .protocol = ip.protocol};
  const size_t header = std::min<size_t>(ip.header_bytes(), packet.size());
  const uint32_t offset = ip.fragment_offset_bytes();
  const std::string what = offset ? text(tuple) : upper_text(tuple, packet.subspan(header));
  return ip.is_fragment() ? fmt::format("{}, fragment from byte {}{}", what, offset,
                                        ip.more_fragments() ? "" : ", the last one")
                          : what;
}

std::string ipv6_text(std::span<const uint8_t> packet) {
  const auto& ip = *reinterpret_cast<const Ipv6Header*>(packet.data());
  const Ipv6Headers headers = find_ipv6_headers(packet);
  const Tuple tuple{.source = ip.source, .destination = ip.destination, .protocol = headers.protocol};
  if (headers.bad || headers.l4_offset > packet.size()) return text(tuple);
  if (headers.is_later_fragment) return text(tuple) + ", a later fragment";
  return upper_text(tuple, packet.subspan(headers.l4_offset)) +
         (headers.is_fragment() ? ", the first fragment" : "");
}

}  // namespace

std::string text(const Tuple& t) {
  if (t.protocol == kProtoTcp || t.protocol == kProtoUdp)
    return fmt::format("{} {} > {}", t.protocol == kProtoTcp ? "TCP" : "UDP",
                       end_text(t.source, t.source_port), end_text(t.destination, t.destination_port));
  if (t.protocol == kProtoIcmp || t.protocol == kProtoIcmpv6)
    return fmt::format("{} type {} code {} id {} {}", t.protocol == kProtoIcmp ? "ICMP" : "ICMPv6",
                       t.destination_port.host() >> 8, t.destination_port.host() & 255, t.source_port.host(),
                       ends_text(t));
  if (t.protocol == kProtoGre) return "GRE " + ends_text(t);
  if (t.protocol == kProtoEsp) return "ESP " + ends_text(t);
  return fmt::format("protocol {} {}", t.protocol, ends_text(t));
}

std::string_view text(IcmpReason reason) {
  switch (reason) {
    case IcmpReason::kNone:
      return "none";
    case IcmpReason::kNetUnreachable:
      return "ICMP network unreachable";
    case IcmpReason::kHostUnreachable:
      return "ICMP host unreachable";
    case IcmpReason::kProhibited:
      return "ICMP administratively prohibited";
    case IcmpReason::kPortUnreachable:
      return "ICMP port unreachable";
    case IcmpReason::kProtocolUnreachable:
      return "ICMP protocol unreachable";
    case IcmpReason::kTimeExceeded:
      return "ICMP time exceeded";
    case IcmpReason::kTooBig:
      return "ICMP fragmentation needed or packet too big";
  }
  return "";
}

std::string_view text(PolicyAction action) {
  switch (action) {
    case PolicyAction::kProtect:
      return "protect";
    case PolicyAction::kBypass:
      return "bypass";
    case PolicyAction::kDiscard:
      return "discard";
  }
  return "";
}

std::string text(const PolicyRecord& p) {
  return fmt::format("policy {} (priority {}, {} > {}): {}", p.name.view(), p.priority,
                     to_text(p.selector.source), to_text(p.selector.destination), text(p.action));
}

std::string text(const Sa& sa) {
  return fmt::format("SA {} SPI {:#x} {} > {} reqid {}{}{}", sa.name().view(), sa.spi().value,
                     to_text(sa.source()), to_text(sa.destination()), sa.reqid().value,
                     sa.mode() == EspMode::kTransport ? ", transport mode" : "",
                     sa.has(kSaEncap) ? ", in UDP" : "");
}

std::string text(const MacAddress& mac) {
  return fmt::format("{:02x}", fmt::join(mac, ":"));
}

std::string no_way(RouteVerdict verdict, IpAddress destination) {
  switch (verdict) {
    case RouteVerdict::kBlackhole:
      return "a blackhole route";
    case RouteVerdict::kUnreachable:
      return "an unreachable route";
    case RouteVerdict::kProhibit:
      return "a prohibit route";
    case RouteVerdict::kNoRoute:
    case RouteVerdict::kForward:
    case RouteVerdict::kLocal:
      break;
  }
  return fmt::format("no route to {}", to_text(destination));
}

std::string route_text(const Snapshot& tables, const RouteResult& route, IpAddress destination) {
  const RouteEntry* best = nullptr;
  for (const RouteEntry& entry : tables.fib->entries()) {
    if (entry.route != route.route || entry.verdict != route.verdict || !entry.prefix.contains(destination))
      continue;
    if (entry.route == kNoRoute && entry.metric != route.metric) continue;
    if (!best || entry.prefix.written_length() > best->prefix.written_length()) best = &entry;
  }
  if (!best || route.verdict == RouteVerdict::kLocal) return {};
  if (best->route == kNoRoute) return fmt::format("network {}", to_text(best->prefix));
  return fmt::format("route {} metric {}{}", to_text(best->prefix), best->metric,
                     best->imported ? ", imported" : "");
}

std::string wire_text(std::span<const uint8_t> packet) {
  if (packet.size() >= sizeof(Ipv4Header) && packet[0] >> 4 == 4)
    return fmt::format("{}, {} bytes", ipv4_text(packet), packet.size());
  if (packet.size() >= sizeof(Ipv6Header) && packet[0] >> 4 == 6)
    return fmt::format("{}, {} bytes", ipv6_text(packet), packet.size());
  return fmt::format("{} bytes that are no IP packet", packet.size());
}

}  // namespace espalier::dataplane::story
