// The tables that a burst is decided with: immutable, published by one pointer swap (main lcore), read once
// per burst (workers), freed when every worker was quiescent. Parts that did not change are shared with the
// previous snapshot.
#pragma once

#include <memory>

#include "dataplane/change_log.hpp"
#include "dataplane/fib.hpp"
#include "dataplane/interfaces.hpp"
#include "dataplane/port_set.hpp"
#include "dataplane/sad.hpp"
#include "dataplane/spd.hpp"
#include "nat/rules.hpp"

namespace espalier::dataplane {

struct Snapshot {
  uint64_t generation = 0;  // of the configuration
  ChangeLog changes;
  SettingsRecord settings;
  bool track_sessions = false;  // settings.sessions == kAlways, or a NAT rule needs it
  bool whole_packets = false;   // fragments are put together: for sessions, or for policies that name ports
  std::shared_ptr<const PortSet> ports;
  std::shared_ptr<const InterfaceTable> interfaces;
  std::shared_ptr<const Fib> fib;
  std::shared_ptr<const Spd> spd;
  std::shared_ptr<PolicySas> policy_sas;  // as long as the SPD; follows single installs of SAs
  std::vector<OuterRoute> outer_routes;   // by SaIndex, as long as the SAD
  std::shared_ptr<const nat::RuleSet> rules;

  const OuterRoute& outer_route(const Sa& sa) const { return outer_routes[sa.index().value]; }
};

}  // namespace espalier::dataplane
