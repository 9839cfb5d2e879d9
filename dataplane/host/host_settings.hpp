// The kernel's per-link settings (/proc/sys/net/*/conf/LINK) of the host path's devices.
#pragma once

#include <string>

#include "control/shared/error.hpp"

namespace espalier::dataplane {

// Whether the kernel of the calling thread's namespace has IPv6.
bool kernel_has_ipv6();

// Makes the link an end of a wire to a router that knows everything itself: nothing is forwarded from it, no
// router is listened to, no address is made. In the namespace of the calling thread. Settings that this
// kernel does not have are left out. Errors: one cannot be written.
Result<void> write_link_settings(const std::string& link);

}  // namespace espalier::dataplane
