// Everything that a client of the operator's socket can send: one line, parsed and carried out by espalierd's
// own commands, with no dataplane behind them. Files are out of reach: there is no state directory.
#include "control/daemon/commands/commands.hpp"
#include "control/daemon/log.hpp"

namespace {

using namespace espalier::daemon;
using espalier::EventLoop;

// One interface, so that `explain` gets beyond it.
Applier::Tables small_tables() {
  auto tables = std::make_shared<espalier::config::Tables>();
  tables->interfaces.resize(1);
  tables->interfaces[0].index = espalier::InterfaceIndex(0);
  tables->interfaces[0].name.assign("eth0");
  return tables;
}

// An answer has to be there, or to wait for the dataplane; and it has to be a document.
void carry_out(Request request) {
  auto loop = *EventLoop::create();
  Supervisor supervisor(loop, {"/nonexistent", "/nonexistent"}, {[] {}, [](const std::string&) {}});
  IkeSupervisor ike(loop, {"/nonexistent", "/nonexistent", "nobody", "/nonexistent"}, [] {});
  const ConfigStore store("/nonexistent/espalier.conf", "/nonexistent");
  Applier applier(supervisor, store, [](const auto&) { return ProgramCommand{}; });
  applier.set_initial(small_tables());
  const DataplaneEvents events([&]() -> const auto& { return applier.running(); });
  commands::Context context{supervisor, ike, applier, store, events, [] { return uint64_t{0}; }};
  commands::dispatch(context, std::move(request), [](const Json& document) {
    if (!document.is_object() || !document["ok"].is_boolean()) std::abort();
    if (document.dump(-1, ' ', false, Json::error_handler_t::replace).find('\n') != std::string::npos)
      std::abort();
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  log::cfg().set_level(spdlog::level::off);
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  if (auto request = Request::parse(line.substr(0, line.find('\n')))) carry_out(std::move(*request));
  return 0;
}
