#include "dataplane/interfaces.hpp"

namespace espalier::dataplane {

bool InterfaceTable::is_own_address(Ipv4Address a) const {
  return std::binary_search(own_.begin(), own_.end(), a);
}

InterfaceIndex InterfaceTable::connected_to(Ipv4Address a) const {
  InterfaceIndex best = kNoInterface;
  int best_length = -1;
  for (const Interface& interface : interfaces_)
    for (const Ipv4Prefix& prefix : interface.addresses)
      if (prefix.contains(a) && prefix.length > best_length) {
        best = interface.index;
        best_length = prefix.length;
      }
  return best;
}

}  // namespace espalier::dataplane
