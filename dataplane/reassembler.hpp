// Reassembly of one worker's fragments (RFC 791 section 3.2, RFC 8200 section 4.5), bounded in memory and
// time.
//
// A datagram that waits for fragments is a context: one "jumbo" mbuf that the payload is copied into at its
// place, and bitmaps of the 8-byte units that came. A fragment that came before, byte for byte, is ignored;
// any other overlap ends the context, in both families (RFC 5722; Linux is milder with what adds nothing). A
// context lives 30 s from its first fragment on, and when none is free the oldest is given up.
//
// How packets are counted: a context stands for the fragment that opened it. That one counts as waiting, each
// later one as used; the whole, or the loss of the context with one reason, takes the first one's place. So
// received = sent + reasons + waiting holds at every moment, and a whole is never counted as made.
//
// No ICMP "time exceeded" (code 1) is sent on a timeout: Linux, too, sends none for what it forwards, and RFC
// 1122 section 3.3.2 and RFC 8200 section 4.5 ask for it from hosts only.
//
// Owner: one worker. fragment_hash() says which, so that all fragments of a datagram meet.
#pragma once

#include <rte_mempool.h>

#include <memory>

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

struct DatagramKey;  // reassembly_context.hpp
struct FragmentPiece;
struct ReassemblyContext;

// Same value for all fragments of a datagram. `fragment` passed `parse`.
uint32_t fragment_hash(rte_mbuf* fragment);

// Takes the fragment header off an IPv6 packet that is all of its datagram (RFC 6946), in place, and leaves
// it as a whole out of Reassembler::add() would be. False, and nothing changed, when `mbuf` is no such
// packet. It has to be asked before add(): a datagram that waits has nothing to do with an atomic fragment.
bool unwrap_atomic_fragment(rte_mbuf* mbuf);

class Reassembler {
 public:
  static constexpr uint32_t kDefaultContexts = 128;
  static constexpr uint64_t kTimeoutMs = 30'000;
  // Data room that the jumbo mempool's mbufs must have, headroom included: all that an mbuf can.
  static constexpr uint16_t kJumboRoom = 65535;
  // Longest header that a whole may have: all of IPv4's, and more than IPv6's that precede a fragment header
  // ever are; fragments with more are refused.
  static constexpr uint16_t kMaxHeaderBytes = 256;
  // A whole up to this total length has kPacketHeadroom and kTailroom around it; a longer one (up to 65535,
  // in IPv6 as well) may have neither, so who wants to add to it must look.
  static constexpr uint16_t kMaxRoomyWhole = kJumboRoom - kPacketHeadroom - kMaxHeaderBytes - kTailroom;

  enum class Outcome : uint8_t { kWaiting, kComplete, kDropped };

  // `jumbo` must outlive this, and have kJumboRoom and sizeof(Packet) private bytes. Allocates: not on the
  // packet path.
  Reassembler(rte_mempool* jumbo, uint32_t contexts = kDefaultContexts);
  ~Reassembler();  // frees what waits
  Reassembler(const Reassembler&) = delete;
  Reassembler& operator=(const Reassembler&) = delete;

  // Takes in a copy of `fragment`: one segment, data at the IP header, that passed `parse` as a fragment. Its
  // lengths are checked here again. The mbuf stays the caller's, who frees it and counts `reason` for it:
  // - kWaiting: kNone (count nothing: the context stands for it from now on) for the first fragment of a
  //   datagram, kUsedFragment for another.
  // - kComplete: kUsedFragment, and `whole` is the datagram.
  // - kDropped: kNoMbuf, or kFragmentMalformed: impossible by itself, a duplicate, or (these end the context)
  //   it overlaps others, its end contradicts them, or their ECN marks do (RFC 3168 section 5.3).
  //
  // When not kComplete and `whole` is not null, it is a context that was given up for this fragment: free it
  // and count its record's reason, kFragmentMalformed or kReassemblyFull.
  //
  // The whole has the first fragment's headers (without the fragment header) and Packet record; kFragment
  // cleared, kReassembled set, ip_bytes and fragment_limit (the longest fragment's total length) set; DF as
  // the longest fragment had it; CE if any had it. The rest is to be parsed anew.
  Outcome add(rte_mbuf* fragment, uint64_t now_ms, rte_mbuf*& whole, DropReason& reason);

  // Gives up contexts older than kTimeoutMs, at most lost.size() of them: writes their mbufs, record reason
  // kReassemblyTimeout, to the front of `lost` and returns how many. Costs nothing while none is too old.
  size_t expire(uint64_t now_ms, MbufSpan lost);

  // Contexts that wait for fragments.
  size_t waiting() const { return waiting_; }

 private:
  static constexpr uint32_t kNoContext = 0xffffffff;

  uint32_t& bucket(const DatagramKey& key);
  uint32_t find(const DatagramKey& key);
  uint32_t open(const FragmentPiece& piece, uint64_t now_ms, rte_mbuf*& evicted);
  rte_mbuf* close(uint32_t index);
  rte_mbuf* give_up(uint32_t index, DropReason reason);

  rte_mempool* jumbo_;
  uint32_t waiting_ = 0;
  uint32_t free_ = 0;             // head of the list of free contexts
  uint32_t oldest_ = kNoContext;  // ends of the list of waiting ones, in the order they were opened
  uint32_t newest_ = kNoContext;
  uint32_t bucket_mask_;
  std::unique_ptr<ReassemblyContext[]> contexts_;
  std::unique_ptr<uint32_t[]> buckets_;  // heads of the lists of contexts with equal hash
};

}  // namespace espalier::dataplane
