// Holds the parts of a model against each other: references to what does not exist, duplicates, addresses
// that cannot be. All are errors.
#pragma once

#include <algorithm>
#include <vector>

#include "control/config/diagnostics.hpp"
#include "control/config/topology.hpp"

namespace espalier::config {

// Precondition: the parsers found no error.
void validate(const Model& model, const Topology& topology, Diagnostics& diagnostics);

// The sections.
void validate_network(const Model& model, const Topology& topology, Diagnostics& diagnostics);
void validate_nat(const Model& model, const Topology& topology, Diagnostics& diagnostics);
void validate_xfrm(const Model& model, const Topology& topology, Diagnostics& diagnostics);
void validate_vpn(const Model& model, const Topology& topology, Diagnostics& diagnostics);

// Calls `clash(first, second)` for each element of `list` whose key equals that of an earlier one in list
// order; `first` is the earliest. `key(element)` is ordered by <.
template <class List, class Key, class Clash>
void for_each_duplicate(const List& list, Key key, Clash clash) {
  using Element = typename List::value_type;
  std::vector<const Element*> sorted;
  sorted.reserve(list.size());
  for (const Element& element : list) sorted.push_back(&element);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const Element* a, const Element* b) { return key(*a) < key(*b); });
  size_t first = 0;
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (key(*sorted[first]) < key(*sorted[i]))
      first = i;
    else
      clash(*sorted[first], *sorted[i]);
  }
}

}  // namespace espalier::config
