// What `show` asks the gateway for.
#include "dataplane/gateway.hpp"

namespace espalier::dataplane {

message::InterfaceRow Gateway::interface_row(const Interface& interface) const {
  message::InterfaceRow row;
  row.index = interface.index;
  row.admin_up = interface.enabled;
  row.link_up = interface.link->up.load(std::memory_order_relaxed);
  row.mtu_bytes = interface.mtu_bytes;
  row.mac = interface.mac;
  row.name = interface.name;
  for (const auto& port : tables_->ports->ports) {
    if (port->port.id() != interface.port) continue;
    row.rx_queues = port->port.rx_queues();
    row.tx_queues = port->port.tx_queues();
    rte_eth_link link{};
    if (rte_eth_link_get_nowait(interface.port, &link) == 0 && link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN)
      row.speed_mbps = link.link_speed;
    row.tx_checksum = port->port.computes_ipv4_checksum();
  }
  return row;
}

message::RouteRow Gateway::route_row(const RouteEntry& entry) const {
  message::RouteRow row;
  row.record.index = entry.route;
  row.record.prefix = entry.prefix;
  row.record.metric = entry.metric;
  row.record.imported = entry.imported;
  for (const NextHop& hop : tables_->fib->next_hops(entry))
    if (row.record.next_hop_count < RouteRecord::kMaxNextHops)
      row.record.next_hops[row.record.next_hop_count++] = hop;
  if (entry.verdict == RouteVerdict::kLocal) {
    row.record.next_hops[0].interface = entry.owner;
    row.record.next_hop_count = 1;
  }
  row.connected = entry.route == kNoRoute;
  switch (entry.verdict) {
    case RouteVerdict::kBlackhole:
      row.record.kind = RouteKind::kBlackhole;
      break;
    case RouteVerdict::kUnreachable:
    case RouteVerdict::kNoRoute:
      row.record.kind = RouteKind::kUnreachable;
      break;
    case RouteVerdict::kProhibit:
      row.record.kind = RouteKind::kProhibit;
      break;
    case RouteVerdict::kForward:
    case RouteVerdict::kLocal:
      row.record.kind = RouteKind::kNextHop;
      break;
  }
  row.usable = tables_->fib->is_usable(entry);
  return row;
}

std::vector<message::RouteRow> Gateway::route_rows(uint64_t& cursor, uint32_t limit) const {
  std::vector<message::RouteRow> rows;
  const auto entries = tables_->fib->entries();
  for (; cursor < entries.size() && rows.size() < limit; ++cursor) rows.push_back(route_row(entries[cursor]));
  if (cursor >= entries.size()) cursor = 0;
  return rows;
}

std::vector<message::InterfaceRow> Gateway::interface_rows(uint64_t& cursor, uint32_t limit) const {
  std::vector<message::InterfaceRow> rows;
  const InterfaceTable& interfaces = *tables_->interfaces;
  for (; cursor < interfaces.size() && rows.size() < limit; ++cursor)
    rows.push_back(interface_row(interfaces[InterfaceIndex{static_cast<uint16_t>(cursor)}]));
  if (cursor >= interfaces.size()) cursor = 0;
  return rows;
}

size_t Gateway::neighbor_rows(uint64_t& cursor, std::span<message::NeighborRow> rows) const {
  return resolver_.rows(cursor, clock_.now_ms(), rows, cursor);
}

size_t Gateway::session_rows(uint64_t& cursor, std::span<message::SessionRow> rows,
                             const message::SessionFilter& filter) const {
  return sessions_->list(cursor, rows, clock_.now_ms(), filter);
}

uint64_t Gateway::count_sessions(uint64_t& cursor, const message::SessionFilter& filter) const {
  return sessions_->count(cursor, filter);
}

}  // namespace espalier::dataplane
