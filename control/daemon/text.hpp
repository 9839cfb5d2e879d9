// Values as the operator reads them in JSON: addresses, ports, protocols and enums as words.
#pragma once

#include <string>
#include <string_view>

#include "control/config/config.hpp"
#include "control/shared/messages.hpp"
#include "control/shared/text.hpp"

namespace espalier::daemon {

using espalier::to_text;                     // addresses and prefixes
std::string to_text(const MacAddress& mac);  // "02:00:00:00:00:01"
std::string to_text(PortRange ports);        // "any", "80", "1024-65535"
std::string address_range_text(const IpAddress& low,
                               const IpAddress& high);  // "any", a prefix, an address or "a-b"
std::string spi_text(Spi spi);                          // "0x00001001"

std::string_view word(config::ConnectionType type);
std::string_view word(InterfaceKind kind);
std::string_view word(RouteKind kind);
std::string_view word(Direction direction);
std::string_view word(PolicyAction action);
std::string_view word(NatTranslation translation);
std::string_view word(Family family);  // "ipv4"
std::string_view word(EspMode mode);
std::string_view word(TemplateLevel level);
// As VyOS and strongSwan write it: "AES_GCM_16_128", "AES_CBC_256/HMAC_SHA2_256_128".
std::string proposal_text(const EspAlgorithm& algorithm);
std::string_view word(message::NeighborState state);
std::string_view tcp_state_word(uint8_t state);  // SessionRow::tcp_state, in nf_conntrack's words

// The name of an interface of `tables`; "any" for kNoInterface, "interface 7" for one that is not there.
std::string interface_name(const config::Tables& tables, InterfaceIndex index);

}  // namespace espalier::daemon
