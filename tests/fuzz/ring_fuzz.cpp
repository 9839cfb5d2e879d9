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

void check_sa(const SaRecord& record) {
  const EspAlgorithm& algorithm = record.algorithm;
  require(record.replay_window <= kMaxReplayWindow && algorithm.key_bytes <= kMaxKeyBytes);
  require(algorithm.icv_bytes >= 8 && algorithm.auth_key_bytes() <= kMaxAuthKeyBytes);
  require(record.source.family() == record.destination.family());
  require(record.name.length <= sizeof record.name.bytes);
}

void check_part(const message::IkeDatagram& part) {
  require(part.local.family() == part.remote.family());
  require(part.part_bytes != 0 && part.part_bytes <= sizeof part.bytes);
  require(uint64_t{part.offset} + part.part_bytes <= part.total_bytes);
  require(part.total_bytes <= message::IkeDatagram::kMostBytes);
}

// What a receiver relies on after decode said yes.
void check_accepted(const message::FromDaemon& decoded) {
  if (const auto* sa = std::get_if<message::Sa>(&decoded)) check_sa(sa->record);
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

void check_accepted(const message::FromIke& decoded) {
  if (const auto* send = std::get_if<message::IkeSend>(&decoded)) check_part(send->part);
  if (const auto* sa = std::get_if<message::IkeSa>(&decoded)) {
    check_sa(sa->record);
    require(!(sa->record.flags & kSaStaticKey));
  }
  if (const auto* move = std::get_if<message::IkeSaMove>(&decoded)) {
    require(move->direction != Direction::kFwd);
    require(move->new_source.family() == move->new_destination.family());
    require((move->new_source_port == 0) == (move->new_destination_port == 0));
  }
}

void check_accepted(const message::ForIke& decoded) {
  if (const auto* received = std::get_if<message::IkeReceived>(&decoded)) check_part(received->part);
  if (const auto* ack = std::get_if<message::IkeAck>(&decoded))
    require(ack->text.length <= sizeof ack->text.bytes);
  if (const auto* expire = std::get_if<message::IkeExpire>(&decoded))
    require(expire->direction != Direction::kFwd);
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
    if (const auto decoded = message::decode_from_ike(slot)) check_accepted(*decoded);
    if (const auto decoded = message::decode_for_ike(slot)) check_accepted(*decoded);
  }
  require(received <= kSlots && consumer.broken() == (head > kSlots));
  return 0;
}
