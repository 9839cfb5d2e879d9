// The main lcore's rounds: punted packets, neighbours, links. Tunnels and the host path have files of their
// own.
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <array>

#include "control/shared/text.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/stages/unreachable.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint64_t kTickMs = 100;

std::pair<IpAddress, IpAddress> addresses_on_wire(rte_mbuf* mbuf) {
  if (is_ipv4(mbuf)) return {ipv4_header(mbuf).source, ipv4_header(mbuf).destination};
  return {ipv6_header(mbuf).source, ipv6_header(mbuf).destination};
}

}  // namespace

void Gateway::begin_round() {
  transmitter_.use(tables_->ports->transmit.back());
  context_.tables = tables_.get();
  context_.observer = tables_->observer(context_.worker);
  transmitter_.observe(context_.observer);
  if (context_.observer) context_.observer->received(context_, {});  // nothing; with these tables from now on
  context_.now_ms = clock_.now_ms();
}

void Gateway::drop_by_main(rte_mbuf* mbuf, DropReason reason) {
  if (Observer* observer = tables_->observer(context_.worker)) observer->ended(mbuf, reason);
  const InterfaceIndex in = packet(mbuf).in;
  main_statistics().drops[in == kNoInterface ? 0 : in.value][static_cast<size_t>(reason)].add(1);
  rte_pktmbuf_free(mbuf);
}

// The configuration may have changed while the packet waited.
void Gateway::handle_punted(rte_mbuf* mbuf, NeighborOutput& output) {
  const Packet& p = packet(mbuf);
  const bool is_known = p.in != kNoInterface && p.in.value < tables_->interfaces->size();
  switch (p.reason) {
    case DropReason::kUsedArp:
      if (is_known) resolver_.handle_arp(p.in, bytes(mbuf), clock_.now_ms(), output);
      return drop_by_main(mbuf, p.reason);
    case DropReason::kUsedNd:
      if (!is_known) return drop_by_main(mbuf, p.reason);
      return drop_by_main(mbuf, resolver_.handle_nd(p.in, bytes(mbuf), p.l4_offset, clock_.now_ms(), output));
    case DropReason::kUsedHost:
      return to_host(mbuf);
    case DropReason::kUsedIke:
      return to_ike(mbuf);
    case DropReason::kOutNoState:
    case DropReason::kVtiDown:
    case DropReason::kRouteUnreachable:
      return acquire(mbuf);
    default:
      break;
  }
  if (p.out.value >= tables_->interfaces->size()) return drop_by_main(mbuf, DropReason::kEgressDown);
  resolver_.queue_packet(mbuf, clock_.now_ms(), output);
}

// What is made here is sent by a worker, which has the way for the gateway's own packets.
void Gateway::hand_to_worker(rte_mbuf* made) {
  packet(made).again = Entry::kMade;
  if (!mailboxes_.front()->push(made)) drop_by_main(made, DropReason::kHandoverFull);
}

void Gateway::answer_unreachable(rte_mbuf* mbuf) {
  if (packet(mbuf).in == kNoInterface) return;
  answer_host_unreachable(context_, mbuf);
  for (rte_mbuf* error : context_.again.span()) hand_to_worker(error);
  context_.again.clear();
}

// Packets that wait for a next hop were decided with the tables before: what a change touches must not leave
// by them any more, in clear least of all. They are dropped, as if their next hop had not answered; who sent
// them tries again. If interfaces changed, all of them speak of positions that are others now.
void Gateway::drop_waiting(uint32_t epoch_before, bool interfaces_changed) {
  const auto is_stale = [&](rte_mbuf* mbuf) {
    if (interfaces_changed) return true;
    const Packet& p = packet(mbuf);
    if (p.reason == DropReason::kUsedArp || p.reason == DropReason::kUsedNd ||
        p.reason == DropReason::kUsedHost || p.reason == DropReason::kUsedIke)
      return false;
    const auto [source, destination] = addresses_on_wire(mbuf);
    const std::pair<IpAddress, IpAddress> pairs[] = {
        {p.tuple.source, p.tuple.destination}, {p.tuple.source, destination}, {source, destination}};
    return tables_->changes.touched_since(epoch_before, pairs);
  };
  const auto drop = [&](rte_mbuf* mbuf) {
    if (interfaces_changed) packet(mbuf).in = kNoInterface;
    drop_by_main(mbuf, packet(mbuf).reason);
  };
  for (rte_mbuf* mbuf : resolver_.take_queued(is_stale)) drop(mbuf);
  NeighborOutput output;
  std::array<rte_mbuf*, kBurst> punted;
  for (Mailbox* mailbox : main_mailboxes())
    while (const uint16_t count = mailbox->pop(punted))
      for (uint16_t i = 0; i < count; ++i)
        is_stale(punted[i]) ? drop(punted[i]) : handle_punted(punted[i], output);
  carry_out(output);
}

// At most one line a second: whoever conflicts may do so quickly.
void Gateway::report(const std::vector<AddressConflict>& conflicts) {
  if (conflicts.empty() || clock_.now_ms() < next_conflict_report_ms_) return;
  next_conflict_report_ms_ = clock_.now_ms() + 1000;
  const AddressConflict& c = conflicts.front();
  spdlog::warn("subsystem=net {}: {:02x} also uses our address {}{}",
               (*tables_->interfaces)[c.interface].name.view(), fmt::join(c.mac, ":"), to_text(c.address),
               c.refused ? ", which is not used here therefore" : "");
}

void Gateway::send_frame(const NeighborFrame& frame) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
  main_statistics().made.add(1);
  if (!mbuf) {
    main_statistics().drops[frame.interface.value][static_cast<size_t>(DropReason::kNoMbuf)].add(1);
    return;
  }
  make_fresh(mbuf);
  packet(mbuf).in = frame.interface;
  std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.payload.size())), frame.payload.data(),
              frame.payload.size());
  transmitter_.send_frame(mbuf, (*tables_->interfaces)[frame.interface], frame.destination, frame.ether_type);
}

void Gateway::carry_out(NeighborOutput& output) {
  begin_round();
  report(output.conflicts);
  for (const NeighborFrame& frame : output.frames) send_frame(frame);
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

void Gateway::decide_anew() {
  auto next = std::make_unique<Snapshot>(*tables_);
  next->changes = tables_->changes.with(std::vector<ChangedRegion>{kEverything});
  route_sas(*next);
  publish(std::move(next));
}

// Routes read the state of links by themselves; what flows remember of them is asked anew when one changed.
void Gateway::follow_links() {
  bool changed = false;
  for (const auto& port : tables_->ports->ports) {
    if (!port->port.poll_link()) continue;
    const bool up = port->port.is_link_up();
    changed |= port->link.up.exchange(up, std::memory_order_relaxed) != up;
  }
  changed |= follow_vtis();
  if (changed) decide_anew();
  if (host_path_)
    for (const Interface& interface : *tables_->interfaces)
      host_path_->set_link(interface.index, interface.is_up());
  // One reference is ours; the others are sleeping workers'.
  std::erase_if(retired_ports_, [](const auto& port) { return port.use_count() == 1; });
}

uint64_t Gateway::waiting() const {
  uint64_t sum = resolver_.queued_packets();
  for (const auto& worker : workers_) sum += worker->waiting_datagrams();
  return sum;
}

uint32_t Gateway::poll_main() {
  NeighborOutput output;
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
    follow_sas();
    follow_links();
    end_unread_taps();
    resolver_.tick(now, output);
  }
  handled += poll_host();
  handled += serve_ike();
  carry_out(output);
  return handled;
}

}  // namespace espalier::dataplane
