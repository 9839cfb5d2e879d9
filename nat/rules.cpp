#include "nat/rules.hpp"

#include <algorithm>

#include "nat/address_choice.hpp"

namespace espalier::nat {
namespace {

// Ports in a rule speak of TCP and UDP; whatever else there is has none to compare.
bool end_matches(const NatMatch& match, IpAddress address, be16 port, uint8_t protocol) {
  if (has_ports(protocol)) return match.matches(address, port.host());
  return match.ports.is_any() && match.matches(address, 0);
}

bool ipsec_matches(IpsecMatch match, bool ipsec) {
  return match == IpsecMatch::kAny || (match == IpsecMatch::kIpsec) == ipsec;
}

// The network's bits of the rule, the host's of `address` (NETMAP).
IpAddress map_prefix(const NatRuleRecord& rule, IpAddress address) {
  const IpPrefix to{rule.address_low, rule.prefix_length};
  return IpAddress::from_host(to.network().host() | (address.host() & ~to.mask()));
}

// What `address` may become by a rule that translates, other than by masquerade.
AddressRange addresses_of(const NatRuleRecord& rule, IpAddress address) {
  if (rule.translation != NatTranslation::kPrefix) return {rule.address_low, rule.address_high};
  const IpAddress mapped = map_prefix(rule, address);
  return {mapped, mapped};
}

bool is_free(const Tuple& packet, const TupleSearch& search) {
  const auto reply = inverse(packet);
  return reply && search.sessions.is_free(*reply, search.worker, search.now_ms);
}

// The ports that may replace `port` where a rule names none: a host's privileged ports stay privileged, and
// those below 512 among themselves (servers once trusted rsh and the like for them).
PortRange port_class(uint8_t protocol, be16 port) {
  if (!has_ports(protocol)) return {};  // an ICMP identifier
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
  AddressRange addresses;
  bool has_ports = false;
  PortRange ports;

  bool contains_port(const Tuple& packet) const {
    const bool numbered = nat::has_ports(packet.protocol) || has_identifier(packet);
    return !has_ports || !numbered || ports.contains(packet.source_port.host());
  }
  bool contains(const Tuple& packet) const {
    return addresses.contains(packet.source) && contains_port(packet);
  }
};

SourceChoice source_choice(const NatRuleRecord* rule, IpAddress masquerade, const Tuple& packet) {
  if (rule == nullptr || rule->translation == NatTranslation::kExclude)
    return {.addresses = {packet.source, packet.source}, .ports = {}};
  SourceChoice choice{.addresses = addresses_of(*rule, packet.source),
                      .has_ports = rule->has_port_range != 0,
                      .ports = rule->ports};
  if (rule->translation == NatTranslation::kMasquerade) choice.addresses = {masquerade, masquerade};
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
  choose_address(choice.addresses, packet, &Tuple::source);
  if (choice.contains_port(packet) && is_free(packet, search)) return DropReason::kNone;
  if (!has_ports(packet.protocol) && !has_identifier(packet)) return DropReason::kNone;
  const PortRange range = choice.has_ports ? choice.ports : port_class(packet.protocol, packet.source_port);
  const bool found = find_free_port(packet, &Tuple::source_port, range, search);
  return found ? DropReason::kNone : DropReason::kNatPortsExhausted;
}

}  // namespace

bool RuleSet::matches(const NatRuleRecord& rule, const Question& question) {
  const Tuple& tuple = question.tuple;
  return (rule.interface == kNoInterface || rule.interface == question.interface) &&
         (rule.protocol == kProtoAny || rule.protocol == tuple.protocol) && rule.family == tuple.family() &&
         (rule.local_output != 0) == question.local_output && ipsec_matches(rule.ipsec, question.ipsec) &&
         end_matches(rule.source, tuple.source, tuple.source_port, tuple.protocol) &&
         end_matches(rule.destination, tuple.destination, tuple.destination_port, tuple.protocol);
}

const NatRuleRecord* RuleSet::match(std::span<const NatRuleRecord> rules, const Question& question) {
  for (const NatRuleRecord& rule : rules)
    if (matches(rule, question)) return &rule;
  return nullptr;
}

void translate_destination(const NatRuleRecord* rule, PendingSession& pending, const TupleSearch& search) {
  if (rule == nullptr) return;
  pending.destination_rule_index = rule->index;
  pending.destination_rule_number = rule->number;
  if (rule->translation == NatTranslation::kExclude) return;
  Tuple packet = pending.packet_tuple();
  choose_address(addresses_of(*rule, packet.destination), packet, &Tuple::destination);
  if (rule->has_port_range && has_ports(packet.protocol))
    choose_destination_port(rule->ports, packet, search);
  pending.reply = inverse(packet).value_or(pending.reply);
}

DropReason translate_source(const NatRuleRecord* rule, IpAddress masquerade, PendingSession& pending,
                            const TupleSearch& search) {
  if (rule != nullptr) {
    pending.source_rule_index = rule->index;
    pending.source_rule_number = rule->number;
    pending.masqueraded = rule->translation == NatTranslation::kMasquerade;
    if (pending.masqueraded && masquerade.is_unspecified()) return DropReason::kNatNoAddress;
  }
  Tuple packet = pending.packet_tuple();
  const auto choice = source_choice(rule, masquerade, packet);
  const DropReason reason = choose_source(choice, packet, search);
  if (reason == DropReason::kNone) pending.reply = inverse(packet).value_or(pending.reply);
  return reason;
}

}  // namespace espalier::nat
