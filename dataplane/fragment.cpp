#include "dataplane/fragment.hpp"

#include <algorithm>

#include "dataplane/ipv6.hpp"
#include "nat/checksum.hpp"

namespace espalier::dataplane {
namespace {

static_assert(RTE_PKTMBUF_HEADROOM == kPacketHeadroom);

constexpr uint8_t kOptionEnd = 0, kOptionNoOperation = 1, kOptionCopied = 0x80;

// Overwrites the options that belong into the first fragment only (RFC 791 section 3.1) by no-operations.
// Stops at the first malformed one, as Linux does.
void blank_uncopied_options(std::span<uint8_t> options) {
  while (!options.empty() && options[0] != kOptionEnd) {
    size_t option_bytes = 1;
    if (options[0] != kOptionNoOperation) {
      if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) return;
      option_bytes = options[1];
      if (!(options[0] & kOptionCopied)) std::fill_n(options.begin(), option_bytes, kOptionNoOperation);
    }
    options = options.subspan(option_bytes);
  }
}

// How a packet is cut. Sizes in bytes.
struct Cut {
  uint16_t header;          // of the whole, repeated in each fragment
  uint16_t inserted = 0;    // behind it: the fragment header of IPv6
  uint16_t payload;         // of the whole
  uint16_t step = 0;        // payload of each fragment but the last, a multiple of 8 when there are several
  uint16_t name_field = 0;  // IPv6: of the byte that shall name the fragment header

  // Fragments that it takes; 0: the limit is too small.
  uint32_t count() const {
    if (payload <= step) return 1;
    return step == 0 ? 0 : (payload + step - 1) / step;
  }
  void set_step(uint16_t limit_bytes) {
    const int room = limit_bytes - header - inserted;
    step = static_cast<uint16_t>(std::max(room, 0) & ~7);
  }
};

Cut plan_ipv4(const Ipv4Header& ip, uint16_t limit_bytes) {
  const uint16_t total_bytes = ip.total_length.host();
  Cut cut{.header = ip.header_bytes(), .payload = static_cast<uint16_t>(total_bytes - ip.header_bytes())};
  if (total_bytes <= limit_bytes)
    cut.step = cut.payload;
  else
    cut.set_step(limit_bytes);
  return cut;
}

Cut plan_ipv6(rte_mbuf* whole, uint16_t limit_bytes) {
  Cut cut{.header = sizeof(Ipv6Header), .payload = ipv6_header(whole).payload_length.host()};
  const uint32_t total_bytes = cut.header + cut.payload;
  cut.step = cut.payload;
  if (total_bytes <= limit_bytes) return cut;
  const Ipv6Headers headers = find_ipv6_headers(bytes(whole).first(total_bytes));
  cut.header = headers.unfragmentable_bytes;
  cut.inserted = sizeof(Ipv6FragmentHeader);
  cut.payload = static_cast<uint16_t>(total_bytes - cut.header);
  cut.name_field = headers.unfragmentable_field;
  cut.step = 0;
  if (!headers.bad && !headers.is_fragment()) cut.set_step(limit_bytes);
  return cut;
}

// The part of the whole's payload that a fragment carries.
struct Part {
  uint32_t from;
  uint16_t bytes;
  bool is_last;
};

void write_ipv4_header(rte_mbuf* whole, rte_mbuf* piece, const Cut& cut, const Part& part) {
  const Ipv4Header& original = ipv4_header(whole);
  const auto header = bytes(piece).first(cut.header);
  if (part.from > 0) blank_uncopied_options(header.subspan(sizeof(Ipv4Header)));

  Ipv4Header& ip = ipv4_header(piece);
  const uint32_t offset = original.fragment_offset_bytes() + part.from;
  const bool more = !part.is_last || original.more_fragments();
  ip.fragment = be16::from_host(static_cast<uint16_t>(offset / 8 | (more ? Ipv4Header::kMoreFragments : 0)));
  ip.total_length = be16::from_host(piece->data_len);
  ip.checksum = 0;
  ip.checksum = nat::checksum(header);
}

void write_ipv6_header(rte_mbuf* piece, const Cut& cut, const Part& part, uint32_t id) {
  ipv6_header(piece).payload_length =
      be16::from_host(static_cast<uint16_t>(piece->data_len - sizeof(Ipv6Header)));
  if (cut.inserted == 0) return;
  uint8_t& name = bytes(piece)[cut.name_field];
  const auto offset_and_more = part.from | (part.is_last ? 0 : Ipv6FragmentHeader::kMoreFragments);
  *rte_pktmbuf_mtod_offset(piece, Ipv6FragmentHeader*, cut.header) = {
      .next_header = name,
      .reserved = 0,
      .fragment = be16::from_host(static_cast<uint16_t>(offset_and_more)),
      .id = be32::from_host(id)};
  name = kProtoFragment;
}

// Gives the fragment its record, header and payload.
void fill(rte_mbuf* whole, rte_mbuf* piece, const Cut& cut, uint32_t from, uint32_t ipv6_id) {
  const auto part_bytes = static_cast<uint16_t>(std::min<uint32_t>(cut.step, cut.payload - from));
  const Part part{.from = from, .bytes = part_bytes, .is_last = from + part_bytes == cut.payload};
  const auto total_bytes = static_cast<uint16_t>(cut.header + cut.inserted + part.bytes);
  piece->data_len = total_bytes;
  piece->pkt_len = total_bytes;
  piece->port = whole->port;
  packet(piece) = packet(whole);
  packet(piece).ip_bytes = total_bytes;
  packet(piece).l4_offset = static_cast<uint16_t>(packet(whole).l4_offset + cut.inserted);
  if (from > 0) packet(piece).flags |= kFragment;

  const auto original = bytes(whole);
  std::copy_n(original.begin(), cut.header, bytes(piece).begin());
  std::copy_n(original.begin() + cut.header + from, part.bytes,
              bytes(piece).begin() + cut.header + cut.inserted);
  if (is_ipv4(whole))
    write_ipv4_header(whole, piece, cut, part);
  else
    write_ipv6_header(piece, cut, part, ipv6_id);
}

}  // namespace

uint16_t fragment(rte_mbuf* whole, uint16_t limit_bytes, uint32_t ipv6_id, rte_mempool* pool, MbufSpan out,
                  DropReason& reason) {
  const int room = rte_pktmbuf_data_room_size(pool) - kPacketHeadroom - kTailroom;
  const auto limit = static_cast<uint16_t>(std::clamp<int>(room, 0, limit_bytes));
  const Cut cut = is_ipv4(whole) ? plan_ipv4(ipv4_header(whole), limit) : plan_ipv6(whole, limit);
  const uint32_t count = cut.count();
  if (count == 0 || count > std::min<size_t>(out.size(), kMaxFragments)) {
    reason = DropReason::kTooBig;
    return 0;
  }
  if (rte_pktmbuf_alloc_bulk(pool, out.data(), count) != 0) {
    reason = DropReason::kNoMbuf;
    return 0;
  }
  for (uint32_t i = 0; i < count; ++i) fill(whole, out[i], cut, i * cut.step, ipv6_id);
  return static_cast<uint16_t>(count);
}

}  // namespace espalier::dataplane
