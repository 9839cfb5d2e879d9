// The security policy database with XFRM's semantics (RFC 4301 section 4.4.1; packet-order: "the lowest
// priority number wins; among equals the policy added first, whatever its prefix length").
//
// Immutable after build. Looked up for the first packet of a flow. Tuple space search: policies are grouped
// by their pair of prefix lengths; within a group a hash of the masked addresses leads to the few candidates,
// so that 50,000 site-to-site policies cost a handful of probes. Groups are visited in the order of their
// best policy, and the search ends when no later group can hold a better one than was found.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "control/shared/records.hpp"

namespace espalier::dataplane {

class Spd {
 public:
  // `policies` in configuration order; PolicyRecord::index must be the position. Main lcore.
  explicit Spd(std::span<const PolicyRecord> policies);
  ~Spd();
  Spd(const Spd&) = delete;
  Spd& operator=(const Spd&) = delete;

  // The deciding policy of `direction` for a packet with these addresses, or null. Ports in host order; for
  // ICMP (type, code); zero for fragments and protocols without ports. The ports of `tuple` are not looked
  // at. Any thread.
  const PolicyRecord* lookup(Direction direction, const Ipv4Tuple& tuple, uint16_t source_port,
                             uint16_t destination_port) const;
  // Convenience: takes the ports from the tuple as selectors see them (ICMP: type and code).
  const PolicyRecord* lookup(Direction direction, const Ipv4Tuple& tuple) const;

  bool empty(Direction direction) const { return groups_[static_cast<size_t>(direction)].empty(); }
  std::span<const PolicyRecord> policies() const { return policies_; }
  const PolicyRecord& operator[](PolicyIndex i) const { return policies_[i.value]; }

 private:
  // Lower is better: the priority, then the age.
  static uint64_t rank(const PolicyRecord& p) { return uint64_t{p.priority} << 32 | p.index.value; }

  // What is left to compare when both prefixes match.
  struct Candidate {
    uint64_t rank;
    PortRange source_port;
    PortRange destination_port;
    uint8_t protocol;
  };
  // The candidates of one pair of masked addresses: a run of Group::candidates, best first.
  struct Bucket {
    uint64_t addresses = 0;  // source << 32 | destination, host order
    uint32_t first = 0;
    uint32_t count = 0;  // 0: the slot is free
  };
  // The policies of one direction with one pair of prefix lengths.
  struct Group {
    uint32_t source_mask = 0;
    uint32_t destination_mask = 0;
    uint64_t best_rank = 0;
    unsigned shift = 0;           // of the hash: 64 - log2(buckets.size())
    std::vector<Bucket> buckets;  // open addressing, at most half full, so that a probe ends
    std::vector<Candidate> candidates;
  };
  using Groups = std::vector<Group>;  // by best_rank

  static size_t slot_of(const Group& group, uint64_t addresses);
  static const Bucket* find_bucket(const Group& group, uint64_t addresses);
  static Groups build_groups(std::span<const PolicyRecord> policies, Direction direction);
  static Group build_group(std::span<const PolicyRecord* const> members);

  std::vector<PolicyRecord> policies_;
  std::array<Groups, 3> groups_;
};

}  // namespace espalier::dataplane
