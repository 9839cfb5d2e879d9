// Who looks at packets on their way through the pipeline: `explain`, `trace`, `capture`. The pipeline tells
// what happens at each of the places below and goes on; an observer changes nothing but Packet::story.
// Without one (Context::observer is null, the rule) this costs the test of a pointer per stage and burst.
//
// Called by the thread that runs the pipeline, which is a worker, or the main lcore for `explain` and for
// what it sends and drops itself. An observer may allocate; it must bound its own work per packet.
#pragma once

#include <vector>

#include "dataplane/packet.hpp"
#include "dataplane/sa_set.hpp"

namespace espalier::dataplane {

struct Context;
struct Decision;
class Sa;

class Observer {
 public:
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  // What it has to be told of beside received() and ended(); asked before, since a call costs more than not
  // to make it.
  struct Interests {
    bool stages = true;           // entering(), passed(), decided(): it follows packets
    bool sent = true;             // sent()
    bool sas = true;              // encrypting(), decrypted()
    const SaSet* only = nullptr;  // of these SAs only; null: of all
  };
  bool follows() const { return interests_.stages; }
  bool wants_sent() const { return interests_.sent; }
  bool wants(SaIndex sa) const {
    return interests_.sas && (interests_.only == nullptr || interests_.only->has(sa));
  }
  // Frames as a port received them, Ethernet header in front; their records are not made yet, but for their
  // story: it has to be set here, of each frame to 0 or what the observer follows it by, and `parse` keeps
  // it.
  virtual void received(const Context& ctx, MbufSpan frames) = 0;
  // A burst is about to enter a stage of kEveryPacket, and went through it: `stopped` carry a reason.
  virtual void entering(const Context& ctx, size_t stage, MbufSpan burst) = 0;
  virtual void passed(const Context& ctx, size_t stage, MbufSpan kept, MbufSpan stopped) = 0;
  // A packet walked the first-packet stages; `stopped_at` as walk() tells it (stages/first_packet.hpp).
  virtual void decided(const Context& ctx, rte_mbuf* mbuf, const Decision& decision, size_t stopped_at) = 0;
  // The SA is about to encrypt a run of packets; it has decrypted one, which is now what was inside.
  virtual void encrypting(const Sa&, MbufSpan) {}
  virtual void decrypted(const Sa&, rte_mbuf*) {}
  // A whole frame is given to the device of the interface.
  virtual void sent(rte_mbuf* frame, InterfaceIndex out) = 0;
  // A packet ends here, for this reason; also those that the gateway used up (drop_reason.hpp).
  virtual void ended(rte_mbuf* mbuf, DropReason reason) = 0;

 protected:
  Observer() = default;
  explicit Observer(const Interests& interests) : interests_(interests) {}
  ~Observer() = default;  // owned by who made it, never deleted through this

 private:
  Interests interests_;
};

// By thread: each worker's, and the main lcore's.
using Observers = std::vector<Observer*>;

}  // namespace espalier::dataplane
