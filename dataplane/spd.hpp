// The security policy database with XFRM's semantics (RFC 4301 section 4.4.1; packet-order: "the lowest
// priority number wins; among equals the policy added first, whatever its prefix length").
//
// Immutable after build. Looked up for the first packet of a flow. There is a list for each direction and
// family, and more of them for each VTI, whose packets no other list decides. In a list, tuple space search:
// policies are grouped by their pair of prefix lengths; within a group a hash of the masked addresses leads
// to the few candidates, so that 50,000 site-to-site policies cost a handful of probes. Groups are visited in
// the order of their best policy, and the search ends when no later group can hold a better one than was
// found.
#pragma once

#include <span>
#include <vector>

#include "control/shared/records.hpp"
#include "dataplane/selector.hpp"

namespace espalier::dataplane {

class Spd {
 public:
  // `policies` in configuration order; PolicyRecord::index must be the position. Main lcore.
  explicit Spd(std::span<const PolicyRecord> policies);
  ~Spd();
  Spd(const Spd&) = delete;
  Spd& operator=(const Spd&) = delete;

  // The deciding policy of `direction` for a packet with these addresses, or null. `ports` as selectors see
  // them; zero for fragments; the ports of `tuple` are not looked at. `egress`: the interface that the packet
  // leaves by; policies that name another one do not match. `vti`: asks the policies of that VTI and no
  // others, kNoInterface those of none. Any thread.
  const PolicyRecord* lookup(Direction direction, const Tuple& tuple, SelectorPorts ports,
                             InterfaceIndex egress, InterfaceIndex vti) const;
  // Convenience: takes the ports from the tuple.
  const PolicyRecord* lookup(Direction direction, const Tuple& tuple, InterfaceIndex egress = kNoInterface,
                             InterfaceIndex vti = kNoInterface) const {
    return lookup(direction, tuple, selector_ports(tuple), egress, vti);
  }

  // Whether a policy that protects would take the packet if it had the right ports. Fragments have none, and
  // must not pass such a policy by in clear. Later fragments of IPv6 that name an extension header do not
  // even have a protocol: policies for any one count. `egress`: kNoInterface for direction in and fwd.
  bool protects_some_ports(Direction direction, const Tuple& tuple, InterfaceIndex egress) const;

  bool empty(Direction direction, InterfaceIndex vti = kNoInterface) const;
  std::span<const PolicyRecord> policies() const { return policies_; }
  const PolicyRecord& operator[](PolicyIndex i) const { return policies_[i.value]; }

 private:
  // Lower is better: the priority, then the age.
  static uint64_t rank(const PolicyRecord& p) { return uint64_t{p.priority} << 32 | p.index.value; }

  // A pair of addresses as they lie in memory, whole or masked: four words, so that masking, hashing and
  // comparing take no byte swaps.
  struct Pair {
    uint64_t words[4];
    static Pair of(const IpAddress& source, const IpAddress& destination) {
      return {{source.high.raw(), source.low.raw(), destination.high.raw(), destination.low.raw()}};
    }
    static Pair of(const Selector& s) { return of(s.source.network(), s.destination.network()); }
    static Pair masks(const Selector& s) {
      return of(IpAddress::from_host(s.source.mask()), IpAddress::from_host(s.destination.mask()));
    }
    Pair operator&(const Pair& o) const {
      return {{words[0] & o.words[0], words[1] & o.words[1], words[2] & o.words[2], words[3] & o.words[3]}};
    }
    friend bool operator==(const Pair&, const Pair&) = default;
  };
  // What is compared in the end: one cache line for each policy.
  struct alignas(64) Candidate {
    Pair addresses;
    uint64_t rank;
    PortRange source_port;
    PortRange destination_port;
    InterfaceIndex egress;
    uint8_t protocol;
    bool is_last;  // of those with these addresses
    bool matches(uint8_t packet_protocol, SelectorPorts ports, InterfaceIndex out) const {
      return (protocol == kProtoAny || protocol == packet_protocol) && source_port.contains(ports.source) &&
             destination_port.contains(ports.destination) && (egress == kNoInterface || egress == out);
    }
  };
  static_assert(sizeof(Candidate) == 64);
  // The candidates of one pair of masked addresses: a run of Group::candidates, best first. Most probes find
  // a free slot or another tag: eight buckets to a line.
  struct Bucket {
    uint32_t tag = 0;
    uint32_t first = kNone32;  // kNone32: the slot is free
  };
  // The policies of one list with one pair of prefix lengths.
  struct Group {
    Pair masks{};
    uint64_t best_rank = 0;
    unsigned shift = 0;           // of the hash: 64 - log2(buckets.size())
    std::vector<Bucket> buckets;  // open addressing, at most half full, so that a probe ends
    std::vector<Candidate> candidates;
  };
  using Groups = std::vector<Group>;  // by best_rank
  // Direction, family and VTI of a list in one number.
  using ListKey = uint32_t;
  static ListKey key_of(Direction direction, Family family, InterfaceIndex vti) {
    return uint32_t{vti.value} << 16 | static_cast<uint32_t>(direction) << 8 | static_cast<uint32_t>(family);
  }
  // Beside the directions: their policies that protect and name what fragments do not show, without that.
  static constexpr Direction port_blind(Direction direction) {
    return static_cast<Direction>(static_cast<uint8_t>(direction) + 3);
  }
  static constexpr uint8_t kProtoHidden = kProtoFragment;  // of fragments; no packet's own
  struct List {
    ListKey key;
    Groups groups;
  };

  const List* find_list(ListKey key) const;
  uint64_t best_of(ListKey key, const Tuple& tuple, SelectorPorts ports, InterfaceIndex egress) const;
  static uint32_t tag_of(const Pair& addresses);
  static size_t slot_of(const Group& group, uint32_t tag);
  static const Candidate* find_candidates(const Group& group, const Pair& addresses);
  static uint64_t best_in(const Group& group, const Pair& addresses, uint8_t protocol, SelectorPorts ports,
                          InterfaceIndex egress);
  static Groups build_groups(std::span<const PolicyRecord* const> policies);
  static Group build_group(std::span<const PolicyRecord* const> members);
  static void place(Group& group, const Pair& addresses);

  std::vector<PolicyRecord> policies_;
  std::vector<List> lists_;  // those that are not empty, by key
};

}  // namespace espalier::dataplane
