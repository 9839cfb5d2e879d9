// ICMP that the gateway speaks itself, of both families: errors about packets (RFC 792, RFC 1812 section 4.3;
// RFC 4443 section 3), answers to pings, and what an ICMP error of somebody else quotes. All of it gives the
// bytes that Linux gives, but for two: options of a ping (Linux echoes record route and timestamp of IPv4)
// and flow labels of IPv6 (Linux makes some up) are left out.
#pragma once

#include <rte_mempool.h>

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Total length that an ICMP error is cut to: RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 (c).
inline constexpr uint16_t kMaxIcmpErrorBytes = 576;
inline constexpr uint16_t kMaxIcmpv6ErrorBytes = 1280;

// Whether an ICMP error may be sent about this packet at all: not about ICMP errors and redirects, multicast
// or broadcast, or a source that is no host.
// - IPv4 (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7): not about unknown ICMP types and fragments but
//   the first. Directed broadcasts are known to the route only, and are the caller's. As in Linux a source in
//   240.0.0.0/4 is answered.
// - IPv6 (RFC 4443 section 2.4 (e)): not about a chain of headers that is bad; later fragments are answered.
bool may_answer_with_icmp_error(rte_mbuf* about);

// A new packet from `source`, of the same family, to the sender of `about` that quotes as much of it as fits
// kMaxIcmpErrorBytes or kMaxIcmpv6ErrorBytes; with TTL 64, complete checksums, and in IPv4 DF clear and the
// id `ipv4_id`. Null when the pool is empty. Its record: kFromGateway, kIcmpError, kAboutProtected if `about`
// was decrypted (RFC 4301 section 6); tuple with ports (0, type << 8 | code). `answer` has a reason; its MTU
// is cut to 16 bits in IPv4. `about` is one segment with data at a parsed IP header; it stays the caller's,
// who asked may_answer_with_icmp_error().
rte_mbuf* make_icmp_error(rte_mbuf* about, IcmpAnswer answer, IpAddress source, uint16_t ipv4_id,
                          rte_mempool* pool);

// Turns a whole echo request into its reply, in place: addresses swapped, TTL 64, in IPv4 DF clear and the id
// `ipv4_id`; options, extension headers and flow label cut off, TOS or traffic class and ICMP code kept; with
// a new record (kFromGateway, the reply's tuple, path kClear). False, and nothing changed, when it is no ICMP
// echo request with a right checksum, or one to a group, which is no source.
bool turn_echo_into_reply(rte_mbuf* request, uint16_t ipv4_id);

// What the payload of an ICMP error quotes.
struct Quote {
  Tuple tuple;               // as quoted; ports as Packet::tuple has them, 0 for protocols without
  uint16_t l4_offset = 0;    // of the transport header, from the start of the quote; 8 bytes are there
  bool is_fragment = false;  // not the first one: what stands at l4_offset is no header, the ports are 0
};

// Reads the quote behind the 8-byte ICMP header, of either family. False when it is no IP header (with all of
// its options or extension headers) and 8 more bytes (RFC 792).
bool parse_quote(std::span<const uint8_t> icmp_payload, Quote& quote);

// Limits ICMP errors of both families: a token bucket that holds 50 ms worth of them. Owner: one worker, with
// its share.
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
