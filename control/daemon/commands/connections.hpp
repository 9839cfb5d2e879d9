// The tunnels of vpn.ipsec as espalier-ike tells of them, completed by those that it does not know: whatever
// is configured has a row, up or down with the reason.
#pragma once

#include <unordered_map>

#include "control/daemon/commands/commands.hpp"

namespace espalier::daemon::commands {

// Asks espalier-ike for its connections; `done` gets a row for every configured tunnel, in the
// configuration's order, also where espalier-ike does not answer.
void ask_connections(Context& context, std::function<void(std::vector<Json> rows)> done);

// The rows of a tunnel by the reqid that its policies and SAs have. They point into `rows`.
std::unordered_map<uint32_t, const Json*> rows_by_reqid(const config::IkeDocument& document,
                                                        const std::vector<Json>& rows);

// "OFFICE-B-tunnel-0", as VyOS calls a tunnel.
std::string tunnel_name(const Json& row);

}  // namespace espalier::daemon::commands
