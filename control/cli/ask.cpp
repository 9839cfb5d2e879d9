#include <algorithm>
#include <cstdio>

#include "control/cli/command.hpp"

namespace espalier::cli {

int refuse(const Error& error) {
  std::fputs(fmt::format("espalier: {}\n", error.text).c_str(), stderr);
  return kRefused;
}

Json refusal_document(const Error& error) {
  return {{"ok", false}, {"error", error.text}};
}

int refuse(const Invocation& invocation, const Error& error) {
  if (invocation.json) print_json(refusal_document(error));
  return refuse(error);
}

Result<Json> ask(const Invocation& invocation, const Json& request) {
  auto client = TRY(Client::connect(invocation.socket));
  Json answer = TRY(client.ask(request));
  if (!answer["ok"].get<bool>()) return fail("{}", text_of(answer, "error"));
  return answer;
}

Result<Json> ask_all(const Invocation& invocation, Json request, const char* rows, size_t most) {
  constexpr size_t kRowsOfAPage = 1024;
  auto client = TRY(Client::connect(invocation.socket));
  Json all;
  size_t left = most;
  do {
    if (left < kRowsOfAPage) request["limit"] = left;
    Json page = TRY(client.ask(request));
    if (!page["ok"].get<bool>()) return fail("{}", text_of(page, "error"));
    if (!page.contains(rows) || !page[rows].is_array()) return fail("espalierd's answer has no \"{}\"", rows);
    request["cursor"] = number_of(page, "cursor");
    left -= std::min(left, page[rows].size());
    if (all.is_null()) {
      all = std::move(page);
    } else {
      for (Json& row : page[rows]) all[rows].push_back(std::move(row));
    }
  } while (request["cursor"] != 0 && left != 0);
  all["cursor"] = request["cursor"];
  if (all["cursor"] == 0) all.erase("cursor");
  return all;
}

int print_json(const Json& document) {
  std::puts(document.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  return kDone;
}

int show(const Invocation& invocation, const Json& request, void (*print)(const Json&)) {
  const auto document = ask(invocation, request);
  if (!document) return refuse(invocation, document.error());
  if (invocation.json) return print_json(*document);
  print(*document);
  return kDone;
}

int show_list(const Invocation& invocation, const Json& request, const char* rows, void (*print)(const Json&),
              size_t most) {
  const auto document = ask_all(invocation, request, rows, most);
  if (!document) return refuse(invocation, document.error());
  if (invocation.json) return print_json(*document);
  print(*document);
  if (document->contains("cursor")) std::puts("there are more");
  return kDone;
}

std::string text_of(const Json& value) {
  if (value.is_null()) return "-";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? "-" : text_of(*found);
}

const Json& part_of(const Json& object, const char* key) {
  static const Json none;
  const auto found = object.find(key);
  return found != object.end() ? *found : none;
}

const Json& rows_of(const Json& object, const char* key) {
  static const Json none = Json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : none;
}

uint64_t number_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<uint64_t>() : 0;
}

bool flag_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace espalier::cli
