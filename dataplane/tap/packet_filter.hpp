// What of the packets a tap wants: a program of classic BPF, which the CLI's libpcap compiled from the words
// that tcpdump takes. Checked once, run per packet by the threads that see them; it reads the packet and
// always ends.
#pragma once

#include <span>
#include <vector>

#include "control/shared/error.hpp"
#include "control/shared/messages_tap.hpp"

namespace espalier::dataplane {

class PacketFilter {
 public:
  PacketFilter() = default;  // every packet matches
  // Errors: not a program that can be run. The pieces passed record_check.
  static Result<PacketFilter> create(std::vector<message::TapInstruction> program);

  // `bytes` may be the beginning of the packet only. Any thread.
  bool matches(std::span<const uint8_t> bytes, uint32_t packet_bytes) const;

 private:
  std::vector<message::TapInstruction> program_;
};

}  // namespace espalier::dataplane
