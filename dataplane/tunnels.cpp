#include "dataplane/tunnels.hpp"

#include <algorithm>
#include <tuple>

namespace espalier::dataplane {
namespace {

auto end_of(IpAddress local, IpAddress remote, const be32* key) {
  return std::tuple(local, remote, key != nullptr, key ? key->host() : 0);
}
auto end_of(const GreTunnel& tunnel) {
  return end_of(tunnel.local, tunnel.remote, tunnel.has_key ? &tunnel.key : nullptr);
}

}  // namespace

const GreTunnel* TunnelTable::find_gre(IpAddress local, IpAddress remote, const be32* key) const {
  const auto wanted = end_of(local, remote, key);
  const auto found = std::partition_point(gre_.begin(), gre_.end(),
                                          [&](const GreTunnel& tunnel) { return end_of(tunnel) < wanted; });
  return found != gre_.end() && end_of(*found) == wanted ? &*found : nullptr;
}

}  // namespace espalier::dataplane
