// espalierd's log: one line on stderr for each event, with time, level, process and subsystem.
//
//   2026-08-01T12:00:00.123 error process=espalierd subsystem=proc the dataplane (pid 4711) was killed by
//   signal 9
//
// Secrets and keys are never passed in.
#pragma once

#include <spdlog/spdlog.h>

namespace espalier::daemon::log {

spdlog::logger& cfg();   // the configuration: loaded, applied, refused
spdlog::logger& proc();  // the processes: started, adopted, died, hung
spdlog::logger& ring();  // the channel to the dataplane
spdlog::logger& spd();   // packets that a policy protects and that no SA takes
spdlog::logger& esp();   // SAs: expired, peer moved
spdlog::logger& cli();   // the operator's socket

}  // namespace espalier::daemon::log
