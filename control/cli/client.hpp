// The CLI's end of the operator's socket: one JSON line out, one back. Blocking, with a time limit.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "control/shared/fd.hpp"

namespace espalier::cli {

using Json = nlohmann::ordered_json;

class Client {
 public:
  static Result<Client> connect(const std::string& path);
  // The answer's document, whatever it says. `request` holds "command" and its arguments.
  Result<Json> ask(const Json& request);

 private:
  explicit Client(Fd socket) : socket_(std::move(socket)) {}
  Result<void> send(const std::string& line);
  Result<std::string> receive_line();

  Fd socket_;
  std::string received_;
};

}  // namespace espalier::cli
