// A rehearsal: packets go through the real stages on the live tables, and nothing comes of it. `explain` asks
// with it; tests hold it against what then really happens.
//
// What the stages change is the rehearsal's own: statistics, flow cache, fragments, the transmitter, which
// sends nothing, the mailboxes to the main lcore, the rate limit of ICMP errors. Where they would change what
// everybody uses - SAs, sessions, neighbours - they look and leave it as it is (Context::scratch). Hence what
// a rehearsal cannot know: what the packets before it would have changed. A second packet of the same
// rehearsal finds the fragments and the sequence numbers of the first one, not its session. Fragments that
// wait in a worker are that worker's; and what the main lcore does with a packet (ARP, a next hop that does
// not answer) is not rehearsed.
//
// Owner: main lcore.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "control/shared/error.hpp"
#include "dataplane/pipeline.hpp"

namespace espalier::dataplane {

// What would happen.
struct Rehearsal {
  struct Line {
    std::string stage, text;  // story/narrator.hpp
  };
  // As it would leave, but for the cipher's work: behind ESP headers stands what would be encrypted, IV and
  // ICV are of no value. A nonce that no packet was sent with must not be used here.
  struct Frame {
    InterfaceIndex out;
    std::vector<uint8_t> bytes;
  };
  std::vector<Line> lines;
  std::vector<Frame> frames;                   // in the order that they would leave in
  std::vector<std::vector<uint8_t>> to_host;   // IP packets
  std::array<uint64_t, kDropReasons> ended{};  // by DropReason: packets that ended here
  uint64_t made = 0;                           // packets that the gateway would make
  uint64_t waiting = 0;                        // for other fragments, or for the next hop's MAC address
};

class RehearsalRoom {
 public:
  // `jumbo_pool`: for reassembled packets; must outlive it. Errors: want of memory.
  static Result<std::unique_ptr<RehearsalRoom>> create(rte_mempool* jumbo_pool);

  // Runs `packets`, which it takes over, one after the other; they enter at `entry` as the pipeline wants
  // them there. Of the first `untold` nothing is told: fragments that came before. `ctx`: with tables, time
  // and all that is shared set; the rest is the rehearsal's.
  Rehearsal run(Context ctx, MbufSpan packets, Entry entry, size_t untold = 0);

 private:
  RehearsalRoom(rte_mempool* jumbo_pool, std::unique_ptr<Mailbox> main, crypto::EspEngine esp);
  Rehearsal play(Context& ctx, MbufSpan packets, Entry entry);
  void take_punted(Rehearsal& rehearsal);

  static constexpr uint32_t kFlows = 64;     // none is ever found: who is followed is walked
  static constexpr uint32_t kContexts = 16;  // datagrams that wait for fragments
  rte_mempool* jumbo_pool_;
  std::unique_ptr<Mailbox> main_;
  crypto::EspEngine esp_;  // decrypts; a rehearsal encrypts nothing
  FlowCache flows_;
};

}  // namespace espalier::dataplane
