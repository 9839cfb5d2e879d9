// Fragmentation (RFC 791 section 3.2, RFC 8200 section 4.5) of what is too big for its way out.
//
// The input stays as it is and the fragments are copies, because what is sent may not share memory with a
// packet that is counted and freed elsewhere.
//
// IPv4: options without the "copied" bit are in the first fragment only; in the others no-operations stand in
// their place, as in Linux, so that all headers have one length. IPv6: routers do not fragment, so the caller
// brings only what the gateway itself made or reassembled; a fragment header is put in behind the headers
// that routers look at (Ipv6Headers::unfragmentable_bytes).
#pragma once

#include <rte_mempool.h>

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Fragments that one packet may become: enough for 65535 bytes down to a limit of 540. More are refused
// rather than sent: no link that a gateway has is smaller, and the amplification would be large.
inline constexpr uint16_t kMaxFragments = 128;

// Cuts `whole` (one segment, data at a parsed IP header) into fragments whose total length is at most
// `limit_bytes` and what an mbuf of `pool` can hold beside headroom and kTailroom. Writes them to the front
// of `out`, in order, and returns how many: at least 1, which is a plain copy. Each has the Packet record of
// `whole` with its own ip_bytes, and all but the first have the flag kFragment: no ports. The data behind the
// IP packet is left out.
// - IPv4: right header checksum, DF clear; offset and MF go on from those of `whole`, which may be a fragment
//   itself.
// - IPv6: `ipv6_id` is their identification, which nobody may be able to guess (RFC 7739); l4_offset of
//   the first goes on pointing to the upper-layer header.
//
// Returns 0 and makes nothing when it cannot be done, with `reason` kNoMbuf, or kTooBig when more than
// out.size() or kMaxFragments fragments would be needed, the limit does not hold the headers and 8 bytes, or
// an IPv6 packet that must be cut is a fragment. `whole` stays the caller's in every case. Any thread that
// may use `pool`.
uint16_t fragment(rte_mbuf* whole, uint16_t limit_bytes, uint32_t ipv6_id, rte_mempool* pool, MbufSpan out,
                  DropReason& reason);

}  // namespace espalier::dataplane
