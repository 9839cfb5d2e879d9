// Sessions as tests begin and read them.
#pragma once

#include "tests/unit/nat/nat_testing.hpp"

namespace espalier::nat {

inline constexpr WorkerId kWorker{0};
inline constexpr uint64_t kNow = 1'000'000;

inline SessionRef confirmed(SessionTable& table, const PendingSession& session, uint64_t now = kNow,
                            WorkerId worker = kWorker) {
  const auto ref = table.confirm(session, worker, now);
  if (!ref) throw std::runtime_error(std::string(info(ref.error()).name));
  return *ref;
}

inline SessionRef reply_ref(SessionRef ref) {
  ref.direction = FlowDirection::kReply;
  return ref;
}

// Original 10.0.0.1:1000, seen from outside as 203.0.113.1:2000.
inline PendingSession translated_session() {
  PendingSession session = pending(udp(ip(10, 0, 0, 1), 1000, ip(198, 51, 100, 9), 53));
  session.reply = udp(ip(198, 51, 100, 9), 53, ip(203, 0, 113, 1), 2000);
  session.source_rule_number = 100;
  return session;
}

inline std::vector<message::SessionRow> all_rows(const SessionTable& table,
                                                 const message::SessionFilter& filter = {},
                                                 size_t per_call = 7) {
  std::vector<message::SessionRow> rows, some(per_call);
  uint64_t cursor = 0;
  do {
    const size_t count = table.list(cursor, some, kNow, filter);
    rows.insert(rows.end(), some.begin(), some.begin() + static_cast<ptrdiff_t>(count));
  } while (cursor != 0);
  return rows;
}

}  // namespace espalier::nat
