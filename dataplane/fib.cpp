#include "dataplane/fib.hpp"

#include <rte_rib.h>

namespace espalier::dataplane {

RouteResult Fib::lookup(Ipv4Address destination) const {
  rte_rib_node* const node = rte_rib_lookup(rib_, destination.host());
  if (node == nullptr) return {};
  uint64_t index;
  rte_rib_get_nh(node, &index);
  const RouteEntry& entry = entries_[index];
  const Ipv4Address next_hop = entry.via.is_unspecified() ? destination : entry.via;
  return {entry.verdict, entry.interface, next_hop, entry.route};
}

}  // namespace espalier::dataplane
