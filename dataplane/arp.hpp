// ARP (RFC 826, RFC 5227): finds, checks and forgets the neighbours of NeighborTable, answers for the
// gateway's own addresses, and holds a few packets while their next hop is being found.
//
// No I/O and no clock: frames, packets and time come in, and what is to be sent, transmitted, dropped or
// logged is appended to an ArpOutput. An entry's life, as in Linux:
//
//   incomplete --answer--> reachable --30 s--> stale --used--> probe --answer--> reachable
//   incomplete --3 s--> failed --1 s--> gone     probe --3 s--> incomplete     stale --5 min unused--> gone
//
// Requests go out once a second. Only an own packet or a request for an own address from the same network
// makes an entry, so that unasked ARP cannot fill the table; an entry that exists follows any valid ARP of
// its address. Entries of the configuration are permanent and follow nothing.
//
// Owner: main lcore.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "control/shared/messages.hpp"
#include "dataplane/interfaces.hpp"
#include "dataplane/neighbor_table.hpp"
#include "dataplane/packet.hpp"

namespace espalier::dataplane {

struct ArpFrame {
  InterfaceIndex interface;
  MacAddress destination;  // of the Ethernet header; the source is the interface's
  ArpPacket packet;
};

// Somebody else uses an address of ours.
struct ArpConflict {
  InterfaceIndex interface;
  Ipv4Address address;
  MacAddress mac;
};

struct ArpOutput {
  std::vector<ArpFrame> frames;        // to send
  std::vector<rte_mbuf*> ready;        // to transmit: Packet::neighbor is resolved
  std::vector<rte_mbuf*> dropped;      // to dispose of: Packet::reason is set
  std::vector<ArpConflict> conflicts;  // to log
};

class ArpResolver {
 public:
  static constexpr uint64_t kRetryMs = 1000, kFailedMs = 1000, kReachableMs = 30'000, kStaleCheckMs = 1000,
                            kUnusedMs = 300'000;
  static constexpr uint8_t kTries = 3;
  static constexpr size_t kQueuedPackets = 8;  // per neighbour; a further one pushes out the oldest
  static constexpr size_t kQueuedPacketsTotal = 1024;
  // Entries, the permanent ones apart. Only so many may be unresolved, so that a scan through us cannot push
  // out neighbours that exist; and only so many may exist for a request to make one more.
  static constexpr size_t kMaxEntries = 32768, kMaxUnresolved = 4096, kMaxToLearn = 16384;

  // `table` must outlive this. No interfaces before the first reconfigure().
  explicit ArpResolver(NeighborTable& table);
  ~ArpResolver();  // frees queued packets
  ArpResolver(const ArpResolver&) = delete;
  ArpResolver& operator=(const ArpResolver&) = delete;

  // The configuration changed. Entries of interfaces that are no longer what they were (same index, name,
  // port and VLAN) are removed, and `statics` become the permanent entries: returns how many of them could
  // not, because they name no Ethernet interface or the table is full. Own addresses that are new on an
  // interface that is up are announced.
  size_t reconfigure(std::shared_ptr<const InterfaceTable> interfaces,
                     std::span<const NeighborRecord> statics, uint64_t now_ms, ArpOutput& output);

  // A frame of type ARP came in; `arp` is what is behind the Ethernet header, any bytes of any length. The
  // mbuf stays the caller's (kUsedArp).
  void handle(InterfaceIndex in, std::span<const uint8_t> arp, uint64_t now_ms, ArpOutput& output);

  // Takes over a packet with `out` and `next_hop` set whose next hop a worker found unresolved or gone. It
  // turns up in `output`, now or later: ready, or dropped with kEgressDown, kNeighborQueueFull or
  // kNeighborUnresolved: only the last of them asks for ICMP "host unreachable", as in Linux.
  void queue_packet(rte_mbuf* mbuf, uint64_t now_ms, ArpOutput& output);

  // Takes the packets for which `is_wanted(mbuf)` holds out of the queues; they are the caller's.
  template <class IsWanted>
  std::vector<rte_mbuf*> take_queued(IsWanted is_wanted);

  // Call every 100 ms: retries, ageing, and links that came up (own addresses are announced) or went down
  // (their neighbours are forgotten).
  void tick(uint64_t now_ms, ArpOutput& output);

  // `show neighbors`: fills `rows` from `cursor` (0: the beginning), in order of interface and address;
  // returns how many and sets `next_cursor`, 0 at the end.
  size_t rows(uint64_t cursor, uint64_t now_ms, std::span<message::NeighborRow> rows,
              uint64_t& next_cursor) const;

  size_t queued_packets() const { return queued_; }

  struct Counters {
    uint64_t received = 0, malformed = 0, conflicts = 0, answered = 0, requested = 0, announced = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  using State = message::NeighborState;
  // Interface and address in host order: sorts as `show neighbors` does.
  using Key = uint64_t;

  struct Entry {
    NeighborRef ref;
    State state = State::kIncomplete;
    MacAddress mac{};
    uint8_t tries = 0;          // requests sent in this state
    uint64_t due_ms = 0;        // when tick() has to do something
    uint64_t confirmed_ms = 0;  // when it was last known to be right
    uint64_t used_ms = 0;       // when it was last seen to be in use
    std::vector<rte_mbuf*> queue;
  };
  using Entries = std::map<Key, Entry>;

  // Entries and their states.
  Entry* find(Key key);
  Entry* add(Key key, uint64_t now_ms);
  Entries::iterator remove(Entries::iterator entry, ArpOutput& output);
  void become(Entry& entry, State state, uint64_t now_ms);
  void resolved(Entry& entry, State state, const MacAddress& mac, uint64_t now_ms, ArpOutput& output);
  void learn(Entry& entry, const MacAddress& mac, bool solicited, uint64_t now_ms, ArpOutput& output);
  bool advance(Key key, Entry& entry, uint64_t now_ms, ArpOutput& output);
  bool advance_stale(Key key, Entry& entry, uint64_t now_ms, ArpOutput& output);
  // Packets.
  void hold(Entry& entry, rte_mbuf* mbuf, ArpOutput& output);
  void release(Entry& entry, ArpOutput& output);
  void discard(Entry& entry, DropReason reason, ArpOutput& output);
  // Frames.
  void learn_from(InterfaceIndex in, const ArpPacket& arp, uint64_t now_ms, ArpOutput& output);
  void request(Key key, Entry& entry, uint64_t now_ms, ArpOutput& output);
  void answer(const Interface& in, const ArpPacket& request, ArpOutput& output);
  void announce(const Interface& interface, Ipv4Address address, ArpOutput& output);
  // Interfaces and configuration.
  bool has_wire(InterfaceIndex interface) const;
  bool is_own_mac(const MacAddress& mac) const;
  void forget_interface(InterfaceIndex interface, ArpOutput& output);
  void follow_links(ArpOutput& output);
  void announce_new(const Interface& old, const Interface& now, ArpOutput& output);
  void remove_statics_but(std::span<const NeighborRecord> wanted, ArpOutput& output);
  bool set_static(const NeighborRecord& record, uint64_t now_ms, ArpOutput& output);

  NeighborTable& table_;
  std::shared_ptr<const InterfaceTable> interfaces_;
  std::vector<bool> was_up_;  // by interface, as tick() saw it last
  Entries entries_;
  size_t queued_ = 0;
  size_t unresolved_ = 0;
  size_t permanent_ = 0;
  Counters counters_;
};

template <class IsWanted>
std::vector<rte_mbuf*> ArpResolver::take_queued(IsWanted is_wanted) {
  std::vector<rte_mbuf*> taken;
  for (auto& [key, entry] : entries_) {
    const auto wanted = std::stable_partition(entry.queue.begin(), entry.queue.end(), std::not_fn(is_wanted));
    taken.insert(taken.end(), wanted, entry.queue.end());
    if (wanted == entry.queue.end()) continue;
    entry.queue.erase(wanted, entry.queue.end());
    table_.set_unusable(entry.ref);  // there is room again; only what is unresolved has a queue
  }
  queued_ -= taken.size();
  return taken;
}

}  // namespace espalier::dataplane
