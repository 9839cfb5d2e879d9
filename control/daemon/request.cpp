#include "control/daemon/request.hpp"

#include <cstring>

namespace espalier::daemon {
namespace {

// Names from the request reach the log and the operator's terminal.
std::string printable(std::string_view text) {
  std::string clean(text.substr(0, 64));
  for (char& c : clean)
    if (c < 0x20 || c > 0x7e) c = '?';
  return clean;
}

// The document, without ever building anything that is nested.
Result<Json> parse_flat(std::string_view line) {
  bool nested = false;
  const auto refuse_nested = [&nested](int depth, Json::parse_event_t event, const Json&) {
    const bool opens =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (opens && depth > 0) nested = true;
    return !nested;
  };
  Json document = Json::parse(line, refuse_nested, false);
  if (nested) return fail("a request has no nested values");
  if (document.is_discarded()) return fail("not a JSON document");
  if (!document.is_object()) return fail("a request is a JSON object");
  return document;
}

}  // namespace

Result<Request> Request::parse(std::string_view line) {
  Request request;
  request.arguments_ = TRY(parse_flat(line));
  const auto command = request.arguments_.find("command");
  if (command == request.arguments_.end() || !command->is_string())
    return fail("a request needs \"command\", a string");
  request.command_ = command->get<std::string>();
  request.arguments_.erase(command);
  return request;
}

Request::~Request() {
  for (auto& value : arguments_)
    if (auto* text = value.get_ptr<std::string*>()) ::explicit_bzero(text->data(), text->size());
}

const Json* Request::find(const char* key) {
  known_.insert(key);
  const auto found = arguments_.find(key);
  return found == arguments_.end() ? nullptr : &*found;
}

Result<std::optional<std::string_view>> Request::text(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* text = value->get_ptr<const std::string*>();
  if (text == nullptr) return fail("\"{}\" has to be a string", key);
  return std::string_view(*text);
}

Result<std::string_view> Request::required_text(const char* key) {
  const auto value = TRY(text(key));
  if (!value) return fail("\"{}\" is missing", key);
  return *value;
}

Result<std::optional<uint64_t>> Request::number(const char* key, uint64_t least, uint64_t most) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* number =
      value->is_number_unsigned() ? value->get_ptr<const Json::number_unsigned_t*>() : nullptr;
  if (number == nullptr || *number < least || *number > most)
    return fail("\"{}\" has to be a whole number from {} to {}", key, least, most);
  return *number;
}

Result<bool> Request::flag(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) return false;
  if (!value->is_boolean()) return fail("\"{}\" has to be true or false", key);
  return value->get<bool>();
}

Result<void> Request::no_others() const {
  for (const auto& [key, value] : arguments_.items())
    if (!known_.contains(key))
      return fail("\"{}\" does not know \"{}\"", printable(command_), printable(key));
  return {};
}

}  // namespace espalier::daemon
