#include "dataplane/fragment.hpp"

#include <algorithm>

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
  uint16_t header;
  uint16_t payload;  // of the whole
  uint16_t step;     // payload of each fragment but the last, a multiple of 8 when there are several

  // Fragments that it takes; 0: the limit is too small.
  uint32_t count() const {
    if (payload <= step) return 1;
    return step == 0 ? 0 : (payload + step - 1) / step;
  }
};

Cut plan(const Ipv4Header& ip, uint16_t limit_bytes) {
  Cut cut{.header = ip.header_bytes(), .payload = 0, .step = 0};
  cut.payload = ip.total_length.host() - cut.header;
  if (ip.total_length.host() <= limit_bytes)
    cut.step = cut.payload;
  else if (limit_bytes > cut.header)
    cut.step = (limit_bytes - cut.header) & ~7;
  return cut;
}

// Writes the header of the piece of `payload_bytes` at `from` of the whole's payload, which is in `piece`.
void write_header(rte_mbuf* whole, rte_mbuf* piece, const Cut& cut, uint32_t from, uint16_t payload_bytes) {
  const Ipv4Header& original = ip_header(whole);
  const auto header = bytes(piece).first(cut.header);
  std::copy_n(bytes(whole).begin(), cut.header, header.begin());
  if (from > 0) blank_uncopied_options(header.subspan(sizeof(Ipv4Header)));

  Ipv4Header& ip = ip_header(piece);
  const uint32_t offset = original.fragment_offset_bytes() + from;
  const bool more = from + payload_bytes < cut.payload || original.more_fragments();
  ip.fragment = be16::from_host(static_cast<uint16_t>(offset / 8 | (more ? Ipv4Header::kMoreFragments : 0)));
  ip.total_length = be16::from_host(static_cast<uint16_t>(cut.header + payload_bytes));
  ip.checksum = 0;
  ip.checksum = nat::checksum(header);
}

void fill(rte_mbuf* whole, rte_mbuf* piece, const Cut& cut, uint32_t from) {
  const auto payload_bytes = static_cast<uint16_t>(std::min<uint32_t>(cut.step, cut.payload - from));
  const auto total_bytes = static_cast<uint16_t>(cut.header + payload_bytes);
  piece->data_len = total_bytes;
  piece->pkt_len = total_bytes;
  piece->port = whole->port;
  std::copy_n(bytes(whole).begin() + cut.header + from, payload_bytes, bytes(piece).begin() + cut.header);
  write_header(whole, piece, cut, from, payload_bytes);
  packet(piece) = packet(whole);
  packet(piece).ip_bytes = total_bytes;
}

}  // namespace

uint16_t fragment(rte_mbuf* whole, uint16_t limit_bytes, rte_mempool* pool, MbufSpan out,
                  DropReason& reason) {
  const int room = rte_pktmbuf_data_room_size(pool) - kPacketHeadroom - kTailroom;
  const Cut cut = plan(ip_header(whole), static_cast<uint16_t>(std::clamp<int>(room, 0, limit_bytes)));
  const uint32_t count = cut.count();
  if (count == 0 || count > std::min<size_t>(out.size(), kMaxFragments)) {
    reason = DropReason::kTooBig;
    return 0;
  }
  if (rte_pktmbuf_alloc_bulk(pool, out.data(), count) != 0) {
    reason = DropReason::kNoMbuf;
    return 0;
  }
  for (uint32_t i = 0; i < count; ++i) fill(whole, out[i], cut, i * cut.step);
  return static_cast<uint16_t>(count);
}

}  // namespace espalier::dataplane
