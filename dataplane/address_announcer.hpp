// Makes the gateway's own addresses known on its links, after making sure that nobody else has them.
//
// IPv4 addresses are announced by gratuitous ARP (RFC 5227 section 2.3) when their link comes up. Of an IPv6
// address the solicited-node group is joined (MLD, so that snooping switches deliver it), the address is
// checked (RFC 4862 section 5.4: one question, a second of silence) and then announced by an unasked
// advertisement; until then, and if somebody answers, it is not used (OwnAddress::state, which this class
// alone writes). A link that comes back announces again, but checks again only what was refused, as Linux
// does: a flapping cable must not cost a second each time.
//
// Groups are reported when they are joined, when the interface has got its link-local address, and when a
// querier asks. MLDv1 queriers get MLDv2 reports.
//
// Owner: main lcore; part of NeighborResolver.
#pragma once

#include <random>
#include <vector>

#include "dataplane/interfaces.hpp"
#include "dataplane/nd.hpp"
#include "dataplane/neighbor_output.hpp"

namespace espalier::dataplane {

class AddressAnnouncer {
 public:
  static constexpr uint64_t kCheckMs = 1000;             // RFC 4861 section 10: RETRANS_TIMER
  static constexpr uint32_t kMaxReportDelayMs = 10'000;  // whatever a querier allows

  AddressAnnouncer();

  // The link of `interface` came up; or `now` has addresses that `before`, the same interface, had not.
  void start(const Interface& interface, uint64_t now_ms, NeighborOutput& output);
  void start_new(const Interface& before, const Interface& now, uint64_t now_ms, NeighborOutput& output);
  // Its link went down, or it is no longer what it was.
  void stop(InterfaceIndex interface);
  // The interfaces changed: what they have no longer is not checked any more.
  void keep_only(const InterfaceTable& interfaces);

  // A solicitation or an advertisement of somebody else for `target`. True when that is an address of `in`
  // that is not usable: nobody is answered for it then.
  bool heard(const Interface& in, const nd::Message& message, NeighborOutput& output);
  // A query: the answer comes from tick(), at a time that is random within what it allows.
  void heard_query(const Interface& in, const nd::Message& query, uint64_t now_ms);

  // Call every 100 ms.
  void tick(const InterfaceTable& interfaces, uint64_t now_ms, NeighborOutput& output);

  uint64_t announced() const { return announced_; }
  uint64_t refused() const { return refused_; }

 private:
  struct Check {
    InterfaceIndex interface;
    OwnAddress address;
    uint64_t nonce;  // of our question, which a loop may bring back (RFC 7527)
    uint64_t due_ms;
  };
  struct Report {
    InterfaceIndex interface;
    uint64_t due_ms;
  };
  void start(const Interface& interface, std::span<const OwnAddress> addresses, uint64_t now_ms,
             NeighborOutput& output);
  void check(const Interface& interface, const OwnAddress& address, uint64_t now_ms, NeighborOutput& output);
  void settle(const Interface& interface, const OwnAddress& address, NeighborOutput& output);
  void announce(const Interface& interface, IpAddress address, NeighborOutput& output);
  void refuse(const Interface& in, const OwnAddress& address, const nd::Message& message,
              NeighborOutput& output);

  std::vector<Check> checks_;
  std::vector<Report> reports_;
  std::mt19937_64 random_;
  uint64_t announced_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace espalier::dataplane
