// From bytes to the Packet record. Used by the parse stage for frames and by esp_input for inner packets.
#pragma once

#include "dataplane/packet.hpp"

namespace espalier::dataplane {

// Checks the IPv4 header at the start of the mbuf's data, cuts off what lies behind the packet and fills
// tuple, l4_offset, ip_bytes, tcp_flags and the flags kFragment and kIcmpError; other members stay.
// `check_checksum`: false where the device or an ICV vouches for it. On false the reason is set. Any worker.
bool parse_ip(rte_mbuf* mbuf, bool check_checksum);

}  // namespace espalier::dataplane
