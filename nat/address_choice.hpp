// Which address of a range a flow is translated to: Linux's choice, so that a gateway that takes the place of
// another one, or stands beside it, gives hosts the addresses that their peers know them by.
#pragma once

#include "nat/tuple.hpp"

namespace espalier::nat {

// An inclusive range of addresses of one family.
struct AddressRange {
  IpAddress low;
  IpAddress high;
  constexpr bool contains(IpAddress a) const { return low <= a && a <= high; }
};

// Gives `packet` an address of `range` at `end`, its source or destination: by a hash of both its addresses,
// so that a client stays with its server and a server sees one client at one address (nf_nat's
// find_best_ips_proto, without NF_NAT_RANGE_PERSISTENT).
void choose_address(const AddressRange& range, Tuple& packet, IpAddress Tuple::*end);

}  // namespace espalier::nat
