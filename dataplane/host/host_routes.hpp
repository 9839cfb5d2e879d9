// The configuration's routes in the host's main table (protocol kRouteProtocol), so that the host finds a way
// by some device of the host path; Espalier then decides by its own tables. Where somebody else has put a
// route of the same prefix and metric there, that one stays.
//
// Owner: main lcore.
#pragma once

#include <array>
#include <map>
#include <span>

#include "dataplane/host/host_links.hpp"
#include "dataplane/host/kernel_route.hpp"

namespace espalier::dataplane {

class HostRoutes {
 public:
  // Brings the kernel from what was written last to `wanted`, of which those that forward and are not
  // imported count. `link_of`: by InterfaceIndex, the kernel's index of a device that is up, 0 where there is
  // none. `may_be_gone`: links went down or addresses away since, and the kernel took routes with them. What
  // the kernel refuses is logged.
  void update(HostLinks& links, std::span<const RouteRecord> wanted, std::span<const int> link_of,
              bool may_be_gone);
  // All of them went with their devices.
  void forget() { written_.clear(); }

 private:
  using Links = std::array<int, RouteRecord::kMaxNextHops>;
  struct Written {
    RouteRecord record;
    Links links{};  // of the next hops; 0: not written
    bool is_same(const Written& other) const;
  };
  static Links links_for(const RouteRecord& route, std::span<const int> link_of);
  std::map<RouteKey, Written> written_;
};

}  // namespace espalier::dataplane
