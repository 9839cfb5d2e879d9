// What the operator can ask of espalierd: one function per command, found by name.
//
// A command reads its arguments from the request, looks at the running configuration, the shared memory and
// the dataplane, and answers once, now or later. Requests and answers are documented in docs/socket.md; a
// command's file is named after it. Thread: espalierd's.
#pragma once

#include "control/daemon/applier.hpp"
#include "control/daemon/dataplane_events.hpp"
#include "control/daemon/ike_supervisor.hpp"
#include "control/daemon/operator_socket.hpp"

namespace espalier::daemon::commands {

struct Context {
  Supervisor& supervisor;
  IkeSupervisor& ike;
  Applier& applier;
  const ConfigStore& store;
  const DataplaneEvents& events;
  std::function<uint64_t()> refused_requests;
};
using Reply = OperatorSocket::Reply;

// Answers `request`, with an error where there is no such command.
void dispatch(Context& context, Request request, const Reply& reply);

// A command that answers at once returns its document; one that has to wait calls reply itself.
Result<Json> show_policy(Context& context, Request& request);
Result<Json> show_nat_rules(Context& context, Request& request);
Result<Json> show_drops(Context& context, Request& request);
Result<Json> show_pipeline(Context& context, Request& request);
Result<Json> show_workers(Context& context, Request& request);
Result<Json> show_status(Context& context, Request& request);
Result<Json> diff(Context& context, Request& request);
Result<void> apply(Context& context, Request& request, const Reply& reply);
Result<void> show_ike_sa(Context& context, Request& request, const Reply& reply);
Result<void> show_connections(Context& context, Request& request, const Reply& reply);
Result<void> show_ipsec_sa(Context& context, Request& request, const Reply& reply);
Result<void> initiate(Context& context, Request& request, const Reply& reply);
Result<void> terminate(Context& context, Request& request, const Reply& reply);
Result<void> rekey(Context& context, Request& request, const Reply& reply);
Result<void> set_log(Context& context, Request& request, const Reply& reply);
Result<void> show_interfaces(Context& context, Request& request, const Reply& reply);
Result<void> show_route(Context& context, Request& request, const Reply& reply);
Result<void> show_neighbors(Context& context, Request& request, const Reply& reply);
Result<void> show_nat_translations(Context& context, Request& request, const Reply& reply);
Result<void> capture_start(Context& context, Request& request, const Reply& reply);
Result<void> capture_read(Context& context, Request& request, const Reply& reply);
Result<void> capture_stop(Context& context, Request& request, const Reply& reply);
Result<void> trace_start(Context& context, Request& request, const Reply& reply);
Result<void> explain(Context& context, Request& request, const Reply& reply);

}  // namespace espalier::daemon::commands
