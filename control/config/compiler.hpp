// Turns a valid configuration into the table entries that the dataplane installs
// (control/shared/records.hpp). The same file compiles to identical records each time, so that comparing two
// Tables tells what an `apply` changes. What this version's dataplane cannot run is refused here by name and
// line (capabilities.hpp): nothing that is accepted is ignored.
#pragma once

#include <optional>
#include <vector>

#include "control/config/diagnostics.hpp"
#include "control/config/ike_document.hpp"
#include "control/config/model.hpp"
#include "control/shared/records.hpp"

namespace espalier::config {

// What is fixed while the dataplane runs: a change needs a restart of it.
struct Startup {
  uint32_t workers = 1;
  std::vector<uint16_t> cores;  // empty: all but the first
  Memory memory = Memory::kAuto;
  uint32_t session_capacity = 262144;
  friend bool operator==(const Startup&, const Startup&) = default;
};

// All records of a configuration, in installation order; index i stands at position i. Wipes the SAs' keys.
struct Tables {
  Startup startup;
  SettingsRecord settings;
  std::vector<InterfaceRecord> interfaces;
  std::vector<AddressRecord> addresses;
  std::vector<RouteRecord> routes;
  std::vector<NeighborRecord> neighbors;
  std::vector<NatRuleRecord> source_rules;       // in number order; tcp_udp is two records of one number
  std::vector<NatRuleRecord> destination_rules;  // likewise
  std::vector<PolicyRecord> policies;
  std::vector<SaRecord> states;
  IkeDocument ike;                      // for the IKE process alone
  uint32_t first_ike_policy = kNone32;  // position in `policies`; from there on all are IKE's

  Tables() = default;
  Tables(Tables&&) = default;
  Tables& operator=(Tables&& other) noexcept;
  ~Tables();
};

struct CompileOutcome {
  std::optional<Tables> tables;         // nothing if there is an error
  std::vector<Diagnostic> diagnostics;  // errors: what this version cannot apply
};

// `file` names the configuration in the diagnostics. Precondition: validate() found no error in `model`.
CompileOutcome compile(const Model& model, const std::string& file);

}  // namespace espalier::config
