#include <variant>

#include "control/daemon/commands/commands.hpp"

namespace espalier::daemon::commands {
namespace {

using Immediate = Result<Json> (*)(Context&, Request&);
using Deferred = Result<void> (*)(Context&, Request&, const Reply&);

struct Command {
  std::string_view name;
  std::variant<Immediate, Deferred> function;
};

constexpr Command kCommands[] = {
    {"apply", apply},
    {"capture read", capture_read},
    {"capture start", capture_start},
    {"capture stop", capture_stop},
    {"diff", diff},
    {"explain", explain},
    {"initiate", initiate},
    {"log", set_log},
    {"rekey", rekey},
    {"show connections", show_connections},
    {"show drops", show_drops},
    {"show ike sa", show_ike_sa},
    {"show interfaces", show_interfaces},
    {"show ipsec sa", show_ipsec_sa},
    {"show nat rules", show_nat_rules},
    {"show nat translations", show_nat_translations},
    {"show neighbors", show_neighbors},
    {"show pipeline", show_pipeline},
    {"show policy", show_policy},
    {"show route", show_route},
    {"show status", show_status},
    {"show workers", show_workers},
    {"terminate", terminate},
    {"trace start", trace_start},
};

void run(const Command& command, Context& context, Request& request, const Reply& reply) {
  if (const auto* immediate = std::get_if<Immediate>(&command.function)) {
    auto answer = (*immediate)(context, request);
    return reply(answer ? ok_reply(std::move(*answer)) : error_reply(answer.error()));
  }
  const auto accepted = std::get<Deferred>(command.function)(context, request, reply);
  if (!accepted) reply(error_reply(accepted.error()));
}

}  // namespace

void dispatch(Context& context, Request request, const Reply& reply) {
  for (const Command& command : kCommands)
    if (command.name == request.command()) return run(command, context, request, reply);
  reply(error_reply({fmt::format("no such command: {}", config::quoted(request.command()))}));
}

}  // namespace espalier::daemon::commands
