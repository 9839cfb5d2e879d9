// Writes captured packets as a pcapng file (draft-ietf-opsawg-pcapng), which Wireshark and tshark open: one
// section, an interface for each place that packets were seen at, and with each packet a comment.
//
// Blocks are written whole and in host byte order; what was written is a valid file at any time.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <span>
#include <string>

#include "control/shared/error.hpp"

namespace espalier::cli {

enum class LinkType : uint16_t { kEthernet = 1, kRawIp = 101 };

struct CapturedPacket {
  std::string interface;    // as Wireshark shall show it, "wan rx"
  std::string description;  // of that interface
  LinkType link = LinkType::kEthernet;
  uint64_t time_ns = 0;       // since 1970
  uint32_t packet_bytes = 0;  // as it was; `bytes` may be its beginning
  enum class Way : uint8_t { kUnknown, kIn, kOut } way = Way::kUnknown;
  std::string comment;  // empty: none
  std::span<const uint8_t> bytes;
};

class PcapngWriter {
 public:
  // `file` stays the caller's.
  explicit PcapngWriter(std::FILE* file) : file_(file) {}

  // The section's header, to be written first. `application`: who captured.
  Result<void> begin(const std::string& application);
  Result<void> write(const CapturedPacket& packet);
  // Hands to the system what was written.
  Result<void> flush();

 private:
  Result<uint32_t> interface_of(const CapturedPacket& packet);
  Result<void> put(uint32_t type, const std::string& body);

  std::FILE* file_;
  std::map<std::pair<std::string, LinkType>, uint32_t> interfaces_;
};

}  // namespace espalier::cli
