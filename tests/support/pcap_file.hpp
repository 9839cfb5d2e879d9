// Classic pcap files with Ethernet frames (LINKTYPE_ETHERNET), read whole and written whole.
//
// In the golden recordings a frame's seconds are the number of the step that caused it (from 1) and its
// microseconds are its place among that step's frames. Files of either byte order are read; ours are written
// little-endian. Errors name the file.
#pragma once

#include <filesystem>

#include "control/shared/error.hpp"
#include "tests/support/bytes.hpp"

namespace espalier::test {

struct PcapFrame {
  uint32_t seconds = 0;
  uint32_t microseconds = 0;
  Bytes frame;  // from the destination MAC address on
  friend bool operator==(const PcapFrame&, const PcapFrame&) = default;
};

Result<std::vector<PcapFrame>> read_pcap(const std::filesystem::path& file);
Result<void> write_pcap(const std::filesystem::path& file, const std::vector<PcapFrame>& frames);

}  // namespace espalier::test
