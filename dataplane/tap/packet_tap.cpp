#include "dataplane/tap/packet_tap.hpp"

#include <algorithm>
#include <ctime>
#include <set>
#include <tuple>

namespace espalier::dataplane {
namespace {

using message::TapLink;
using message::TapPacket;

constexpr uint32_t kRingBytes = 2u << 20;  // of each thread: a thousand full-sized packets

}  // namespace

uint64_t wall_clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

PacketTap::PacketTap(TapOptions options, uint16_t threads, const Sad& sad)
    : options_(std::move(options)), sad_(sad), sas_(sad.capacity()) {
  for (uint16_t i = 0; i < threads; ++i) lanes_.push_back(std::make_unique<Lane>(kRingBytes));
  follow_sas();
}

Observer::Interests PacketTap::interests() const {
  return {.stages = false,
          .sent = wants(message::TapPoint::kTx),
          .sas = wants(message::TapPoint::kPlain),
          .only = options_.one_tunnel ? &sas_ : nullptr};
}

// The head of a record, and where its bytes go; null without room.
uint8_t* PacketTap::write(Lane& lane, uint16_t thread, const Sighting& seen, uint32_t packet_bytes,
                          uint32_t captured) {
  const std::span<uint8_t> room = lane.ring.reserve(static_cast<uint32_t>(sizeof(TapPacket)) + captured);
  if (room.empty()) {
    lane.lost.add(1);
    return nullptr;
  }
  auto& head = *new (room.data()) TapPacket;
  head.time_ns = seen.time_ns ? seen.time_ns : wall_clock_ns();
  head.packet_bytes = packet_bytes;
  head.captured_bytes = captured;
  head.point = seen.point;
  head.link = seen.link;
  head.direction = seen.direction;
  head.reason = seen.reason;
  head.interface = seen.interface;
  head.worker = WorkerId{thread};
  if (seen.sa) head.spi = seen.sa->spi(), head.tunnel = seen.sa->name();
  return room.data() + sizeof head;
}

// Of a frame in several buffers the filter sees the first, which has the headers.
void PacketTap::take(uint16_t thread, rte_mbuf* mbuf, const Sighting& seen) {
  const PacketFilter& filter = seen.link == TapLink::kEthernet ? options_.ethernet : options_.ip;
  if (!filter.matches(bytes(mbuf), mbuf->pkt_len)) return;
  Lane& lane = *lanes_[thread];
  const uint32_t captured = std::min(mbuf->pkt_len, options_.snap_bytes);
  uint8_t* to = write(lane, thread, seen, mbuf->pkt_len, captured);
  if (to == nullptr) return;
  if (const void* from = rte_pktmbuf_read(mbuf, 0, captured, to); from != to) std::memcpy(to, from, captured);
  lane.ring.commit();
}

void PacketTap::take(uint16_t thread, std::string_view text, const Sighting& seen) {
  Lane& lane = *lanes_[thread];
  const auto length = static_cast<uint32_t>(std::min<size_t>(text.size(), message::kMaxTapBytes));
  uint8_t* to = write(lane, thread, seen, length, length);
  if (to == nullptr) return;
  std::copy_n(text.begin(), length, to);
  lane.ring.commit();
}

void PacketTap::follow_sas() {
  if (!options_.one_tunnel) return;
  const auto is_named = [this](const Sa& sa) {
    return options_.spi.value != 0 ? sa.spi() == options_.spi : sa.name().view() == options_.tunnel.view();
  };
  std::set<std::tuple<Direction, Reqid, IpAddress, IpAddress>> other_directions;
  sad_.for_each([&](const Sa& sa) {
    const Direction other = sa.direction() == Direction::kIn ? Direction::kOut : Direction::kIn;
    if (is_named(sa)) other_directions.emplace(other, sa.reqid(), sa.destination(), sa.source());
  });
  sas_.follow(sad_, [&](const Sa& sa) {
    return is_named(sa) ||
           other_directions.contains({sa.direction(), sa.reqid(), sa.source(), sa.destination()});
  });
}

uint64_t PacketTap::time_of(std::span<const uint8_t> record) {
  return reinterpret_cast<const TapPacket*>(record.data())->time_ns;
}

std::span<const uint8_t> PacketTap::front() {
  std::span<const uint8_t> oldest;
  for (const auto& lane : lanes_) {
    const auto record = lane->ring.front();
    if (record.empty() || (!oldest.empty() && time_of(oldest) <= time_of(record))) continue;
    oldest = record;
    oldest_ = lane.get();
  }
  return oldest;
}

void PacketTap::pop() {
  oldest_->ring.pop();
}

uint64_t PacketTap::lost() const {
  uint64_t lost = 0;
  for (const auto& lane : lanes_) lost += lane->lost.get();
  return lost;
}

}  // namespace espalier::dataplane
