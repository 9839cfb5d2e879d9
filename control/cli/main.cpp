// espalier: the operator's command line. `espalier --help` teaches it.
#include <cstdio>

#include "control/cli/command_line.hpp"

int main(int argc, char** argv) {
  using namespace espalier::cli;
  const auto parsed = parse({argv + 1, argv + argc});
  int status = kDone;
  if (const auto* message = std::get_if<Message>(&parsed)) {
    std::fputs(message->text.c_str(), message->status == kDone ? stdout : stderr);
    std::fputs(message->document.c_str(), stdout);
    status = message->status;
  } else {
    const auto& [command, invocation] = std::get<Parsed>(parsed);
    status = command->run(invocation);
  }
  if (std::fflush(stdout) != 0) return refuse({"writing the output failed"});
  return status;
}
