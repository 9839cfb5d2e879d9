// Building the tunnel table: the main lcore's half of tunnels.hpp.
#include <algorithm>
#include <tuple>

#include "dataplane/tunnels.hpp"

namespace espalier::dataplane {

TunnelTable::TunnelTable(std::span<const InterfaceRecord> interfaces)
    : gre_of_(interfaces.size(), kNone), is_vti_(interfaces.size(), false) {
  for (const InterfaceRecord& record : interfaces) {
    is_vti_[record.index.value] = record.kind == InterfaceKind::kVti;
    if (record.kind == InterfaceKind::kGre)
      gre_.push_back({.interface = record.index,
                      .local = record.local,
                      .remote = record.remote,
                      .has_key = record.has_key != 0,
                      .key = be32::from_host(record.key),
                      .protect = record.protect != 0,
                      .ttl = record.ttl});
  }
  std::ranges::sort(gre_, {}, [](const GreTunnel& t) {
    return std::tuple(t.local, t.remote, t.has_key, t.has_key ? t.key.host() : 0);
  });
  for (size_t i = 0; i < gre_.size(); ++i) gre_of_[gre_[i].interface.value] = static_cast<uint16_t>(i);
}

}  // namespace espalier::dataplane
