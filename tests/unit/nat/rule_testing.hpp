// Rules as tests write them, and the hosts that they are about.
#pragma once

#include "nat/rules.hpp"
#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {

inline const IpAddress kClient = ip(192, 168, 10, 45), kOther = ip(192, 168, 10, 46);
inline const IpAddress kServer = ip(198, 51, 100, 9), kPublic = ip(203, 0, 113, 1);
inline constexpr InterfaceIndex kWan{1}, kLan{2};

inline NatRuleRecord rule(uint32_t number, NatTranslation translation, NatKind kind = NatKind::kSource) {
  NatRuleRecord r;
  r.index = number / 10;
  r.number = number;
  r.kind = kind;
  r.translation = translation;
  r.source = r.destination = NatMatch::any(Family::kIpv4);
  return r;
}

// `r` for packets of `family`, whatever their addresses.
inline NatRuleRecord of_family(NatRuleRecord r, Family family) {
  r.family = family;
  r.source = r.destination = NatMatch::any(family);
  return r;
}

inline NatRuleRecord snat(uint32_t number, IpAddress low, IpAddress high) {
  NatRuleRecord r = rule(number, low == high ? NatTranslation::kAddress : NatTranslation::kRange);
  r.address_low = low;
  r.address_high = high;
  return of_family(r, low.family());
}

inline NatRuleRecord dnat(uint32_t number, IpAddress low, IpAddress high) {
  NatRuleRecord r = snat(number, low, high);
  r.kind = NatKind::kDestination;
  return r;
}

inline NatRuleRecord with_ports(NatRuleRecord r, uint16_t low, uint16_t high) {
  r.has_port_range = 1;
  r.ports = {low, high};
  return r;
}

}  // namespace espalier::nat
