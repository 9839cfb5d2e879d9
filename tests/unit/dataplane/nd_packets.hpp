// Neighbour discovery as other stations send it, for tests: written from RFC 4861 with the test support's own
// bytes, field by field, so that a test can also send what is wrong.
#pragma once

#include <optional>

#include "tests/support/bytes.hpp"
#include "tests/unit/dataplane/table_tools.hpp"

namespace espalier::dataplane {

struct NdPacket {
  IpAddress source, destination, target;
  uint8_t type = 135;
  uint32_t flags = 0;  // of advertisements: 0x80000000 router, 0x40000000 solicited, 0x20000000 override
  test::Bytes options;
  uint8_t hop_limit = 255;
  uint8_t code = 0;
  bool bad_checksum = false;

  NdPacket& option(uint8_t type_of_option, const MacAddress& six_bytes) {
    test::append8(options, type_of_option);
    test::append8(options, 1);
    test::append(options, six_bytes);
    return *this;
  }

  test::Bytes bytes() const {
    test::Bytes icmp{type, code, 0, 0};
    test::append32(icmp, flags);
    append_address(icmp, target);
    test::append(icmp, options);
    test::Bytes pseudo;
    append_address(pseudo, source);
    append_address(pseudo, destination);
    test::append32(pseudo, static_cast<uint32_t>(icmp.size()));
    test::append32(pseudo, 58);
    const uint16_t checksum = test::internet_checksum(icmp, test::ones_sum(pseudo));
    test::put16(icmp, 2, bad_checksum ? static_cast<uint16_t>(~checksum) : checksum);
    test::Bytes packet{0x60, 0, 0, 0};
    test::append16(packet, static_cast<uint16_t>(icmp.size()));
    test::append8(packet, 58);
    test::append8(packet, hop_limit);
    append_address(packet, source);
    append_address(packet, destination);
    test::append(packet, icmp);
    return packet;
  }

 private:
  static void append_address(test::Bytes& to, const IpAddress& address) {
    test::append(to, {reinterpret_cast<const uint8_t*>(&address), sizeof address});
  }
};

inline constexpr uint32_t kSolicitedFlag = 0x40000000, kOverrideFlag = 0x20000000;

inline NdPacket solicitation(const char* source, const char* destination, const char* target,
                             const std::optional<MacAddress>& mac = {}) {
  NdPacket packet{.source = ip(source), .destination = ip(destination), .target = ip(target), .options = {}};
  if (mac) packet.option(1, *mac);
  return packet;
}

inline NdPacket advertisement(const char* source, const char* destination, uint32_t flags,
                              const std::optional<MacAddress>& mac = {}) {
  NdPacket packet{.source = ip(source),
                  .destination = ip(destination),
                  .target = ip(source),
                  .type = 136,
                  .flags = flags,
                  .options = {}};
  if (mac) packet.option(2, *mac);
  return packet;
}

}  // namespace espalier::dataplane
