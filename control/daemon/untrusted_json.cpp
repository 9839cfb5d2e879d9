#include "control/daemon/untrusted_json.hpp"

namespace espalier::daemon {
namespace {

using Json = nlohmann::json;

constexpr int kDeepest = 8;

}  // namespace

Json parse_untrusted(std::string_view text) {
  bool deep = false;
  const auto look = [&deep](int depth, Json::parse_event_t, const Json&) {
    deep |= depth > kDeepest;
    return !deep;
  };
  Json document = Json::parse(text, look, false);
  return deep || !document.is_object() ? Json() : document;
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::map<std::string, std::string> texts_at(const Json& object, const char* key) {
  std::map<std::string, std::string> texts;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) return texts;
  for (const auto& [name, value] : found->items())
    if (value.is_string()) texts.emplace(name, value.get<std::string>());
  return texts;
}

Json rows_at(Json& object, const char* key) {
  Json rows = Json::array();
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return rows;
  for (Json& row : *found)
    if (row.is_object()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace espalier::daemon
