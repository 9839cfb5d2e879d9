#include "dataplane/reassembler.hpp"

#include <nmmintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "dataplane/ipv6.hpp"
#include "dataplane/reassembly_context.hpp"

namespace espalier::dataplane {
namespace {

// What came out of a protected tunnel interface has no security path any more, but the interface.
bool is_of_its_link(const Packet& p) {
  return p.path == kClear && (p.flags & kCameProtected);
}

DatagramKey ipv4_key(rte_mbuf* mbuf) {
  const Ipv4Header& header = ipv4_header(mbuf);
  const Packet& p = packet(mbuf);
  return {.source = header.source,
          .destination = header.destination,
          .id = header.id.raw(),
          .path = p.path,
          .link = is_of_its_link(p) ? p.in : kNoInterface,
          .protocol = header.protocol};
}

DatagramKey ipv6_key(rte_mbuf* mbuf, const Ipv6FragmentHeader& fragment) {
  const Ipv6Header& header = ipv6_header(mbuf);
  const Packet& p = packet(mbuf);
  return {.source = header.source,
          .destination = header.destination,
          .id = fragment.id.raw(),
          .path = p.path,
          .link = header.source.is_link_local() || is_of_its_link(p) ? p.in : kNoInterface};
}

const Ipv6FragmentHeader& fragment_header(rte_mbuf* mbuf, const Ipv6Headers& headers) {
  return *rte_pktmbuf_mtod_offset(mbuf, const Ipv6FragmentHeader*, headers.fragment_header);
}

// The headers of an IPv6 fragment; `bad` when it is none.
Ipv6Headers fragment_headers(rte_mbuf* mbuf) {
  Ipv6Headers headers = find_ipv6_headers(bytes(mbuf));
  headers.bad |= !headers.is_fragment();
  return headers;
}

// False when the packet is shorter than its headers say.
bool parse_ipv4(rte_mbuf* mbuf, FragmentPiece& piece) {
  const Ipv4Header& header = ipv4_header(mbuf);
  piece.key = ipv4_key(mbuf);
  piece.header_bytes = piece.payload_at = header.header_bytes();
  piece.total_bytes = header.total_length.host();
  piece.offset = header.fragment_offset_bytes();
  piece.is_last = !header.more_fragments();
  piece.ecn = header.ecn();
  piece.dont_fragment = header.dont_fragment();
  return header.is_fragment() && piece.header_bytes >= sizeof header;
}

bool parse_ipv6(rte_mbuf* mbuf, FragmentPiece& piece) {
  const Ipv6Header& header = ipv6_header(mbuf);
  const uint32_t total_bytes = sizeof header + header.payload_length.host();
  if (mbuf->data_len < sizeof header || total_bytes > mbuf->data_len) return false;
  const Ipv6Headers headers = fragment_headers(mbuf);
  if (headers.bad) return false;
  const Ipv6FragmentHeader& fragment = fragment_header(mbuf, headers);
  piece.key = ipv6_key(mbuf, fragment);
  piece.header_bytes = headers.fragment_header;
  piece.payload_at = headers.fragment_header + sizeof fragment;
  piece.total_bytes = static_cast<uint16_t>(total_bytes);
  piece.offset = fragment.offset_bytes();
  piece.is_last = !fragment.more_fragments();
  piece.next_header_field = headers.fragment_field;
  piece.next_header = fragment.next_header;
  piece.ecn = header.traffic_class() & 3;
  return piece.header_bytes <= Reassembler::kMaxHeaderBytes;
}

// False when no datagram can have such a fragment.
bool parse(rte_mbuf* mbuf, FragmentPiece& piece) {
  if (mbuf->data_len < sizeof(Ipv4Header)) return false;
  piece.mbuf = mbuf;
  if (!(is_ipv4(mbuf) ? parse_ipv4(mbuf, piece) : parse_ipv6(mbuf, piece))) return false;
  if (piece.total_bytes <= piece.payload_at || piece.total_bytes > mbuf->data_len) return false;
  const uint32_t payload_bytes = piece.total_bytes - piece.payload_at;
  piece.end = piece.offset + payload_bytes;
  const bool is_atomic = piece.offset == 0 && piece.is_last;
  return !is_atomic && piece.end + piece.header_bytes <= kMaxIpBytes &&
         (piece.is_last || payload_bytes % 8 == 0);
}

}  // namespace

uint32_t DatagramKey::hash() const {
  uint64_t hash = _mm_crc32_u64(0, uint64_t{id} << 8 | protocol);
  for (const IpAddress& address : {source, destination})
    hash = _mm_crc32_u64(_mm_crc32_u64(hash, address.high.raw()), address.low.raw());
  return static_cast<uint32_t>(hash);
}

uint32_t fragment_hash(rte_mbuf* fragment) {
  if (is_ipv4(fragment)) return ipv4_key(fragment).hash();
  const Ipv6Headers headers = fragment_headers(fragment);
  return headers.bad ? 0 : ipv6_key(fragment, fragment_header(fragment, headers)).hash();
}

bool unwrap_atomic_fragment(rte_mbuf* mbuf) {
  if (is_ipv4(mbuf)) return false;
  const Ipv6Headers headers = fragment_headers(mbuf);
  if (headers.bad) return false;
  const Ipv6FragmentHeader fragment = fragment_header(mbuf, headers);
  if (fragment.offset_bytes() != 0 || fragment.more_fragments()) return false;

  Packet& record = packet(mbuf);
  record.fragment_limit = record.ip_bytes;
  record.ip_bytes = static_cast<uint16_t>(record.ip_bytes - sizeof fragment);
  record.flags = static_cast<uint16_t>((record.flags & ~kFragment) | kReassembled);
  uint8_t* start = bytes(mbuf).data();
  start[headers.fragment_field] = fragment.next_header;
  std::memmove(start + sizeof fragment, start, headers.fragment_header);
  rte_pktmbuf_adj(mbuf, sizeof fragment);
  ipv6_header(mbuf).payload_length =
      be16::from_host(static_cast<uint16_t>(record.ip_bytes - sizeof(Ipv6Header)));
  return true;
}

// The low bits of the hash choose the worker, so all contexts here may have them equal.
uint32_t& Reassembler::bucket(const DatagramKey& key) {
  return buckets_[key.hash() >> 8 & bucket_mask_];
}

uint32_t Reassembler::find(const DatagramKey& key) {
  uint32_t index = bucket(key);
  while (index != kNoContext && contexts_[index].key != key) index = contexts_[index].next;
  return index;
}

// kNoContext when there is no mbuf for it. `evicted`: the oldest one, when it had to go.
uint32_t Reassembler::open(const FragmentPiece& piece, uint64_t now_ms, rte_mbuf*& evicted) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(jumbo_);
  if (mbuf == nullptr) return kNoContext;
  if (free_ == kNoContext) evicted = give_up(oldest_, DropReason::kReassemblyFull);
  const uint32_t index = free_;
  ReassemblyContext& context = contexts_[index];
  free_ = context.next;
  context.begin(piece, mbuf, now_ms);
  uint32_t& head = bucket(piece.key);
  context.next = std::exchange(head, index);
  context.newer = kNoContext;
  context.older = std::exchange(newest_, index);
  (context.older == kNoContext ? oldest_ : contexts_[context.older].newer) = index;
  ++waiting_;
  return index;
}

// Forgets the context; its mbuf is the caller's.
rte_mbuf* Reassembler::close(uint32_t index) {
  ReassemblyContext& context = contexts_[index];
  uint32_t* link = &bucket(context.key);
  while (*link != index) link = &contexts_[*link].next;
  *link = context.next;
  (context.older == kNoContext ? oldest_ : contexts_[context.older].newer) = context.newer;
  (context.newer == kNoContext ? newest_ : contexts_[context.newer].older) = context.older;
  context.next = std::exchange(free_, index);
  --waiting_;
  return std::exchange(context.whole, nullptr);
}

rte_mbuf* Reassembler::give_up(uint32_t index, DropReason reason) {
  rte_mbuf* mbuf = close(index);
  packet(mbuf).reason = reason;
  packet(mbuf).exit = Exit::kDrop;
  return mbuf;
}

Reassembler::Outcome Reassembler::add(rte_mbuf* fragment, uint64_t now_ms, rte_mbuf*& whole,
                                      DropReason& reason) {
  using Fit = ReassemblyContext::Fit;
  whole = nullptr;
  reason = DropReason::kFragmentMalformed;
  FragmentPiece piece;
  if (!parse(fragment, piece)) return Outcome::kDropped;

  uint32_t index = find(piece.key);
  const bool opens = index == kNoContext;
  if (opens) index = open(piece, now_ms, whole);
  if (index == kNoContext) {
    reason = DropReason::kNoMbuf;
    return Outcome::kDropped;
  }

  ReassemblyContext& context = contexts_[index];
  const Fit fit = context.fit(piece);
  if (fit == Fit::kDuplicate) return Outcome::kDropped;
  if (fit == Fit::kNew) context.store(piece);
  if (fit == Fit::kContradiction || !context.is_sound()) {
    whole = give_up(index, DropReason::kFragmentMalformed);
    return Outcome::kDropped;
  }
  reason = opens ? DropReason::kNone : DropReason::kUsedFragment;
  if (!context.has_all()) return Outcome::kWaiting;
  context.finish();
  whole = close(index);
  return Outcome::kComplete;
}

size_t Reassembler::expire(uint64_t now_ms, MbufSpan lost) {
  size_t count = 0;
  while (count < lost.size() && oldest_ != kNoContext && now_ms - contexts_[oldest_].opened_ms >= kTimeoutMs)
    lost[count++] = give_up(oldest_, DropReason::kReassemblyTimeout);
  return count;
}

}  // namespace espalier::dataplane
