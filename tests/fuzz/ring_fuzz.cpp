// Everything that another process can put into a channel: positions, slots, messages of either direction.
//
// The input is the memory of a ring as a hostile peer leaves it: eight bytes for head, the rest for the
// slots. Whatever is received is decoded as both sides do. A crash, a sanitizer's finding, or a receive that
// never ends is a bug.
#include <algorithm>
#include <cstdlib>

#include "control/shared/message_decode.hpp"
#include "control/shared/ring.hpp"

namespace {

using namespace espalier;

constexpr uint64_t kSlots = 4;

struct Memory {
  RingPositions positions;
  message::Slot slots[kSlots];
};

void require(bool condition) {
  if (!condition) std::abort();
}

// What a receiver relies on after decode said yes.
void check_accepted(const message::FromDaemon& decoded) {
  if (const auto* sa = std::get_if<message::Sa>(&decoded)) {
    const EspAlgorithm& algorithm = sa->record.algorithm;
    require(sa->record.replay_window <= kMaxReplayWindow && algorithm.key_bytes <= kMaxKeyBytes);
    require(algorithm.icv_bytes >= 8 && algorithm.auth_key_bytes() <= kMaxAuthKeyBytes);
    require(sa->record.source.family() == sa->record.destination.family());
    require(sa->record.name.length <= sizeof sa->record.name.bytes);
  }
  if (const auto* route = std::get_if<message::Route>(&decoded)) {
    require(route->record.prefix.length <= 128);
    require(route->record.next_hop_count <= RouteRecord::kMaxNextHops);
  }
  if (const auto* policy = std::get_if<message::Policy>(&decoded))
    require(policy->record.templates <= PolicyRecord::kMaxTemplates);
  if (const auto* filter = std::get_if<message::TapFilter>(&decoded)) {
    require(filter->count <= message::TapFilter::kMost);
    require(filter->first + filter->count <= message::kMaxTapInstructions);
    for (uint16_t i = 0; i < filter->count; ++i)
      require(filter->instructions[i].code != 5 || filter->instructions[i].k < message::kMaxTapInstructions);
  }
  if (const auto* explain = std::get_if<message::Explain>(&decoded)) require(explain->size_bytes >= 28);
}

void check_accepted(const message::FromDataplane& decoded) {
  if (const auto* route = std::get_if<message::RouteRow>(&decoded))
    require(route->record.next_hop_count <= RouteRecord::kMaxNextHops);
  if (const auto* piece = std::get_if<message::TapData>(&decoded))
    require(piece->bytes <= sizeof piece->data);
  if (const auto* packet = std::get_if<message::TapPacket>(&decoded))
    require(packet->captured_bytes <= message::kMaxTapBytes && packet->reason < DropReason::kCount);
  if (const auto* expire = std::get_if<message::Expire>(&decoded))
    require(expire->direction != Direction::kFwd && expire->name.length <= sizeof expire->name.bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Memory memory;
  memory.positions.tail = 0;
  uint64_t head = 0;
  const size_t head_bytes = std::min(size, sizeof head);
  std::memcpy(&head, data, head_bytes);
  memory.positions.head = head;
  const size_t slot_bytes = std::min(size - head_bytes, sizeof memory.slots);
  std::memset(static_cast<void*>(memory.slots), 0, sizeof memory.slots);
  std::memcpy(static_cast<void*>(memory.slots), data + head_bytes, slot_bytes);

  RingConsumer consumer(&memory.positions, memory.slots, kSlots);
  message::Slot slot;
  uint64_t received = 0;
  for (; consumer.receive(slot); ++received) {
    if (const auto decoded = message::decode_from_daemon(slot)) check_accepted(*decoded);
    if (const auto decoded = message::decode_from_dataplane(slot)) check_accepted(*decoded);
  }
  require(received <= kSlots && consumer.broken() == (head > kSlots));
  return 0;
}
