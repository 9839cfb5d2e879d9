#include "nat/rules.hpp"

#include <algorithm>

namespace espalier::nat {
namespace {

// Ports in a rule speak of TCP and UDP; whatever else there is has none to compare.
bool end_matches(const NatMatch& match, Ipv4Address address, be16 port, uint8_t protocol) {
  if (has_ports(protocol)) return match.matches(address, port.host());
  return match.ports.is_any() && match.matches(address, 0);
}

bool rule_matches(const NatRuleRecord& rule, const Tuple& tuple, InterfaceIndex interface) {
  return (rule.interface == kNoInterface || rule.interface == interface) &&
         (rule.protocol == kProtoAny || rule.protocol == tuple.protocol) &&
         end_matches(rule.source, tuple.source, tuple.source_port, tuple.protocol) &&
         end_matches(rule.destination, tuple.destination, tuple.destination_port, tuple.protocol);
}

// The same address of a range for the same two hosts, always, so that servers see one client at one address.
Ipv4Address choose_address(uint32_t low, uint32_t high, const Tuple& packet) {
  uint64_t x = uint64_t{packet.source.host()} << 32 | packet.destination.host();
  x = (x ^ (x >> 30)) * 0xbf58'476d'1ce4'e5b9;  // splitmix64's finalizer
  x = (x ^ (x >> 27)) * 0x94d0'49bb'1331'11eb;
  x ^= x >> 31;
  const uint64_t addresses = uint64_t{high} - low + 1;
  return Ipv4Address::from_host(low + static_cast<uint32_t>(((x >> 32) * addresses) >> 32));
}

bool is_free(const Tuple& packet, const TupleSearch& search) {
  const auto reply = inverse(packet);
  return reply && search.sessions.is_free(*reply, search.worker, search.now_ms);
}

// The ports that may replace `port` where a rule names none: a host's privileged ports stay privileged, and
// those below 512 among themselves (servers once trusted rsh and the like for them).
PortRange port_class(uint8_t protocol, be16 port) {
  if (protocol == kProtoIcmp) return {};
  if (port.host() < 512) return {1, 511};
  if (port.host() < 1024) return {600, 1023};
  return {1024, 0xffff};
}

// Gives `packet` a port of `range` (in `end`, its source or destination port) with which its reply is free.
// From a random start; small ranges are searched wholly, large ones in ever shorter stretches, because a
// worker has other packets to care for. False: none was found; the packet then has the port that was tried
// last.
bool find_free_port(Tuple& packet, be16 Tuple::*end, PortRange range, const TupleSearch& search) {
  constexpr uint32_t kLongest = 128, kShortest = 16;
  const uint32_t ports = uint32_t{range.high} - range.low + 1;
  for (uint32_t stretch = std::min(ports, kLongest);; stretch /= 2) {
    uint32_t offset = search.random.below(ports);
    for (uint32_t i = 0; i < stretch; ++i, ++offset) {
      packet.*end = be16::from_host(static_cast<uint16_t>(range.low + offset % ports));
      if (is_free(packet, search)) return true;
    }
    if (stretch >= ports || stretch < kShortest) return false;
  }
}

// What source NAT may make of a packet's source.
struct SourceChoice {
  uint32_t low = 0;  // addresses, host order, inclusive
  uint32_t high = 0;
  bool has_ports = false;
  PortRange ports;

  bool contains_port(const Tuple& packet) const {
    const bool numbered = nat::has_ports(packet.protocol) || packet.protocol == kProtoIcmp;
    return !has_ports || !numbered || ports.contains(packet.source_port.host());
  }
  bool contains(const Tuple& packet) const {
    return low <= packet.source.host() && packet.source.host() <= high && contains_port(packet);
  }
};

SourceChoice source_choice(const NatRuleRecord* rule, Ipv4Address masquerade, const Tuple& packet) {
  const uint32_t own = packet.source.host();
  if (rule == nullptr || rule->translation == NatTranslation::kExclude)
    return {.low = own, .high = own, .ports = {}};
  SourceChoice choice{.low = rule->address_low,
                      .high = rule->address_high,
                      .has_ports = rule->has_port_range != 0,
                      .ports = rule->ports};
  if (rule->translation == NatTranslation::kMasquerade) choice.low = choice.high = masquerade.host();
  return choice;
}

void choose_destination_port(PortRange range, Tuple& packet, const TupleSearch& search) {
  if (range.contains(packet.destination_port.host()) && is_free(packet, search)) return;
  find_free_port(packet, &Tuple::destination_port, range, search);
}

DropReason choose_source(const SourceChoice& choice, Tuple& packet, const TupleSearch& search) {
  if (choice.contains(packet)) {
    if (is_free(packet, search)) return DropReason::kNone;
  } else if (const auto mapped = search.sessions.mapped_source(packet);
             mapped && choice.contains(*mapped) && is_free(*mapped, search)) {
    packet = *mapped;  // the source socket keeps the mapping that it has towards others
    return DropReason::kNone;
  }
  packet.source = choose_address(choice.low, choice.high, packet);
  if (choice.contains_port(packet) && is_free(packet, search)) return DropReason::kNone;
  if (!has_ports(packet.protocol) && packet.protocol != kProtoIcmp) return DropReason::kNone;
  const PortRange range = choice.has_ports ? choice.ports : port_class(packet.protocol, packet.source_port);
  const bool found = find_free_port(packet, &Tuple::source_port, range, search);
  return found ? DropReason::kNone : DropReason::kNatPortsExhausted;
}

}  // namespace

const NatRuleRecord* RuleSet::match(std::span<const NatRuleRecord> rules, const Tuple& tuple,
                                    InterfaceIndex interface) {
  for (const NatRuleRecord& rule : rules)
    if (rule_matches(rule, tuple, interface)) return &rule;
  return nullptr;
}

void translate_destination(const NatRuleRecord* rule, PendingSession& pending, const TupleSearch& search) {
  if (rule == nullptr) return;
  pending.destination_rule_index = rule->index;
  pending.destination_rule_number = rule->number;
  if (rule->translation == NatTranslation::kExclude) return;
  Tuple packet = pending.packet_tuple();
  packet.destination = choose_address(rule->address_low, rule->address_high, packet);
  if (rule->has_port_range && has_ports(packet.protocol))
    choose_destination_port(rule->ports, packet, search);
  pending.reply = inverse(packet).value_or(pending.reply);
}

DropReason translate_source(const NatRuleRecord* rule, Ipv4Address masquerade, PendingSession& pending,
                            const TupleSearch& search) {
  if (rule != nullptr) {
    pending.source_rule_index = rule->index;
    pending.source_rule_number = rule->number;
    if (rule->translation == NatTranslation::kMasquerade && masquerade.is_unspecified())
      return DropReason::kNatNoAddress;
  }
  Tuple packet = pending.packet_tuple();
  const auto choice = source_choice(rule, masquerade, packet);
  const DropReason reason = choose_source(choice, packet, search);
  if (reason == DropReason::kNone) pending.reply = inverse(packet).value_or(pending.reply);
  return reason;
}

}  // namespace espalier::nat
