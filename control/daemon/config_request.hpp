// A configuration as the request that carries it to the dataplane: ConfigBegin, its records, ConfigCommit.
#pragma once

#include <memory>

#include "control/config/config.hpp"
#include "control/daemon/dataplane_link.hpp"

namespace espalier::daemon {

// Can be produced again from any position; the records are made into slots one by one, so that no second copy
// of the keys is kept.
DataplaneLink::Source config_request(std::shared_ptr<const config::Tables> tables, uint64_t generation);

// Whether a dataplane that runs `a` has nothing to do for `b`: what is IKE's alone may differ. Startup is not looked at.
bool same_for_dataplane(const config::Tables& a, const config::Tables& b);

}  // namespace espalier::daemon
