#include "dataplane/reassembly_context.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

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

}  // namespace

void UnitSet::add(uint32_t first, uint32_t end) {
  for_each_word(first, end, [&](uint32_t word, uint64_t mask) { words_[word] |= mask; });
}

uint32_t UnitSet::count(uint32_t first, uint32_t end) const {
  uint32_t count = 0;
  for_each_word(first, end, [&](uint32_t word, uint64_t mask) {
    count += static_cast<uint32_t>(std::popcount(words_[word] & mask));
  });
  return count;
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
  longest = longest_df = header_bytes = 0;
  ecn_seen = 0;
  has_last = false;
  units.clear();
  firsts.clear();
}

bool ReassemblyContext::ends_contradict(const FragmentPiece& piece) const {
  if (piece.is_last) return piece.end < end || (has_last && piece.end != end);
  return has_last && piece.end >= end;
}

// This very fragment, all of whose units came.
bool ReassemblyContext::came_before(const FragmentPiece& piece) const {
  const uint32_t first = piece.first_unit(), past = piece.end_unit();
  const bool began_here = firsts.has(first) && firsts.count(first + 1, past) == 0;
  const bool ended_here = !units.has(past) || firsts.has(past);
  const bool is_news = piece.is_last && !has_last;
  return began_here && ended_here && !is_news &&
         std::ranges::equal(piece.payload(),
                            std::span(buffer() + start + piece.offset, piece.end - piece.offset));
}

ReassemblyContext::Fit ReassemblyContext::fit(const FragmentPiece& piece) const {
  if (ends_contradict(piece)) return Fit::kContradiction;
  const uint32_t here = units.count(piece.first_unit(), piece.end_unit());
  if (here == 0) return Fit::kNew;
  const bool all = here == piece.end_unit() - piece.first_unit();
  return all && came_before(piece) ? Fit::kDuplicate : Fit::kContradiction;
}

void ReassemblyContext::make_room(uint32_t up_to) {
  if (start == kTightStart || start + up_to + kTailroom <= Reassembler::kJumboRoom) return;
  std::memmove(buffer() + kTightStart, buffer() + start, end);
  start = kTightStart;
}

void ReassemblyContext::store(const FragmentPiece& piece) {
  make_room(piece.end);
  std::ranges::copy(piece.payload(), buffer() + start + piece.offset);
  units.add(piece.first_unit(), piece.end_unit());
  firsts.add(piece.first_unit(), piece.first_unit() + 1);
  received_units += piece.end_unit() - piece.first_unit();
  end = std::max(end, piece.end);
  has_last |= piece.is_last;
  ecn_seen |= 1 << piece.ecn;
  longest = std::max(longest, piece.total_bytes);
  if (piece.dont_fragment) longest_df = std::max(longest_df, piece.total_bytes);
  if (piece.offset == 0) store_header(piece);
}

void ReassemblyContext::store_header(const FragmentPiece& piece) {
  header_bytes = piece.header_bytes;
  std::copy_n(bytes(piece.mbuf).begin(), header_bytes, header.begin());
  if (piece.next_header_field != 0) header[piece.next_header_field] = piece.next_header;
  packet(whole) = packet(piece.mbuf);
}

// RFC 3168 section 5.3: ECN capable fragments and others do not come from one datagram. And the first header
// may be longer than that of a piece which fitted 65535 bytes.
bool ReassemblyContext::is_sound() const {
  constexpr uint8_t kNotCapable = 1 << 0;
  const bool mixed = (ecn_seen & kNotCapable) && ecn_seen != kNotCapable;
  return !mixed && header_bytes + end <= kMaxIpBytes;
}

bool ReassemblyContext::has_congestion() const {
  return ecn_seen & 1 << kCongestionExperienced;
}

void ReassemblyContext::finish_ipv4(uint16_t total_bytes) {
  Ipv4Header& ip = ipv4_header(whole);
  ip.total_length = be16::from_host(total_bytes);
  ip.fragment = be16::from_host(longest_df == longest ? Ipv4Header::kDontFragment : 0);
  if (has_congestion()) ip.tos |= kCongestionExperienced;
  ip.checksum = 0;
  ip.checksum = nat::checksum(bytes(whole).first(header_bytes));
}

void ReassemblyContext::finish_ipv6(uint16_t total_bytes) {
  Ipv6Header& ip = ipv6_header(whole);
  ip.payload_length = be16::from_host(static_cast<uint16_t>(total_bytes - sizeof ip));
  if (has_congestion()) ip.set_traffic_class(ip.traffic_class() | kCongestionExperienced);
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
  key.source.is_v4() ? finish_ipv4(total_bytes) : finish_ipv6(total_bytes);

  Packet& record = packet(whole);
  record.flags = static_cast<uint16_t>((record.flags & ~kFragment) | kReassembled);
  record.l4_offset = header_bytes;
  record.ip_bytes = total_bytes;
  record.fragment_limit = longest;
}

}  // namespace espalier::dataplane
