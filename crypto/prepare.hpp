// Makes OpenSSL ready for a process that is about to lose its file system: call it first in main, before
// anything else of crypto/ and before seccomp closes the door.
#pragma once

#include <expected>
#include <string>

namespace espalier::crypto {

// Starts OpenSSL without its configuration file, fetches every algorithm that crypto/ uses, seeds the random
// generator, and lets the C library look for the time zone. Afterwards crypto/ opens no file; of system calls
// it makes getrandom() (new seeds now and then), getpid(), and what malloc() and locks want. Any thread, any
// number of times. Errors name the algorithm that OpenSSL lacks.
[[nodiscard]] std::expected<void, std::string> prepare();

}  // namespace espalier::crypto
