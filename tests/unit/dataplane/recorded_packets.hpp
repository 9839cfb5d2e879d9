// Packets that Linux received and sent, from the recordings of tests/oracle.
#pragma once

#include <stdexcept>
#include <string>

#include "tests/support/packet_builder.hpp"
#include "tests/support/pcap_file.hpp"

namespace espalier::test {

// The IP packets of one step of a recording ("in-lan0"), without what the frame has behind them.
inline std::vector<Bytes> recorded(const std::string& folder, const std::string& file, uint32_t step) {
  constexpr uint16_t kIpv6 = 0x86dd;
  const auto frames = read_pcap(folder + "/" + file + ".pcap");
  if (!frames) throw std::runtime_error(frames.error().text);
  std::vector<Bytes> packets;
  for (const auto& frame : *frames) {
    const uint16_t type = get16(frame.frame, 12);
    if (frame.seconds != step || (type != kEtherTypeIpv4 && type != kIpv6)) continue;
    const auto ip = ByteView(frame.frame).subspan(14);
    packets.push_back(copy(ip.first(type == kIpv6 ? 40u + get16(ip, 4) : get16(ip, 2))));
  }
  return packets;
}

}  // namespace espalier::test
