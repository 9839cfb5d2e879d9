// Sessions as `show nat translations` tells them; read while workers go on.
#include <algorithm>

#include "nat/session_table.hpp"

namespace espalier::nat {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr uint64_t kMostLooks = 16384;  // places a call looks at: some hundred microseconds

uint32_t seconds_left(uint64_t expires_ms, uint64_t now_ms) {
  return expires_ms <= now_ms ? 0 : static_cast<uint32_t>((expires_ms - now_ms) / 1000);
}

}  // namespace

bool SessionTable::read_row(uint32_t index, uint64_t now_ms, message::SessionRow& row) const {
  const Session& session = sessions_[index];
  const uint32_t generation = session.generation.load(kAcquire);
  if ((generation & 1) == 0) return false;
  row = {};
  row.original = session.tuples[0].load();
  row.reply = session.tuples[1].load();
  row.owner = WorkerId(session.owner.load(kAcquire));
  row.source_rule = session.source_rule.load(kAcquire);
  row.destination_rule = session.destination_rule.load(kAcquire);
  row.tcp_state = static_cast<uint8_t>(session.tcp.load(kAcquire).state);
  const uint8_t flags = session.flags.load(kAcquire);
  row.assured = (flags & kAssured) != 0;
  row.seen_reply = (flags & kSeenReply) != 0;
  row.expires_s = seconds_left(session.expires_ms.load(kAcquire), now_ms);
  for (size_t i = 0; i < 2; ++i) {
    row.packets[i] = session.traffic[i].packets.get();
    row.bytes[i] = session.traffic[i].bytes.get();
  }
  return session.generation.load(kRelaxed) == generation;
}

size_t SessionTable::list(uint64_t& cursor, std::span<message::SessionRow> rows, uint64_t now_ms) const {
  size_t count = 0;
  uint64_t index = std::max<uint64_t>(cursor, 1);
  const uint64_t end = std::min<uint64_t>(sessions_.size(), index + kMostLooks);
  for (; index < end && count < rows.size(); ++index)
    count += read_row(static_cast<uint32_t>(index), now_ms, rows[count]);
  cursor = index < sessions_.size() ? index : 0;
  return count;
}

}  // namespace espalier::nat
