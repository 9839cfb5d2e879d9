// One line from the operator's socket as a request: {"command": "show route", "limit": 100}.
//
// Whatever the bytes are, the outcome is a request or an error in words. A request is one flat object of
// strings, numbers and booleans. Each command says which arguments it knows; others are refused, so that
// nothing is accepted and ignored. docs/socket.md lists them.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "control/shared/error.hpp"

namespace espalier::daemon {

using Json = nlohmann::json;

class Request {
 public:
  // `line` without its line feed.
  static Result<Request> parse(std::string_view line);
  Request(Request&&) = default;
  Request& operator=(Request&&) = default;
  ~Request();  // wipes its strings: one may be a configuration with keys

  const std::string& command() const { return command_; }

  // The argument `key`: std::nullopt where it is absent, an error where it has another type or range.
  Result<std::optional<std::string_view>> text(const char* key);
  Result<std::optional<uint64_t>> number(const char* key, uint64_t least, uint64_t most);
  Result<bool> flag(const char* key);
  // The argument `key`, which has to be there.
  Result<std::string_view> required_text(const char* key);
  // An error if there is an argument that none of the above asked for.
  Result<void> no_others() const;

 private:
  Request() = default;
  const Json* find(const char* key);

  std::string command_;
  Json arguments_ = Json::object();
  std::set<std::string> known_;
};

}  // namespace espalier::daemon
