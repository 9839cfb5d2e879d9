// The core's reports as JSON, for `show ike sa` and `show connections`: keys as docs/socket.md has them.
#pragma once

#include <nlohmann/json.hpp>

#include "ike/daemon/dataplane_port.hpp"
#include "ike/report.hpp"

namespace espalier::ike {

nlohmann::json to_json(const IkeSaReport& sa);
nlohmann::json to_json(const ConnectionReport& connection);
nlohmann::json to_json(const CoreCounters& counters);
nlohmann::json to_json(const DataplanePort::Counters& counters);

}  // namespace espalier::ike
