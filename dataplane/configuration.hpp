// A whole configuration as the dataplane installs it: the records that came between ConfigBegin and
// ConfigCommit. Owner: main lcore.
#pragma once

#include <vector>

#include "control/shared/records.hpp"
#include "control/shared/vault.hpp"

namespace espalier::dataplane {

struct Configuration {
  SettingsRecord settings;
  std::vector<InterfaceRecord> interfaces;
  std::vector<AddressRecord> addresses;
  std::vector<RouteRecord> routes;
  std::vector<NeighborRecord> neighbors;
  std::vector<NatRuleRecord> nat_rules;
  std::vector<PolicyRecord> policies;
  std::vector<SaRecord> sas;  // with keys, until the gateway has installed them

  Configuration() = default;
  Configuration(Configuration&&) = default;
  Configuration& operator=(Configuration&&) = default;
  ~Configuration() { wipe_keys(); }
  void wipe_keys() {
    for (SaRecord& sa : sas) espalier::wipe_keys(sa);
  }
  size_t records() const {
    return interfaces.size() + addresses.size() + routes.size() + neighbors.size() + nat_rules.size() +
           policies.size() + sas.size();
  }
};

}  // namespace espalier::dataplane
