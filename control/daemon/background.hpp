// One espalierd per runtime directory, and the way into the background.
#pragma once

#include <string>

#include "control/shared/fd.hpp"

namespace espalier::daemon {

// RUNTIME_DIR/espalierd.lock, which also holds our pid. An error when another espalierd has it.
Result<Fd> take_instance_lock(const std::string& runtime_dir);
Result<void> write_pid(const Fd& lock);

// Makes `path`, where it is not there, with its parents. The mode is that of `path` itself.
Result<void> make_directory(const std::string& path, mode_t mode);

// Forks twice and leaves the session; returns in the daemon. stdin becomes /dev/null; stdout and stderr stay,
// for whoever collects the log. An inherited lock goes along.
Result<void> go_to_background();

}  // namespace espalier::daemon
