// Finds, checks and forgets the neighbours of NeighborTable, answers for the gateway's own addresses, and
// holds a few packets while their next hop is being found: by ARP (RFC 826, RFC 5227) for IPv4, by neighbour
// discovery (RFC 4861) for IPv6. Both differ in their packets only (arp.hpp, nd.hpp).
//
// No I/O and no clock: frames, packets and time come in, and what is to be sent, transmitted, dropped or
// logged is appended to a NeighborOutput. An entry's life, as in Linux:
//
//   incomplete --answer--> reachable --30 s--> stale --used--> probe --answer--> reachable
//   incomplete --3 s--> failed --1 s--> gone     probe --3 s--> incomplete     stale --5 min unused--> gone
//
// Requests go out once a second. Only an own packet or a request for an own address from the same network
// makes an entry, so that unasked messages cannot fill the table; an entry that exists follows any valid ARP
// of its address, and advertisements as RFC 4861 section 7.2.5 has it. Entries of the configuration are
// permanent and follow nothing. Routers' advertisements and redirects change nothing: routes come from the
// configuration.
//
// Owner: main lcore.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "control/shared/messages.hpp"
#include "dataplane/address_announcer.hpp"
#include "dataplane/interfaces.hpp"
#include "dataplane/neighbor_output.hpp"
#include "dataplane/neighbor_table.hpp"
#include "dataplane/packet.hpp"

namespace espalier::dataplane {

class NeighborResolver {
 public:
  static constexpr uint64_t kRetryMs = 1000, kFailedMs = 1000, kReachableMs = 30'000, kStaleCheckMs = 1000,
                            kUnusedMs = 300'000;
  static constexpr uint8_t kTries = 3;
  static constexpr size_t kQueuedPackets = 8;  // per neighbour; a further one pushes out the oldest
  static constexpr size_t kQueuedPacketsTotal = 1024;
  // Entries, the permanent ones apart. Only so many may be unresolved, so that a scan through us cannot push
  // out neighbours that exist; and only so many may exist for a request to make one more.
  // Who asks without telling his MAC address makes an unresolved one only while few others are.
  static constexpr size_t kMaxEntries = 32768, kMaxUnresolved = 4096, kMaxToLearn = 16384,
                          kMaxAskedBack = 1024;

  // `table` must outlive this. No interfaces before the first reconfigure().
  explicit NeighborResolver(NeighborTable& table);
  ~NeighborResolver();  // frees queued packets
  NeighborResolver(const NeighborResolver&) = delete;
  NeighborResolver& operator=(const NeighborResolver&) = delete;

  // The configuration changed. Entries of interfaces that are no longer what they were (same index, name,
  // port and VLAN) are removed, and `statics` become the permanent entries: returns how many of them could
  // not, because they name no Ethernet interface or the table is full. Own addresses that are new on an
  // interface that is up are checked and announced.
  size_t reconfigure(std::shared_ptr<const InterfaceTable> interfaces,
                     std::span<const NeighborRecord> statics, uint64_t now_ms, NeighborOutput& output);

  // A frame of type ARP came in; `packet` is what is behind the Ethernet header, any bytes of any length. The
  // mbuf stays the caller's (kUsedArp).
  void handle_arp(InterfaceIndex in, std::span<const uint8_t> packet, uint64_t now_ms,
                  NeighborOutput& output);

  // An IPv6 packet for the gateway came in whose ICMPv6 type nd::is_wanted(); any bytes. To be counted as
  // what is returned: kUsedNd, or kNdInvalid for what the RFCs want dropped. The mbuf stays the caller's.
  DropReason handle_nd(InterfaceIndex in, std::span<const uint8_t> packet, size_t l4_offset, uint64_t now_ms,
                       NeighborOutput& output);

  // Takes over a packet with `out` and `next_hop` set whose next hop a worker found unresolved or gone. It
  // turns up in `output`, now or later: ready, or dropped with kEgressDown, kNeighborQueueFull or
  // kNeighborUnresolved: only the last of them asks for ICMP "host unreachable" ("address
  // unreachable"), as in Linux.
  void queue_packet(rte_mbuf* mbuf, uint64_t now_ms, NeighborOutput& output);

  // Takes the packets for which `is_wanted(mbuf)` holds out of the queues; they are the caller's.
  template <class IsWanted>
  std::vector<rte_mbuf*> take_queued(IsWanted is_wanted);

  // Call every 100 ms: retries, ageing, and links that came up (own addresses are checked and announced) or
  // went down (their neighbours are forgotten).
  void tick(uint64_t now_ms, NeighborOutput& output);

  // `show neighbors`: fills `rows` from the `cursor`-th on, in order of interface and address; returns how
  // many and sets `next_cursor`, 0 at the end. What comes or goes between two calls may be told twice or not
  // at all.
  size_t rows(uint64_t cursor, uint64_t now_ms, std::span<message::NeighborRow> rows,
              uint64_t& next_cursor) const;

  size_t queued_packets() const { return queued_; }

  struct Counters {
    uint64_t received = 0, malformed = 0, conflicts = 0, answered = 0, requested = 0;
  };
  const Counters& counters() const { return counters_; }
  const AddressAnnouncer& announcer() const { return announcer_; }

 private:
  using State = message::NeighborState;
  // Sorts as `show neighbors` does.
  struct Key {
    InterfaceIndex interface;
    IpAddress address;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  // What a message tells about its sender or target.
  struct News {
    std::optional<MacAddress> mac;
    bool is_solicited = false;  // it answers us: the neighbour is there and hears us
    bool overrides = true;      // believe another MAC address than the known one
  };

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
  Entries::iterator remove(Entries::iterator entry, NeighborOutput& output);
  void become(Entry& entry, State state, uint64_t now_ms);
  void resolved(Entry& entry, State state, const MacAddress& mac, uint64_t now_ms, NeighborOutput& output);
  void learn(Entry& entry, const News& news, uint64_t now_ms, NeighborOutput& output);
  Entry* learn_asker(Key key, const MacAddress& mac, uint64_t now_ms, NeighborOutput& output);
  bool may_learn(Key key) const;
  bool advance(Key key, Entry& entry, uint64_t now_ms, NeighborOutput& output);
  bool advance_stale(Key key, Entry& entry, uint64_t now_ms, NeighborOutput& output);
  // Packets.
  void hold(Entry& entry, rte_mbuf* mbuf, NeighborOutput& output);
  void release(Entry& entry, NeighborOutput& output);
  void discard(Entry& entry, DropReason reason, NeighborOutput& output);
  // Messages.
  bool listens(InterfaceIndex in) const;
  void handle_solicitation(const Interface& in, const nd::Message& question, uint64_t now_ms,
                           NeighborOutput& output);
  void handle_advertisement(const Interface& in, const nd::Message& news, uint64_t now_ms,
                            NeighborOutput& output);
  void learn_from_arp(const Interface& in, const ArpPacket& arp, uint64_t now_ms, NeighborOutput& output);
  bool is_conflict(const Interface& in, IpAddress address, const std::optional<MacAddress>& mac,
                   NeighborOutput& output);
  void request(Key key, Entry& entry, uint64_t now_ms, NeighborOutput& output);
  void request_arp(Key key, const Entry& entry, NeighborOutput& output);
  void request_nd(Key key, const Entry& entry, NeighborOutput& output);
  void answer(const Interface& in, const ArpPacket& request, NeighborOutput& output);
  void answer(const Interface& in, const nd::Message& question, uint64_t now_ms, NeighborOutput& output);
  // Interfaces and configuration.
  bool has_wire(InterfaceIndex interface) const;
  bool is_own_mac(const MacAddress& mac) const;
  void forget_interface(InterfaceIndex interface, NeighborOutput& output);
  void follow_links(uint64_t now_ms, NeighborOutput& output);
  void remove_statics_but(std::span<const NeighborRecord> wanted, NeighborOutput& output);
  bool set_static(const NeighborRecord& record, uint64_t now_ms, NeighborOutput& output);

  NeighborTable& table_;
  std::shared_ptr<const InterfaceTable> interfaces_;
  std::vector<bool> was_up_;  // by interface, as tick() saw it last
  Entries entries_;
  AddressAnnouncer announcer_;
  size_t queued_ = 0;
  size_t unresolved_ = 0;
  size_t permanent_ = 0;
  Counters counters_;
};

template <class IsWanted>
std::vector<rte_mbuf*> NeighborResolver::take_queued(IsWanted is_wanted) {
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
