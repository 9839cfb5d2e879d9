// The main lcore's rounds: punted packets, ARP, links; and what `show` asks for.
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <array>

#include "control/shared/text.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/stages/unreachable.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint64_t kTickMs = 100;

}  // namespace

void Gateway::begin_round() {
  transmitter_.use(tables_->ports->transmit.back());
  context_.tables = tables_.get();
  context_.now_ms = clock_.now_ms();
}

void Gateway::drop_by_main(rte_mbuf* mbuf, DropReason reason) {
  const InterfaceIndex in = packet(mbuf).in;
  main_statistics().drops[in == kNoInterface ? 0 : in.value][static_cast<size_t>(reason)].add(1);
  rte_pktmbuf_free(mbuf);
}

void Gateway::handle_punted(rte_mbuf* mbuf, ArpOutput& output) {
  Packet& p = packet(mbuf);
  // The configuration may have changed while the packet waited.
  if (p.reason == DropReason::kUsedArp) {
    if (p.in.value < tables_->interfaces->size()) arp_.handle(p.in, bytes(mbuf), clock_.now_ms(), output);
    return drop_by_main(mbuf, DropReason::kUsedArp);
  }
  if (p.out.value >= tables_->interfaces->size()) return drop_by_main(mbuf, DropReason::kEgressDown);
  arp_.queue_packet(mbuf, clock_.now_ms(), output);
}

// Errors are made here and sent by a worker, which has the way for the gateway's own packets. What the
// gateway makes is counted at the first interface.
void Gateway::answer_unreachable(rte_mbuf* mbuf) {
  answer_host_unreachable(context_, mbuf);
  for (rte_mbuf* error : context_.made.span()) {
    packet(error).in = InterfaceIndex{0};
    if (!mailboxes_.front()->push(error)) drop_by_main(error, DropReason::kHandoverFull);
  }
  context_.made.clear();
}

// Packets that wait for a next hop were decided with the tables before: what a change touches must not leave
// by them any more, in clear least of all. They are dropped, as if their next hop had not answered; who sent
// them tries again. If interfaces changed, all of them speak of positions that are others now.
void Gateway::drop_waiting(uint32_t epoch_before, bool interfaces_changed) {
  const auto is_stale = [&](rte_mbuf* mbuf) {
    if (interfaces_changed) return true;
    const Packet& p = packet(mbuf);
    if (p.reason == DropReason::kUsedArp) return false;
    const Ipv4Header& sent = ip_header(mbuf);
    const std::pair<Ipv4Address, Ipv4Address> pairs[] = {{p.tuple.source, p.tuple.destination},
                                                         {p.tuple.source, sent.destination},
                                                         {sent.source, sent.destination}};
    return tables_->changes.touched_since(epoch_before, pairs);
  };
  const auto drop = [&](rte_mbuf* mbuf) {
    if (interfaces_changed) packet(mbuf).in = kNoInterface;
    drop_by_main(mbuf, packet(mbuf).reason);
  };
  for (rte_mbuf* mbuf : arp_.take_queued(is_stale)) drop(mbuf);
  ArpOutput output;
  std::array<rte_mbuf*, kBurst> punted;
  for (Mailbox* mailbox : main_mailboxes())
    while (const uint16_t count = mailbox->pop(punted))
      for (uint16_t i = 0; i < count; ++i)
        is_stale(punted[i]) ? drop(punted[i]) : handle_punted(punted[i], output);
  carry_out(output);
}

// At most one line a second: whoever conflicts may do so quickly.
void Gateway::report(const std::vector<ArpConflict>& conflicts) {
  if (conflicts.empty() || clock_.now_ms() < next_conflict_report_ms_) return;
  next_conflict_report_ms_ = clock_.now_ms() + 1000;
  const ArpConflict& c = conflicts.front();
  spdlog::warn("subsystem=net {}: {:02x} also uses our address {}",
               (*tables_->interfaces)[c.interface].name.view(), fmt::join(c.mac, ":"), to_text(c.address));
}

void Gateway::send_arp(const ArpFrame& frame) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
  main_statistics().made.add(1);
  if (!mbuf) {
    main_statistics().drops[frame.interface.value][static_cast<size_t>(DropReason::kNoMbuf)].add(1);
    return;
  }
  packet(mbuf) = Packet{};
  packet(mbuf).in = frame.interface;
  std::memcpy(rte_pktmbuf_append(mbuf, sizeof frame.packet), &frame.packet, sizeof frame.packet);
  transmitter_.send_frame(mbuf, (*tables_->interfaces)[frame.interface], frame.destination, kEtherTypeArp);
}

void Gateway::carry_out(ArpOutput& output) {
  begin_round();
  report(output.conflicts);
  for (const ArpFrame& frame : output.frames) send_arp(frame);
  for (rte_mbuf* mbuf : output.ready) {
    MacAddress destination;
    const Packet& p = packet(mbuf);
    if (neighbors_.resolve(NeighborRef{p.neighbor}, destination) == NeighborTable::State::kUsable)
      transmitter_.send_ip(mbuf, (*tables_->interfaces)[p.out], destination);
    else
      drop_by_main(mbuf, DropReason::kNeighborUnresolved);
  }
  for (rte_mbuf* mbuf : output.dropped) {
    if (packet(mbuf).reason == DropReason::kNeighborUnresolved) answer_unreachable(mbuf);
    drop_by_main(mbuf, packet(mbuf).reason);
  }
  transmitter_.flush();
  output = {};
}

void Gateway::follow_links() {
  for (const auto& port : tables_->ports->ports)
    if (port->port.poll_link()) port->link.up.store(port->port.is_link_up(), std::memory_order_relaxed);
  // One reference is ours; the others are sleeping workers'.
  std::erase_if(retired_ports_, [](const auto& port) { return port.use_count() == 1; });
}

uint32_t Gateway::poll_main() {
  ArpOutput output;
  std::array<rte_mbuf*, kBurst> punted;
  uint32_t handled = 0;
  for (Mailbox* mailbox : main_mailboxes()) {
    const uint16_t count = mailbox->pop(punted);
    for (uint16_t i = 0; i < count; ++i) handle_punted(punted[i], output);
    handled += count;
  }
  const uint64_t now = clock_.now_ms();
  main_statistics().polls.add(1);
  if (now >= tick_due_ms_) {
    tick_due_ms_ = now + kTickMs;
    main_statistics().heartbeat.add(1);
    follow_links();
    arp_.tick(now, output);
  }
  carry_out(output);
  return handled;
}

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
  row.record.via = entry.via;
  row.record.interface = entry.interface;
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
      row.record.kind = entry.via.is_unspecified() ? RouteKind::kInterface : RouteKind::kNextHop;
      break;
  }
  row.usable = entry.interface == kNoInterface || (*tables_->interfaces)[entry.interface].is_up();
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
  return arp_.rows(cursor, clock_.now_ms(), rows, cursor);
}

size_t Gateway::session_rows(uint64_t& cursor, std::span<message::SessionRow> rows) const {
  return sessions_->list(cursor, rows, clock_.now_ms());
}

}  // namespace espalier::dataplane
