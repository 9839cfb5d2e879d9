// The parts of the reassembler that allocate and free, apart from those that run per packet.
#include <bit>
#include <cassert>

#include "dataplane/reassembly_context.hpp"

namespace espalier::dataplane {

Reassembler::Reassembler(rte_mempool* jumbo, uint32_t contexts)
    : jumbo_(jumbo),
      bucket_mask_(std::bit_ceil(contexts * 2) - 1),
      contexts_(std::make_unique<ReassemblyContext[]>(contexts)),
      buckets_(std::make_unique<uint32_t[]>(bucket_mask_ + 1)) {
  assert(contexts > 0);
  assert(rte_pktmbuf_data_room_size(jumbo) == kJumboRoom && rte_pktmbuf_priv_size(jumbo) >= sizeof(Packet));
  std::fill_n(buckets_.get(), bucket_mask_ + 1, kNoContext);
  for (uint32_t i = 0; i < contexts; ++i) contexts_[i].next = i + 1 < contexts ? i + 1 : kNoContext;
}

Reassembler::~Reassembler() {
  for (uint32_t i = oldest_; i != kNoContext; i = contexts_[i].newer) rte_pktmbuf_free(contexts_[i].whole);
}

}  // namespace espalier::dataplane
