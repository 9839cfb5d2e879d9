#include "tests/unit/ike_daemon/fake_core.hpp"

namespace espalier::ike {

namespace fake {
State& state() {
  static State state;
  return state;
}
}  // namespace fake

using fake::state;

class Core::Impl {};

Core::Core(CoreOptions) {}
Core::~Core() = default;

void Core::configure(Configuration configuration, Time) {
  state().configurations.push_back(std::move(configuration));
}
void Core::adopt(std::vector<SavedState> states, Time) {
  state().adopted.push_back(std::move(states));
}
void Core::receive(const Endpoint& local, const Endpoint& remote, ByteView datagram, Time) {
  state().datagrams.push_back({local, remote, Bytes(datagram.begin(), datagram.end())});
}
Result<void> Core::command(const Command& command, Time) {
  state().commands.push_back(command);
  return state().command_answer;
}
void Core::event(const Event& event, Time) {
  state().events.push_back(event);
  if (!std::holds_alternative<DataplaneReady>(event)) return;
  for (Output& output : state().outputs_when_ready) state().outputs.push_back(std::move(output));
  state().outputs_when_ready.clear();
}
void Core::tick(Time) {
  ++state().ticks;
  state().deadline = Time::max();
}
Time Core::next_deadline() const {
  return state().deadline;
}
std::vector<Output> Core::take_outputs() {
  return std::exchange(state().outputs, {});
}
std::vector<LogLine> Core::take_log() {
  return std::exchange(state().log, {});
}
std::vector<IkeSaReport> Core::ike_sas(Time) const {
  return state().ike_sas;
}
std::vector<ConnectionReport> Core::connections(Time) const {
  return state().connections;
}
const CoreCounters& Core::counters() const {
  static const CoreCounters counters;
  return counters;
}
void Core::shut_down(Time) {
  state().shut_down = true;
}

const char* name_of(IkeState) {
  return "established";
}
const char* name_of(ChildState) {
  return "installed";
}

}  // namespace espalier::ike
