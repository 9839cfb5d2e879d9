// What happens to SAs while they are used: limits that are reached, peers that move behind their NATs, NATs
// that have to be kept open. Workers note it in passing (sad.hpp, sa_cells.hpp); here it is looked at ten
// times a second.
//
// Owner: main lcore.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "dataplane/sa_store.hpp"

namespace espalier::dataplane {

class SaWatch {
 public:
  struct Expiry {
    const Sa& sa;
    bool hard = false;
  };
  struct Move {
    const Sa& sa;
    LearnedPeer::Endpoint before, now;
  };
  // What came of a look. Its SAs are installed until the next change of them.
  struct Findings {
    std::vector<Expiry> expired;
    std::vector<Move> moved;
    std::vector<const Sa*> silent;  // whose NAT needs a keepalive now
    bool any_gone = false;          // an SA expired: policies have to choose anew
  };
  // `now_ms` is the gateway's clock, `now_s` is boot_time_s().
  Findings look(const SaStore& store, uint64_t now_ms, uint32_t now_s);
  // Of IKE's SAs the limits that were reached, and where peers moved to, are found once more: the process
  // that was told may be no more.
  void tell_again(const SaStore& store);
  // SAs that were removed: their slots are given to others.
  void forget(std::span<const SaIndex> removed);

 private:
  struct Seen {
    uint32_t told = 0;       // limits (Expired) that were reported
    bool tell_peer = false;  // where it is has to be reported once more
    uint64_t packets = 0;
    uint64_t sequence = 0;
    uint64_t sent_ms = 0;  // when it last sent something, packets or keepalives
  };
  static Seen first_sight(const Sa& sa, uint64_t now_ms);
  void look_at_use(const Sa& sa, Seen& seen, uint32_t now_s);
  void look_at_limits(const SaStore& store, const Sa& sa, Seen& seen, uint32_t now_s, Findings& findings);
  void look_at_peer(const SaStore& store, const Sa& sa, Seen& seen, Findings& findings);
  void look_at_silence(const Sa& sa, Seen& seen, uint64_t now_ms, Findings& findings);

  std::map<SaIndex, Seen> seen_;
};

}  // namespace espalier::dataplane
