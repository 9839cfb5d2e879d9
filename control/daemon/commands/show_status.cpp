// "show status": espalierd itself.
#include "control/daemon/commands/totals.hpp"

namespace espalier::daemon::commands {

Result<Json> show_status(Context& context, Request& request) {
  TRY(request.no_others());
  Json json{{"espalierd_pid", ::getpid()},
            {"config_file", context.store.config_file()},
            {"generation", context.applier.generation()},
            {"running", context.applier.acknowledged()},
            {"dataplane_ready", context.supervisor.ready()},
            {"dataplane_starts", context.supervisor.starts()},
            {"refused_requests", context.refused_requests()},
            {"acquires", context.events.counts().acquires},
            {"soft_expires", context.events.counts().soft_expires},
            {"hard_expires", context.events.counts().hard_expires},
            {"mappings", context.events.counts().mappings},
            {"refused_messages_from_dataplane", context.supervisor.link().refused_messages()}};
  if (context.ike.wanted()) json["ike_ready"] = context.ike.ready(), json["ike_starts"] = context.ike.starts();
  if (const auto pid = context.ike.pid()) json["ike_pid"] = *pid;
  if (!context.ike.last_refusal().empty()) json["ike_refusal"] = context.ike.last_refusal();
  if (const auto pid = context.supervisor.dataplane_pid()) json["dataplane_pid"] = *pid;
  if (!context.applier.last_refusal().empty()) json["refusal"] = context.applier.last_refusal();
  if (const auto segment = statistics_of(context))
    json["refused_messages_by_dataplane"] = total(
        **segment, [](const auto& block) -> auto& { return block.refused_messages; });
  return json;
}

}  // namespace espalier::daemon::commands
