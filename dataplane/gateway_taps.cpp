// Taps as the gateway has them (tap/taps.hpp): a change of the set is a change of the snapshot.
#include "dataplane/gateway.hpp"

namespace espalier::dataplane {

Result<uint64_t> Gateway::start_tap(TapOptions options) {
  const uint64_t id = TRY(taps_->start(std::move(options), clock_.now_ms()));
  publish_taps();
  return id;
}

PacketTap* Gateway::find_tap(uint64_t id) {
  return taps_->find(id, clock_.now_ms());
}

bool Gateway::end_tap(uint64_t id) {
  if (!taps_->end(id)) return false;
  publish_taps();
  return true;
}

// Returns when every worker looks on for the taps that there are now, and nobody for those that ended.
void Gateway::publish_taps() {
  auto next = std::make_unique<Snapshot>(*tables_);
  next->observers = taps_->observers();
  publish(std::move(next));
  begin_round();
  taps_->forget_ended();
}

void Gateway::end_unread_taps() {
  if (taps_->end_unread(clock_.now_ms())) publish_taps();
}

}  // namespace espalier::dataplane
