// What a stage may see and touch: the worker's own state and a snapshot of the tables. No globals. Time comes
// from here; stages read no clocks.
#pragma once

#include <array>

#include "control/shared/statistics.hpp"
#include "crypto/esp_transform.hpp"
#include "dataplane/flow_cache.hpp"
#include "dataplane/icmp.hpp"
#include "dataplane/mailbox.hpp"
#include "dataplane/neighbor_table.hpp"
#include "dataplane/observer.hpp"
#include "dataplane/reassembler.hpp"
#include "dataplane/sad.hpp"
#include "dataplane/snapshot.hpp"
#include "dataplane/transmitter.hpp"
#include "nat/session_table.hpp"

namespace espalier::dataplane {

// A bounded list of packets that a stage appends to. Owner: one worker.
template <uint16_t N>
class PacketList {
 public:
  bool push(rte_mbuf* mbuf) {
    if (count_ == N) return false;
    packets_[count_++] = mbuf;
    return true;
  }
  MbufSpan span() { return {packets_, count_}; }
  uint16_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  void clear() { count_ = 0; }

 private:
  uint16_t count_ = 0;
  rte_mbuf* packets_[N];
};

struct Scratch;

struct Context {
  // Fixed for the life of the worker.
  WorkerId worker;
  uint16_t workers = 1;
  statistics::Block* stats = nullptr;
  nat::SessionTable* sessions = nullptr;
  Sad* sad = nullptr;
  const NeighborTable* neighbors = nullptr;
  FlowCache* flows = nullptr;
  Reassembler* reassembler = nullptr;
  crypto::EspEngine* esp = nullptr;
  rte_mempool* pool = nullptr;
  Transmitter* transmitter = nullptr;
  Mailbox* arp = nullptr;              // the main lcore's, for ARP alone: see Gateway::main_mailboxes()
  Mailbox* ike = nullptr;              // the main lcore's, for IKE alone
  Mailbox* main = nullptr;             // the main lcore's, for packets without a next hop
  std::span<Mailbox* const> handover;  // each worker's, by WorkerId

  // Fixed for a burst.
  const Snapshot* tables = nullptr;
  uint64_t now_ms = 0;           // monotonic, of this process
  Observer* observer = nullptr;  // who looks on; null: nobody
  Scratch* scratch = nullptr;    // of a rehearsal, whose packets change nothing that others see; else null

  // Changes per packet.
  nat::Random random;
  uint16_t ip_id = 0;
  IcmpRateLimit icmp_limit;
  // From when on a packet without an SA may be told to the main lcore again, by policy or vti, some sharing a
  // place: those of one with much traffic must not hide those of another.
  std::array<uint64_t, 64> acquire_due_ms{};
  // Packets that enter the pipeline once more, each at its Packet::again: of the gateway itself, or wrapped
  // or unwrapped by it.
  PacketList<kBurst * 16> again;

  const Interface& interface(InterfaceIndex i) const { return (*tables->interfaces)[i]; }
  // The route of a link-local address, which has a meaning on a link only.
  RouteResult route_on_link(IpAddress destination, InterfaceIndex on) const {
    return is_interface(on) ? tables->fib->lookup_on_link(destination, on) : RouteResult{};
  }
  bool is_interface(InterfaceIndex i) const { return i.value < tables->interfaces->size(); }
  uint32_t outer_mtu(const Sa& sa) const { return sa.outer_mtu(tables->outer_route(sa).mtu_bytes, now_ms); }
  // Unpredictable (RFC 7739 section 5.3).
  uint32_t next_fragment_id() { return static_cast<uint32_t>(random.next()); }
  // Identifications of the gateway's own packets: no two of a worker within 64 K are equal (RFC 6864).
  uint16_t next_ip_id() { return ip_id += workers; }
};

}  // namespace espalier::dataplane
