// Neighbour discovery (RFC 4861) and multicast listener reports (RFC 3810) as bytes: what the neighbour
// resolver says and hears on IPv6 networks. Packets are whole IPv6 packets. No state; main lcore.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "dataplane/wire.hpp"

namespace espalier::dataplane::nd {

inline constexpr uint8_t kMldQuery = 130, kMldReport = 143;  // RFC 3810 section 5

// The ICMPv6 types that the resolver wants to see.
constexpr bool is_wanted(uint8_t icmpv6_type) {
  return is_neighbor_discovery(icmpv6_type) || icmpv6_type == kMldQuery;
}

struct Message {
  enum class Kind : uint8_t {
    kSolicitation,
    kAdvertisement,
    kQuery,    // which groups do you listen to?
    kIgnored,  // routers' messages and redirects: routes come from the configuration
  };
  Kind kind = Kind::kIgnored;
  IpAddress source;  // unspecified in a solicitation: somebody checks whether `target` is free
  IpAddress target;  // kQuery: the group, unspecified for all
  // The link-layer address option: of the source in solicitations, of the target in advertisements.
  std::optional<MacAddress> mac;
  bool is_solicited = false;  // kAdvertisement: answers a question
  bool overrides = false;     // kAdvertisement: a MAC address that is known already is to be replaced
  uint64_t nonce = 0;         // kSolicitation: RFC 7527 section 4.1; 0: none
  uint32_t delay_ms = 0;      // kQuery: answer within
};

// Reads a packet whose ICMPv6 header is at `l4_offset`; any bytes of any length. False for what RFC 4861
// sections 7.1.1 and 7.1.2 (RFC 3810 section 6.2) want dropped: it may come from beyond the link, or
// contradicts itself.
bool parse(std::span<const uint8_t> packet, size_t l4_offset, Message& message);

// Who has `target`? To its solicited-node group, or to `target` itself to confirm it.
std::vector<uint8_t> make_solicitation(IpAddress source, IpAddress destination, IpAddress target,
                                       const MacAddress& own_mac);
// The same from an address that is still to be checked (RFC 4862 section 5.4.2); `nonce` is not 0, 48 bits.
std::vector<uint8_t> make_check(IpAddress target, uint64_t nonce);
// `target` is at `own_mac`. To who asked, or unasked to all nodes.
std::vector<uint8_t> make_advertisement(IpAddress target, IpAddress destination, const MacAddress& own_mac,
                                        bool is_solicited);
// We listen to `groups`, at most kGroupsPerReport. `joined`: since now.
inline constexpr size_t kGroupsPerReport = 60;  // within 1280 bytes
std::vector<uint8_t> make_report(IpAddress source, std::span<const IpAddress> groups, bool joined);

}  // namespace espalier::dataplane::nd
