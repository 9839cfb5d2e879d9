// IPv4 fragmentation (RFC 791 section 3.2) of what is too big for its way out.
//
// The input stays as it is and the fragments are copies, because what is sent may not share memory with a
// packet that is counted and freed elsewhere. Options without the "copied" bit are in the first fragment
// only; in the others no-operations stand in their place, as in Linux, so that all headers have one length.
#pragma once

#include <rte_mempool.h>

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Fragments that one packet may become: enough for 65535 bytes down to a limit of 540. More are refused
// rather than sent: no link that a gateway has is smaller, and the amplification would be large.
inline constexpr uint16_t kMaxFragments = 128;

// Cuts `whole` (one segment, data at a parsed IP header) into fragments whose total length is at most
// `limit_bytes` and what an mbuf of `pool` can hold beside headroom and kTailroom. Writes them to the front
// of `out`, in order, and returns how many: at least 1. Each has the Packet record of `whole` with its own
// ip_bytes, a right header checksum and DF clear; offset and MF go on from those of `whole`, which may be a
// fragment itself. The data behind total_length is left out.
//
// Returns 0 and makes nothing when it cannot be done, with `reason` kNoMbuf, or kTooBig when more than
// out.size() or kMaxFragments fragments would be needed or the limit does not hold a header and 8 bytes.
// `whole` stays the caller's in every case. Any thread that may use `pool`.
uint16_t fragment(rte_mbuf* whole, uint16_t limit_bytes, rte_mempool* pool, MbufSpan out, DropReason& reason);

}  // namespace espalier::dataplane
