// What espalier-ike gives up before it reads the first byte of a peer: its user, capabilities, core dumps,
// and every system call that it does not need. Linux, x86-64. Thread: before any other is started.
#pragma once

#include <string>

#include "control/shared/error.hpp"

namespace espalier::ike {

// Becomes `user` (a user of its own; its group alone remains) with no capabilities and no way to get any, not
// dumpable. Without root nothing of the user changes, and `user` is ignored. False: locked memory stays
// limited, since not even root may lift the limit here; what exceeds it is not locked.
Result<bool> drop_privileges(const std::string& user);

// From now on system calls that are not in the list kill the process (SIGSYS), which espalierd reports; not
// in a build with a sanitizer, whose report would be lost with it.
// Whatever has to be opened is open: crypto::prepare(), the log, sockets.
Result<void> confine_system_calls();

}  // namespace espalier::ike
