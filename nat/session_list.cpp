// Sessions as `show nat translations` tells them; read while workers go on.
#include <algorithm>

#include "nat/session_table.hpp"

namespace espalier::nat {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;

uint32_t seconds_left(uint64_t expires_ms, uint64_t now_ms) {
  return expires_ms <= now_ms ? 0 : static_cast<uint32_t>((expires_ms - now_ms) / 1000);
}

// Of ICMP and protocols without ports the second port is none.
bool has_port(const Tuple& tuple, uint16_t port) {
  if (tuple.source_port.host() == port) return has_ports(tuple.protocol) || has_identifier(tuple);
  return has_ports(tuple.protocol) && tuple.destination_port.host() == port;
}

// Compares what a filter asks of a session; made once per call, so that an empty filter costs nothing.
class Sieve {
 public:
  explicit Sieve(const message::SessionFilter& filter)
      : filter_(filter),
        asks_tuple_(filter.has_prefix || filter.protocol != kProtoAny || filter.port != 0),
        asks_rule_(filter.rule != 0) {}

  bool is_empty() const { return !asks_tuple_ && !asks_rule_; }

  bool passes(const message::SessionRow& row) const {
    if (asks_rule_ && row.source_rule != filter_.rule && row.destination_rule != filter_.rule) return false;
    return !asks_tuple_ || passes(row.original) || passes(row.reply);
  }

 private:
  bool passes(const Tuple& tuple) const {
    return (filter_.protocol == kProtoAny || filter_.protocol == tuple.protocol) &&
           (filter_.port == 0 || has_port(tuple, filter_.port)) &&
           (!filter_.has_prefix || filter_.prefix.contains(tuple.source) ||
            filter_.prefix.contains(tuple.destination));
  }

  const message::SessionFilter& filter_;
  const bool asks_tuple_;
  const bool asks_rule_;
};

}  // namespace

// What a filter can ask about. Returns the session's generation; 0: no session has the index, or it began or
// ended meanwhile.
uint32_t SessionTable::read_identity(uint32_t index, message::SessionRow& row) const {
  const uint32_t generation = generation_of(index).load(kAcquire);
  if ((generation & 1) == 0) return 0;
  const auto both = tuples({.index = index, .generation = generation, .owner = {}});
  if (!both) return 0;
  row.original = both->original;
  row.reply = both->reply;
  row.source_rule = sessions_[index].side(FlowDirection::kOriginal).rule.load(kAcquire);
  row.destination_rule = sessions_[index].side(FlowDirection::kReply).rule.load(kAcquire);
  return generation_of(index).load(kRelaxed) == generation ? generation : 0;
}

// All the rest; false if the session is not the one of `generation` any more.
bool SessionTable::read_state(uint32_t index, uint32_t generation, uint64_t now_ms,
                              message::SessionRow& row) const {
  const Session& session = sessions_[index];
  row.owner = WorkerId(owner_of(index));
  row.tcp_state = static_cast<uint8_t>(session.tcp.load(kAcquire).state);
  const uint8_t flags = session.flags.load(kAcquire);
  row.assured = (flags & kAssured) != 0;
  row.seen_reply = (flags & kSeenReply) != 0;
  row.expires_s = seconds_left(session.expires_ms.load(kAcquire), now_ms);
  for (size_t i = 0; i < 2; ++i) {
    row.packets[i] = session.traffic[i].packets.get();
    row.bytes[i] = session.traffic[i].bytes.get();
  }
  return generation_of(index).load(kRelaxed) == generation;
}

// The places that one call looks at, from `cursor` on; moves it behind them, to 0 behind the last that ever
// held a session.
SessionTable::Places SessionTable::next_places(uint64_t& cursor) const {
  const uint64_t used_end = sessions_.size() - pool_.untouched();
  const uint64_t first = std::clamp<uint64_t>(cursor, 1, used_end);
  const uint64_t end = std::min(used_end, first + kMostLooks);
  cursor = end < used_end ? end : 0;
  return {static_cast<uint32_t>(first), static_cast<uint32_t>(end)};
}

size_t SessionTable::list(uint64_t& cursor, std::span<message::SessionRow> rows, uint64_t now_ms,
                          const message::SessionFilter& filter) const {
  const Sieve sieve(filter);
  const Places places = next_places(cursor);
  size_t count = 0;
  for (uint32_t index = places.first; index != places.end; ++index) {
    if (count == rows.size()) {
      cursor = index;
      break;
    }
    message::SessionRow& row = rows[count];
    const uint32_t generation = read_identity(index, row);
    if (generation != 0 && sieve.passes(row) && read_state(index, generation, now_ms, row)) ++count;
  }
  return count;
}

uint64_t SessionTable::count(uint64_t& cursor, const message::SessionFilter& filter) const {
  const Sieve sieve(filter);
  if (sieve.is_empty()) {
    cursor = 0;
    return size();
  }
  const Places places = next_places(cursor);
  uint64_t count = 0;
  message::SessionRow row;
  for (uint32_t index = places.first; index != places.end; ++index)
    count += read_identity(index, row) != 0 && sieve.passes(row) ? 1 : 0;
  return count;
}

}  // namespace espalier::nat
