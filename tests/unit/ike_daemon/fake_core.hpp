// An ike::Core that a test plays: what it was told is written down, what it wants is what the test queued.
// Linked in place of ike_core.
#pragma once

#include "ike/core.hpp"

namespace espalier::ike::fake {

struct Datagram {
  Endpoint local, remote;
  Bytes bytes;
};

struct State {
  std::vector<Configuration> configurations;
  std::vector<std::vector<SavedState>> adopted;
  std::vector<Datagram> datagrams;
  std::vector<Command> commands;
  std::vector<Event> events;
  int ticks = 0;
  bool shut_down = false;

  // What comes out of the next take_outputs(), and of the one after a DataplaneReady.
  std::vector<Output> outputs, outputs_when_ready;
  std::vector<LogLine> log;
  Time deadline = Time::max();
  Result<void> command_answer;
  std::vector<IkeSaReport> ike_sas;
  std::vector<ConnectionReport> connections;
};
State& state();

}  // namespace espalier::ike::fake
