// Long lists are told page by page: a request says where to begin ("cursor", 0 at first) and how many rows it
// takes at most ("limit"); the answer says where to go on, 0 when everything was told.
#pragma once

#include "control/daemon/commands/commands.hpp"

namespace espalier::daemon::commands {

struct Page {
  uint64_t cursor = 0;
  uint32_t limit = 1024;

  static Result<Page> from(Request& request);
};

// One page of `rows`, an array of things that `to_json(thing)` turns into a row; {"<name>": [...], "cursor":
// n}.
template <class List, class ToJson>
Json page_of(const char* name, const List& list, const Page& page, ToJson to_json) {
  Json rows = Json::array();
  uint64_t next = page.cursor;
  for (; next < list.size() && rows.size() < page.limit; ++next) rows.push_back(to_json(list[next]));
  return {{name, std::move(rows)}, {"cursor", next < list.size() ? next : 0}};
}

inline message::Query query_of(message::QueryKind kind, const Page& page) {
  message::Query query;
  query.kind = kind;
  query.cursor = page.cursor;
  query.limit = page.limit;
  return query;
}

// Asks the dataplane for a page of its rows of type Row; `to_json` turns each into one of the answer's.
template <class Row>
using RowToJson = std::function<Json(const Row&)>;
template <class Row>
void query(Context& context, const message::Query& query, const char* name, RowToJson<Row> to_json,
           const Reply& reply);

// Sends one message and hands over the answer, whose Ack said yes.
void ask(Context& context, std::function<message::Slot(uint64_t request_id)> message, const Reply& reply,
         std::function<Json(const DataplaneLink::Answer&)> on_answer);

// The same for a request of several messages.
void ask_all(Context& context, DataplaneLink::Source messages, const Reply& reply,
             std::function<Json(const DataplaneLink::Answer&)> on_answer);

template <class Row>
void query(Context& context, const message::Query& query, const char* name, RowToJson<Row> to_json,
           const Reply& reply) {
  ask(
      context, [query](uint64_t id) { return message::make(query, id, 0); }, reply,
      [name, to_json](const DataplaneLink::Answer& answer) {
        Json rows = Json::array();
        for (const auto& row : answer.rows)
          if (const auto* r = std::get_if<Row>(&row)) rows.push_back(to_json(*r));
        return Json{{name, std::move(rows)}, {"cursor", answer.ack.cursor}};
      });
}

}  // namespace espalier::daemon::commands
