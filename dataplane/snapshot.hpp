// The tables that a burst is decided with: immutable, published by one pointer swap (main lcore), read once
// per burst (workers), freed when every worker was quiescent. Parts that did not change are shared with the
// previous snapshot.
#pragma once

#include <memory>

#include "dataplane/change_log.hpp"
#include "dataplane/fib.hpp"
#include "dataplane/interfaces.hpp"
#include "dataplane/observer.hpp"
#include "dataplane/port_set.hpp"
#include "dataplane/sad.hpp"
#include "dataplane/spd.hpp"
#include "dataplane/tunnels.hpp"
#include "nat/rules.hpp"

namespace espalier::dataplane {

// A few UDP ports, in network byte order.
class EncapPorts {
 public:
  static constexpr size_t kMost = 8;
  // False: there are kMost others already.
  bool add(be16 port) {
    if (contains(port)) return true;
    if (count_ == kMost) return false;
    ports_[count_++] = port;
    return true;
  }
  bool contains(be16 port) const {
    for (size_t i = 0; i < count_; ++i)
      if (ports_[i] == port) return true;
    return false;
  }

 private:
  std::array<be16, kMost> ports_{};
  size_t count_ = 0;
};

struct Snapshot {
  uint64_t generation = 0;  // of the configuration
  ChangeLog changes;
  SettingsRecord settings;
  // By Family. Sessions are tracked: settings.sessions == kAlways, or a NAT rule needs it.
  std::array<bool, 2> track_sessions{};
  bool esp_through_nat =
      false;  // NAT rules can touch the gateway's own ESP: it takes the whole way, as in Linux
  uint32_t fits_everywhere_bytes = 0;  // no way out bears less, whatever a path MTU can become
  bool host_path = false;              // what is for the gateway and not ours goes to its host
  std::shared_ptr<const PortSet> ports;
  std::shared_ptr<const InterfaceTable> interfaces;
  std::shared_ptr<const Fib> fib;
  std::shared_ptr<const Spd> spd;
  std::shared_ptr<PolicySas> policy_sas;  // as long as the SPD; follows single installs of SAs
  std::vector<OuterRoute> outer_routes;   // by SaIndex, as long as the SAD
  std::shared_ptr<const TunnelTable> tunnels;
  EncapPorts encap_ports;  // where ESP in UDP comes in
  std::shared_ptr<const nat::RuleSet> rules;
  std::shared_ptr<const Observers> observers;  // null: nobody looks on

  // Of a worker, or of the main lcore, whose number is that of workers.
  Observer* observer(WorkerId thread) const { return observers ? (*observers)[thread.value] : nullptr; }

  const OuterRoute& outer_route(const Sa& sa) const { return outer_routes[sa.index().value]; }
  bool tracks(Family family) const { return track_sessions[static_cast<size_t>(family)]; }
};

}  // namespace espalier::dataplane
