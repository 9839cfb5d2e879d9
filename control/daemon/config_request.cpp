#include "control/daemon/config_request.hpp"

#include <cstring>

namespace espalier::daemon {
namespace {

using message::Slot;

// Walks the lists of records: each takes its share of `left`, the position that is still to go.
class Cursor {
 public:
  Cursor(size_t position, uint64_t request_id, uint64_t generation)
      : left_(position), request_id_(request_id), generation_(generation) {}

  template <class Message, class Record>
  void list(const std::vector<Record>& records) {
    if (slot_) return;
    if (left_ < records.size())
      slot_ = message::make(Message{records[left_]}, request_id_, generation_);
    else
      left_ -= records.size();
  }
  template <class Message>
  void one(const Message& message) {
    if (slot_) return;
    if (left_ == 0)
      slot_ = message::make(message, request_id_, generation_);
    else
      --left_;
  }
  std::optional<Slot> slot() const { return slot_; }

 private:
  size_t left_;
  uint64_t request_id_;
  uint64_t generation_;
  std::optional<Slot> slot_;
};

size_t record_count(const config::Tables& t) {
  return t.interfaces.size() + t.addresses.size() + t.routes.size() + t.neighbors.size() +
         t.source_rules.size() + t.destination_rules.size() + t.policies.size() + t.states.size();
}

std::optional<Slot> slot_at(const config::Tables& tables, size_t position, uint64_t request_id, uint64_t generation) {
  Cursor cursor(position, request_id, generation);
  cursor.one(message::ConfigBegin{tables.settings});
  cursor.list<message::Interface>(tables.interfaces);
  cursor.list<message::Address>(tables.addresses);
  cursor.list<message::Route>(tables.routes);
  cursor.list<message::Neighbor>(tables.neighbors);
  cursor.list<message::NatRule>(tables.source_rules);
  cursor.list<message::NatRule>(tables.destination_rules);
  cursor.list<message::Policy>(tables.policies);
  cursor.list<message::Sa>(tables.states);
  cursor.one(message::ConfigCommit{static_cast<uint32_t>(record_count(tables))});
  return cursor.slot();
}

}  // namespace

DataplaneLink::Source config_request(std::shared_ptr<const config::Tables> tables, uint64_t generation) {
  return [tables, generation](size_t position, uint64_t request_id) {
    return slot_at(*tables, position, request_id, generation);
  };
}

bool same_for_dataplane(const config::Tables& a, const config::Tables& b) {
  if (record_count(a) != record_count(b)) return false;
  bool same = true;
  for (size_t position = 0; same && position < record_count(a) + 2; ++position) {
    std::optional<Slot> ours = slot_at(a, position, 0, 0), theirs = slot_at(b, position, 0, 0);
    same = std::memcmp(&*ours, &*theirs, sizeof(Slot)) == 0;
    for (auto* slot : {&ours, &theirs}) ::explicit_bzero(&**slot, sizeof(Slot));
  }
  return same;
}

}  // namespace espalier::daemon
