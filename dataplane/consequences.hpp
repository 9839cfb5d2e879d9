// What follows from a configuration, and from the difference of two: pure functions over records. Main lcore.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "dataplane/change_log.hpp"
#include "dataplane/configuration.hpp"
#include "dataplane/sa_store.hpp"
#include "dataplane/snapshot.hpp"

namespace espalier::dataplane {

template <class Record>
bool same_bytes(const std::vector<Record>& a, const std::vector<Record>& b) {
  static_assert(std::has_unique_object_representations_v<Record>, "padding differs between equal records");
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](const Record& x, const Record& y) {
           return std::memcmp(&x, &y, sizeof(Record)) == 0;
         });
}

// Adds the prefixes of routes that came or went; either list in any order.
void add_changed_routes(const std::vector<RouteRecord>& before, const std::vector<RouteRecord>& after,
                        std::vector<ChangedRegion>& regions);

// Between which addresses packets may be decided differently under `after`.
std::vector<ChangedRegion> changed_regions(const Configuration& before, const Configuration& after);

// Whether an SA may carry less than before: flows remember their policy and not its SA, and an SA's selector
// is asked about their first packet only.
bool may_cover_less(const SaStore::Change& change, const std::vector<SaRecord>& wanted);

// Whether NAT can change the gateway's own ESP: then that goes through conntrack and NAT, as in Linux.
bool nat_touches_esp(const Configuration& wanted);

// What fits every way out, whatever path MTU is learned: so small packets need not ask. Bytes.
uint32_t fits_everywhere(const Configuration& wanted, const InterfaceTable& interfaces);

// A vti that has no policies of its own takes everything: adds policies that say so.
void add_vti_policies(Configuration& wanted);

// The gateway's ports for ESP in UDP. Error: too many.
Result<EncapPorts> encap_ports(const Configuration& wanted);

// Indices name what exists and stand at their place.
Result<void> check_positions(const Configuration& wanted);

}  // namespace espalier::dataplane
