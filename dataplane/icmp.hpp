// ICMP that the gateway speaks itself: errors about packets (RFC 792, RFC 1812 section 4.3), answers to
// pings, and what an ICMP error of somebody else quotes. All of it gives the bytes that Linux gives, options
// apart: Linux echoes a request's record route and timestamp options, here they are left out.
#pragma once

#include <rte_mempool.h>

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Total length that an ICMP error is cut to (RFC 1812 section 4.3.2.3).
inline constexpr uint16_t kMaxIcmpErrorBytes = 576;

// Whether an ICMP error may be sent about this packet at all (RFC 1122 section 3.2.2, RFC 1812
// section 4.3.2.7): not about ICMP errors and unknown ICMP types, fragments but the first, multicast or
// broadcast, or a source that is no host. Directed broadcasts are known to the route only, and are the
// caller's. As in Linux a source in 240.0.0.0/4 is answered.
bool may_answer_with_icmp_error(rte_mbuf* about);

// A new packet from `source` to the sender of `about` that quotes as much of it as fits 576 bytes, with TTL
// 64, DF clear, IP id `id`, and complete checksums; null when the pool is empty. Its record: kFromGateway,
// kIcmpError, kAboutDecrypted if `about` was decrypted; tuple with ports (0, type << 8 | code). `about` is
// one segment with data at a parsed IP header; it stays the caller's, who asked may_answer_with_icmp_error().
rte_mbuf* make_icmp_error(rte_mbuf* about, IcmpAnswer answer, Ipv4Address source, uint16_t id,
                          rte_mempool* pool);

// Turns a whole echo request into its reply, in place: addresses swapped, TTL 64, IP id `id`, DF clear,
// options cut off, TOS and ICMP code kept; with a new record (kFromGateway, the reply's tuple, path kClear).
// False, and nothing changed, when it is no ICMP echo request with a right checksum.
bool turn_echo_into_reply(rte_mbuf* request, uint16_t id);

// What the payload of an ICMP error quotes.
struct Quote {
  Ipv4Tuple tuple;           // as quoted; ports as Packet::tuple has them, 0 for protocols without
  uint16_t l4_offset = 0;    // of the transport header, from the start of the quote; 8 bytes are there
  bool is_fragment = false;  // not the first one: what stands at l4_offset is no header, the ports are 0
};

// Reads the quote behind the 8-byte ICMP header. False when it is no IPv4 header with 8 more bytes (RFC 792).
bool parse_quote(std::span<const uint8_t> icmp_payload, Quote& quote);

// Limits ICMP errors: a token bucket that holds 50 ms worth of them. Owner: one worker, with its share.
class IcmpRateLimit {
 public:
  // Whether one more may be sent at `now_ms` (monotonic); `per_second` 0: always.
  bool take(uint32_t per_second, uint64_t now_ms);
  // A worker's part of the configured rate; never 0 unless there is no limit.
  static constexpr uint32_t share(uint32_t per_second, uint16_t workers) {
    return per_second == 0 ? 0 : std::max<uint32_t>(1, per_second / workers);
  }

 private:
  uint64_t last_ms_ = 0;
  uint64_t thousandths_ = UINT64_MAX;  // of a token; starts full
};

}  // namespace espalier::dataplane
