// From argv to a command and its arguments.
#pragma once

#include <variant>

#include "control/cli/command.hpp"

namespace espalier::cli {

// What is to be printed instead of running a command.
struct Message {
  int status = kDone;  // kDone: on stdout, others: on stderr
  std::string text;
  std::string document;  // --json: on stdout, for a refusal
};

struct Parsed {
  const Command* command = nullptr;
  Invocation invocation;
};

// --socket, --json, --help and --version may stand anywhere.
std::variant<Parsed, Message> parse(const std::vector<std::string>& arguments);

}  // namespace espalier::cli
