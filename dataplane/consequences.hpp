// What follows from a configuration, and from the difference of two: pure functions over records. Main lcore.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
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

// Adds what can be touched by routes that came or went; either list in any order.
void add_changed_routes(const std::vector<RouteRecord>& before, const std::vector<RouteRecord>& after,
                        std::vector<ChangedRegion>& regions);

// Between which addresses packets may be decided differently under `after`.
std::vector<ChangedRegion> changed_regions(const Configuration& before, const Configuration& after);

// Between which addresses it depends on this SA what becomes of a flow: it is outbound, and for some of its
// policy's packets only.
std::optional<ChangedRegion> region_decided_by(const SaRecord& sa);

// Whether an out policy has a template that it does not insist on: then it depends on all SAs.
bool policies_are_optional(const Configuration& configuration);

// Whether it depends on the SAs that are there what becomes of a flow. Flows remember their policy and not
// its SA; about their first packet alone is asked whether an SA is for it (its selector, and in transport
// mode its addresses), and whether there is one that the policy does not insist on.
bool sas_decide_flows(const Configuration& configuration);

// Whether flows may be decided otherwise because of changed SAs.
bool may_decide_otherwise(const SaStore::Change& change, const Configuration& wanted);

// Whether NAT can change the gateway's own ESP, or send on what came for it: then ESP goes through conntrack
// and NAT, as in Linux.
bool nat_touches_esp(const Configuration& wanted);
bool nat_touches_sa(const std::vector<NatRuleRecord>& rules, const SaRecord& sa);

// What fits every way out, whatever path MTU is learned and whatever SAs IKE makes: so small packets need not
// ask. Bytes.
uint32_t fits_everywhere(const Configuration& wanted, const InterfaceTable& interfaces);

// A vti that has no policies of its own takes everything: adds policies that say so.
void add_vti_policies(Configuration& wanted);

// The gateway's ports for ESP in UDP, IKE's too. Error: too many.
Result<EncapPorts> encap_ports(const Configuration& wanted);

// Indices name what exists and stand at their place.
Result<void> check_positions(const Configuration& wanted);

}  // namespace espalier::dataplane
