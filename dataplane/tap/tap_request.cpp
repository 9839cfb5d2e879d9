#include "dataplane/tap/tap_request.hpp"

#include <utility>

namespace espalier::dataplane {

void TapRequest::begin(uint64_t request_id) {
  request_id_ = request_id;
  spoilt_ = false;
  ethernet_.clear();
  ip_.clear();
}

void TapRequest::add(const message::TapFilter& piece, uint64_t request_id) {
  if (request_id != request_id_) begin(request_id);
  auto& program = piece.link == message::TapLink::kEthernet ? ethernet_ : ip_;
  // The first piece again: the request is sent anew, since its channel was replaced.
  if (piece.first == 0) program.clear();
  if (piece.first != program.size()) spoilt_ = true;
  if (spoilt_) return;
  program.insert(program.end(), piece.instructions, piece.instructions + piece.count);
}

Result<TapOptions> TapRequest::finish(const message::TapStart& start, uint64_t request_id) {
  if (request_id != request_id_) begin(request_id);
  const bool whole =
      !spoilt_ && ethernet_.size() == start.ethernet_instructions && ip_.size() == start.ip_instructions;
  auto ethernet = std::exchange(ethernet_, {}), ip = std::exchange(ip_, {});
  begin(0);
  if (!whole) return fail("the filter did not arrive whole");
  return TapOptions{.points = start.points,
                    .trace = start.trace != 0,
                    .ethernet = TRY(PacketFilter::create(std::move(ethernet))),
                    .ip = TRY(PacketFilter::create(std::move(ip))),
                    .snap_bytes = start.snap_bytes,
                    .one_tunnel = start.has_tunnel != 0,
                    .spi = start.spi,
                    .tunnel = start.tunnel};
}

}  // namespace espalier::dataplane
