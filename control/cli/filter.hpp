// FILTER of capture and trace: tcpdump's words, compiled by libpcap, as espalierd takes them.
#pragma once

#include <string>

#include "control/shared/error.hpp"

namespace espalier::cli {

// Programs as "CODE JT JF K,..." (docs/socket.md); empty: every packet.
struct Filter {
  std::string ethernet;   // for frames
  std::string ip;         // for packets without an Ethernet header
  bool speaks_of_frames;  // of what such packets do not have: `ip` takes none of them then
};

// Errors are libpcap's.
Result<Filter> compile_filter(const std::string& expression);

}  // namespace espalier::cli
