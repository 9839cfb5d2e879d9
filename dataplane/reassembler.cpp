#include "dataplane/reassembler.hpp"

#include <nmmintrin.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

#include "dataplane/reassembly_context.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

constexpr uint32_t kMaxIpBytes = 65535;
constexpr uint8_t kCongestionExperienced = 3;

// Calls visit(index, mask) for each word of a bitmap that the bits [first, end) touch.
template <class Visit>
void for_each_word(uint32_t first, uint32_t end, Visit visit) {
  for (uint32_t word = first / 64; word * 64 < end; ++word) {
    uint64_t mask = ~uint64_t{0};
    if (word == first / 64) mask &= ~uint64_t{0} << (first % 64);
    if (end - word * 64 < 64) mask &= ~(~uint64_t{0} << (end % 64));
    visit(word, mask);
  }
}

// False when no datagram can have such a fragment.
bool parse(rte_mbuf* mbuf, FragmentPiece& piece) {
  if (mbuf->data_len < sizeof(Ipv4Header)) return false;
  const Ipv4Header& header = ip_header(mbuf);
  assert(header.is_fragment());
  piece.mbuf = mbuf;
  piece.header = &header;
  piece.header_bytes = header.header_bytes();
  piece.total_bytes = header.total_length.host();
  if (piece.header_bytes < sizeof(Ipv4Header) || piece.total_bytes <= piece.header_bytes ||
      piece.total_bytes > mbuf->data_len)
    return false;
  const uint32_t payload_bytes = piece.total_bytes - piece.header_bytes;
  piece.is_last = !header.more_fragments();
  piece.offset = header.fragment_offset_bytes();
  piece.end = piece.offset + payload_bytes;
  piece.key = DatagramKey::of(header, packet(mbuf).path);
  return piece.end + piece.header_bytes <= kMaxIpBytes && (piece.is_last || payload_bytes % 8 == 0);
}

}  // namespace

DatagramKey DatagramKey::of(const Ipv4Header& header, SecurityPath path) {
  return {header.source, header.destination, header.id, header.protocol, path};
}

uint32_t DatagramKey::hash() const {
  const uint64_t addresses = uint64_t{source.be.raw()} << 32 | destination.be.raw();
  const uint64_t datagram = uint64_t{id.raw()} << 8 | protocol;
  return static_cast<uint32_t>(_mm_crc32_u64(_mm_crc32_u64(0, addresses), datagram));
}

uint32_t fragment_hash(const Ipv4Header& header) {
  return DatagramKey::of(header, kClear).hash();
}

void ReassemblyContext::begin(const FragmentPiece& piece, rte_mbuf* mbuf, uint64_t now_ms) {
  key = piece.key;
  whole = mbuf;
  whole->port = piece.mbuf->port;
  packet(whole) = packet(piece.mbuf);
  opened_ms = now_ms;
  received_units = 0;
  end = 0;
  start = kRoomyStart;
  longest = longest_df = 0;
  header_bytes = ecn_seen = 0;
  has_last = false;
  units.fill(0);
}

bool ReassemblyContext::ends_contradict(const FragmentPiece& piece) const {
  if (piece.is_last) return piece.end < end || (has_last && piece.end != end);
  return has_last && piece.end > end;
}

uint32_t ReassemblyContext::present(const FragmentPiece& piece) const {
  uint32_t count = 0;
  for_each_word(piece.first_unit(), piece.end_unit(), [&](uint32_t word, uint64_t mask) {
    count += static_cast<uint32_t>(std::popcount(units[word] & mask));
  });
  return count;
}

ReassemblyContext::Fit ReassemblyContext::fit(const FragmentPiece& piece) const {
  if (ends_contradict(piece)) return Fit::kContradiction;
  const uint32_t here = present(piece);
  if (here == 0) return Fit::kNew;
  return here == piece.end_unit() - piece.first_unit() ? Fit::kDuplicate : Fit::kContradiction;
}

void ReassemblyContext::make_room(uint32_t up_to) {
  if (start == kTightStart || start + up_to + kTailroom <= Reassembler::kJumboRoom) return;
  std::memmove(buffer() + kTightStart, buffer() + start, end);
  start = kTightStart;
}

void ReassemblyContext::store(const FragmentPiece& piece) {
  make_room(piece.end);
  const auto payload = piece.payload();
  std::copy(payload.begin(), payload.end(), buffer() + start + piece.offset);
  for_each_word(piece.first_unit(), piece.end_unit(),
                [&](uint32_t word, uint64_t mask) { units[word] |= mask; });
  received_units += piece.end_unit() - piece.first_unit();
  end = std::max(end, piece.end);
  has_last |= piece.is_last;
  ecn_seen |= 1 << piece.header->ecn();
  longest = std::max(longest, piece.total_bytes);
  if (piece.header->dont_fragment()) longest_df = std::max(longest_df, piece.total_bytes);
  if (piece.offset != 0) return;
  header_bytes = static_cast<uint8_t>(piece.header_bytes);
  std::copy_n(bytes(piece.mbuf).begin(), header_bytes, header.begin());
  packet(whole) = packet(piece.mbuf);
}

// RFC 3168 section 5.3: ECN capable fragments and others do not come from one datagram. And the first header
// may be longer than that of a piece which fitted 65535 bytes.
bool ReassemblyContext::is_sound() const {
  constexpr uint8_t kNotCapable = 1 << 0;
  const bool mixed = (ecn_seen & kNotCapable) && ecn_seen != kNotCapable;
  return !mixed && header_bytes + end <= kMaxIpBytes;
}

void ReassemblyContext::finish() {
  if (header_bytes > start) {
    std::memmove(buffer() + header_bytes, buffer() + start, end);
    start = header_bytes;
  }
  const auto total_bytes = static_cast<uint16_t>(header_bytes + end);
  whole->data_off = start - header_bytes;
  whole->data_len = total_bytes;
  whole->pkt_len = total_bytes;
  std::copy_n(header.begin(), header_bytes, bytes(whole).begin());

  Ipv4Header& ip = ip_header(whole);
  ip.total_length = be16::from_host(total_bytes);
  ip.fragment = be16::from_host(longest_df == longest ? Ipv4Header::kDontFragment : 0);
  if (ecn_seen & 1 << kCongestionExperienced) ip.tos |= kCongestionExperienced;
  ip.checksum = 0;
  ip.checksum = nat::checksum(bytes(whole).first(header_bytes));

  Packet& record = packet(whole);
  record.flags = static_cast<uint16_t>((record.flags & ~kFragment) | kReassembled);
  record.l4_offset = header_bytes;
  record.ip_bytes = total_bytes;
  record.fragment_limit = longest;
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
